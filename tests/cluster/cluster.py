"""A cluster for tests: one of our own that comes and goes, or the one that KUBECONFIG names.

`Cluster.up` gives a node with Kubernetes and an enforcing network layer, alone on its network with an outside that
records what reaches it. `ExistingCluster` answers kubectl the same way and has no outside: what needs one is skipped.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.cluster.image_build import find_images
from tests.cluster.network import Outside
from tests.cluster.node import Node
from tests.cluster.node_settings import CNIS
from tests.cluster.program_build import find_programs
from tests.cluster.spaces import Spaces, kept, run
from tre_orchestrator.errors import Unavailable

_PROGRAMS = "programs"
"""A link in the state folder: a kept cluster is talked to with the programs it runs."""


class Kubernetes(Protocol):
    """What every test may use, whichever cluster it runs on."""

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Run kubectl as an admin; raises `Unavailable` with what it complains about."""
        ...


class Cluster:
    """A running cluster of our own. Make it with `up`, end it with `down`; it ends with this process, unless kept."""

    def __init__(self, spaces: Spaces, programs: Path, cni: str) -> None:
        self.spaces = spaces
        self.programs = programs
        self.node = Node(spaces, programs, cni)
        self.outside = Outside(spaces)

    @classmethod
    def up(cls, cni: str = "cilium", *, keep: bool = False, say: Callable[[str], None] = lambda words: None) -> Cluster:
        """Start one. With `keep` it outlives this process, until `make cluster-down`.

        Raises `Unavailable` when something is not built, not permitted or does not start; then nothing is left of it.
        """
        if cni not in CNIS:
            raise ValueError(f"cni is one of {CNIS}, not {cni!r}")
        if os.geteuid() != 0:
            raise Unavailable("cluster-root", "A cluster needs root: namespaces, mounts and cgroups. Use sudo.")
        programs, images = find_programs(), find_images()
        cluster = cls(Spaces.create(keep=keep), programs, cni)
        try:
            (cluster.spaces.folder / _PROGRAMS).symlink_to(programs)
            cluster.outside.start()
            say("The outside listens")
            cluster.node.start(images, say)
            if keep:
                cluster.spaces.release()
        except BaseException:
            cluster.down()
            raise
        return cluster

    def down(self) -> None:
        """End it and everything in it."""
        self.spaces.remove()

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Run kubectl on the node as an admin; raises `Unavailable` with what it complains about."""
        return run([*self.node.kubectl_command, *arguments], text)

    def folder(self, name: str) -> Path:
        """A new folder that the node sees under the same path, for hostPath volumes."""
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.spaces.folder))
        folder.chmod(0o755)
        return folder


class ExistingCluster:
    """The cluster that a kubeconfig names: kind, or a real one. Nothing is installed there."""

    def __init__(self, kubeconfig: str) -> None:
        self._kubeconfig = kubeconfig

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Run the kubectl in PATH as whoever the kubeconfig names; raises `Unavailable` with its complaint."""
        return run(["kubectl", f"--kubeconfig={self._kubeconfig}", *arguments], text)


def kept_cluster() -> Cluster | None:
    """The cluster that `make cluster-up` has left running."""
    spaces = kept()
    return Cluster(spaces, (spaces.folder / _PROGRAMS).readlink(), CNIS[0]) if spaces else None
