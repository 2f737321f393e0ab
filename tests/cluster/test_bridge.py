"""Why a proof must connect: on a network layer that ignores policies, everything in the API looks the same."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.conftest import Say
from tests.cluster.pods import FOREVER, LOCK, Namespace, pod
from tests.cluster.targets import OUTSIDE

pytestmark = pytest.mark.cluster


@pytest.fixture
def lawless(ours: None, say: Say) -> Iterator[Cluster]:
    cluster = Cluster.up("bridge", say=say)
    yield cluster
    cluster.down()


def test_a_network_layer_that_ignores_policies_shows_only_when_one_connects(lawless: Cluster) -> None:
    namespace = Namespace.create(lawless, "locked", {})
    namespace.create_all(LOCK, pod("one", *FOREVER))
    namespace.wait_for_phase("Running", "one")

    policies = json.loads(namespace.kubectl("get", "networkpolicy", "-o", "json"))["items"]
    assert [policy["spec"]["policyTypes"] for policy in policies] == [["Ingress", "Egress"]]
    assert "Ready" in lawless.kubectl("get", "nodes")

    outcomes = namespace.reach("one", OUTSIDE)
    assert {name for name, outcome in outcomes.items() if not outcome.open} == set()
    assert lawless.outside.arrivals(*namespace.addresses["one"])
