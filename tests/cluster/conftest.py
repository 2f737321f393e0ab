"""The cluster that tests run on: one for all, or the one that KUBECONFIG names; and a namespace for each test."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.cluster.cluster import Cluster, ExistingCluster, Kubernetes
from tests.cluster.network import Outside
from tests.cluster.pods import Namespace
from tre_orchestrator.errors import TreError

Say = Callable[[str], None]

_EXISTING = os.environ.get("KUBECONFIG")
_ONLY_OURS = "KUBECONFIG names a cluster; this test needs one that it may start, and an outside that records"


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Say:
    """Print a line at once, so that somebody who waits sees what for."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    began = time.monotonic()

    def printed(words: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n[{time.monotonic() - began:4.0f} s] {words}", end="", flush=True)

    return printed


@pytest.fixture
def ours() -> None:
    """For tests that start clusters themselves."""
    if _EXISTING:
        pytest.skip(_ONLY_OURS)


@pytest.fixture(scope="session")
def cluster(say: Say) -> Iterator[Kubernetes]:
    """A cluster whose network layer enforces policies. Whoever has none set up is told how, in a sentence."""
    if _EXISTING:
        say(f"Using the cluster that {_EXISTING} names")
        yield ExistingCluster(_EXISTING)
        return
    began = time.monotonic()
    try:
        running = Cluster.up(say=say)
    except TreError as error:
        pytest.fail(error.sentence, pytrace=False)
    say(f"Up in {time.monotonic() - began:.1f} s")
    yield running
    running.down()


@pytest.fixture
def our_cluster(cluster: Kubernetes) -> Cluster:
    """The cluster, when it is our own: its node's files can be reached."""
    if not isinstance(cluster, Cluster):
        pytest.skip(_ONLY_OURS)
    return cluster


@pytest.fixture
def outside(cluster: Kubernetes) -> Outside | None:
    """What the cluster's pods can reach beyond the node, or None: an existing cluster has no outside of ours."""
    return cluster.outside if isinstance(cluster, Cluster) else None


@pytest.fixture
def make_namespace(cluster: Kubernetes) -> Iterator[Callable[..., Namespace]]:
    """Makes namespaces that go with the test."""
    made: list[str] = []

    def make(**labels: str) -> Namespace:
        name = f"tre-test-{uuid.uuid4().hex[:8]}"
        made.append(name)
        return Namespace.create(cluster, name, labels)

    yield make
    for name in made:
        with suppress(TreError):
            cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def namespace(make_namespace: Callable[..., Namespace]) -> Namespace:
    """An empty namespace without any rule."""
    return make_namespace()
