"""Pods of the probe image in a namespace: start them, lock them, and hear from them what they reach.

They talk through the API server and their logs only, so a lock does not change how a test hears of it.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.cluster import Kubernetes
from tests.cluster.image_build import image
from tre_orchestrator.errors import TreError, Unavailable

LOCK = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "lock"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
}
"""Every pod of the namespace, both directions, no rule: nothing may pass."""

FOREVER = ("reach", "--listen", "8080")
"""A pod with this command runs until it is deleted, and others can try to connect to it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the attempts at one target. A refusal is an answer: the packets got there."""

    open: int
    refused: int
    closed: int

    @property
    def reached(self) -> int:
        return self.open + self.refused


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace on a cluster, and the pods in it."""

    cluster: Kubernetes
    name: str
    addresses: dict[str, list[str]] = field(default_factory=dict)
    """The addresses of every pod that has been waited for."""

    @classmethod
    def create(cls, cluster: Kubernetes, name: str, labels: dict[str, str]) -> Namespace:
        """Make it; returns when pods can be created in it."""
        metadata = {"name": name, "labels": labels}
        cluster.kubectl(
            "create", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        )
        namespace = cls(cluster, name)
        namespace.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
        return namespace

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Run kubectl in this namespace."""
        return self.cluster.kubectl("-n", self.name, *arguments, text=text)

    def create_all(self, *objects: dict[str, Any]) -> None:
        """Create objects, in this order."""
        self.kubectl("create", "-f", "-", text="\n---\n".join(json.dumps(each) for each in objects))

    def wait_for_phase(self, phase: str, *pods: str) -> None:
        """Until all pods are there; raises `Unavailable` with what the pods and their events say."""
        until = time.monotonic() + 60
        while True:
            found = {each["metadata"]["name"]: each["status"] for each in self._get("pods")}
            self.addresses.update(
                {name: [entry["ip"] for entry in status.get("podIPs", [])] for name, status in found.items()}
            )
            if all(found.get(name, {}).get("phase") == phase for name in pods):
                return
            if time.monotonic() > until:
                events = "; ".join(dict.fromkeys(event.get("message", "") for event in self._get("events")))
                raise Unavailable("pods", f"{', '.join(pods)} did not get {phase} in 60 s: {events}")
            time.sleep(0.2)

    def reach(self, pod: str, targets: dict[str, str], *options: str) -> dict[str, Outcome]:
        """Try every target from inside a running pod."""
        return outcomes(self.kubectl("exec", pod, "--", "reach", *options, *words(targets)))

    def report(self, pod: str) -> dict[str, Outcome]:
        """What a pod that ran `reach` as its only command has printed."""
        return outcomes(self.kubectl("logs", pod))

    def _get(self, kind: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "-o", "json"))["items"]
        return items


def pod(name: str, *command: str, container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod of the probe image that is not restarted; `container` and `spec` add to or replace what is usual."""
    usual = {
        "name": "probe",
        "image": image("probe").reference,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [usual | (container or {})],
            **spec,
        },
    }


def words(targets: dict[str, str]) -> list[str]:
    """Targets as `reach` takes them: `name=tcp:address:port`."""
    return [f"{name}={target}" for name, target in targets.items()]


def outcomes(printed: str) -> dict[str, Outcome]:
    """What `reach` printed."""
    return {name: Outcome(**counts) for name, counts in json.loads(printed).items()}


def eventually(answer: Any, seconds: float = 15) -> bool:
    """Whether `answer()` comes true in time. Policies take a moment to reach the network layer."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if answer():
                return True
        except TreError:
            pass
        time.sleep(0.2)
    return False
