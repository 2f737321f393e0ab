"""N1 on a real cluster: what a policy without rules closes. Each closed door is first seen open."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cluster.cluster import Kubernetes
from tests.cluster.network import Outside
from tests.cluster.pods import FOREVER, LOCK, Namespace, eventually, pod, words
from tests.cluster.targets import OUTSIDE, inside

pytestmark = pytest.mark.cluster

PODS, ATTEMPTS = 5, 100


@pytest.fixture
def neighbour(make_namespace: Callable[..., Namespace]) -> list[str]:
    """The addresses of a pod in another namespace that accepts connections."""
    elsewhere = make_namespace()
    elsewhere.create_all(pod("neighbour", *FOREVER))
    elsewhere.wait_for_phase("Running", "neighbour")
    return elsewhere.addresses["neighbour"]


@pytest.fixture
def targets(cluster: Kubernetes, outside: Outside | None, neighbour: list[str]) -> dict[str, str]:
    return inside(cluster, neighbour) | (OUTSIDE if outside else {})


def test_an_unlocked_pod_reaches_everything_and_a_lock_closes_all_of_it(
    namespace: Namespace, targets: dict[str, str], outside: Outside | None
) -> None:
    namespace.create_all(pod("one", *FOREVER))
    namespace.wait_for_phase("Running", "one")

    before = namespace.reach("one", targets)
    assert {name for name, outcome in before.items() if not outcome.reached} == set()

    namespace.create_all(LOCK)
    assert eventually(lambda: not any(outcome.reached for outcome in namespace.reach("one", targets).values()))

    namespace.kubectl("delete", "networkpolicy", "lock")
    assert eventually(lambda: all(outcome.reached for outcome in namespace.reach("one", targets).values()))


def test_a_pod_that_starts_under_the_lock_reaches_nothing_and_nothing_of_it_arrives_outside(
    namespace: Namespace, targets: dict[str, str], outside: Outside | None
) -> None:
    namespace.create_all(LOCK, pod("one", *FOREVER))
    namespace.wait_for_phase("Running", "one")

    outcomes = namespace.reach("one", targets, "--times", "3", "--timeout", "3")

    assert set(outcomes) == set(targets)
    assert {name for name, outcome in outcomes.items() if outcome.reached} == set()
    if outside:
        assert outside.arrivals(*namespace.addresses["one"]) == []


def test_a_locked_pod_cannot_be_reached_by_its_neighbours(
    namespace: Namespace, make_namespace: Callable[..., Namespace]
) -> None:
    namespace.create_all(pod("one", *FOREVER), pod("beside", *FOREVER))
    elsewhere = make_namespace()
    elsewhere.create_all(pod("other", *FOREVER))
    namespace.wait_for_phase("Running", "one", "beside")
    elsewhere.wait_for_phase("Running", "other")
    one = {
        address: f"tcp:{f'[{address}]' if ':' in address else address}:8080" for address in namespace.addresses["one"]
    }

    def reached() -> bool:
        outcomes = [*namespace.reach("beside", one).values(), *elsewhere.reach("other", one).values()]
        return any(outcome.reached for outcome in outcomes)

    assert reached()
    namespace.create_all(LOCK)
    assert eventually(lambda: not reached())


def test_the_outside_records_what_an_unlocked_pod_sends(namespace: Namespace, outside: Outside | None) -> None:
    """The control for every "nothing arrived"."""
    if outside is None:
        pytest.skip("KUBECONFIG names a cluster, which has no outside that records")
    namespace.create_all(pod("one", *FOREVER))
    namespace.wait_for_phase("Running", "one")

    assert all(outcome.open for outcome in namespace.reach("one", OUTSIDE).values())

    arrived = {(packet.to, packet.protocol, packet.port) for packet in outside.arrivals(*namespace.addresses["one"])}
    assert arrived >= {
        ("203.0.113.10", "tcp", 80),
        ("203.0.113.10", "tcp", 443),
        ("2001:db8::10", "tcp", 443),
        ("169.254.169.254", "tcp", 80),
        ("fd00:ec2::254", "tcp", 80),
        ("203.0.113.53", "udp", 53),
        ("203.0.113.53", "tcp", 53),
    }


def test_nothing_gets_out_from_the_first_millisecond_of_a_locked_pods_life(
    namespace: Namespace, make_namespace: Callable[..., Namespace], targets: dict[str, str], outside: Outside | None
) -> None:
    wanted = {name: target for name, target in targets.items() if name in OUTSIDE or name.startswith("service-")}
    command = ("reach", "--times", str(ATTEMPTS), "--pause", "0.01", "--timeout", "3", *words(wanted))
    names = [f"locked-{number}" for number in range(PODS)]
    unlocked = make_namespace()

    namespace.create_all(LOCK, *(pod(name, *command) for name in names))
    unlocked.create_all(pod("unlocked", *command))
    namespace.wait_for_phase("Succeeded", *names)
    unlocked.wait_for_phase("Succeeded", "unlocked")

    for name in names:
        for target, outcome in namespace.report(name).items():
            assert (outcome.reached, outcome.closed) == (0, ATTEMPTS), (name, target)
    if outside:
        assert outside.arrivals(*(address for name in names for address in namespace.addresses[name])) == []
    assert {name: outcome.reached for name, outcome in unlocked.report("unlocked").items()} == dict.fromkeys(
        wanted, ATTEMPTS
    )
