"""N2: the lock is tried from inside, against a control that reaches everything; a broken lock is told."""

from __future__ import annotations

import platform

import pytest

from tests.workspaces.sandbox.broken import BREAKS
from tests.workspaces.sandbox.conftest import World
from tre_orchestrator.workspaces.proof import ProbeResult, ProofRecord
from tre_orchestrator.workspaces.sandbox.lock import machine_digest
from tre_orchestrator.workspaces.sandbox.prover import ESSENTIAL

pytestmark = pytest.mark.sandbox

EXPECTED = {
    "network": ("TCP to the Internet (IPv4)", "TCP to the gate", "UDP to DNS", "abstract unix socket"),
    "processes": ("see a foreign process",),
    "ipc": ("shared memory of others", "message queue of others"),
    "filter": ("vsock socket", "netlink socket", "session keyring", "io_uring", "32-bit calls", "perf_event_open"),
    "root": ("write to /",),
    "capabilities": ("effective capabilities",),
    "host files": ("file: the machine's accounts",),
    "sys": ("list /sys/class/net",),
    "datasets": ("dataset: open for writing", "dataset: create a file", "dataset: truncate"),
}


def by_target(record: ProofRecord) -> dict[str, ProbeResult]:
    return {result.target: result for result in record.results}


def test_N2_the_lock_is_proven_in_every_mode_with_a_control_for_at_least_100_probes(world: World) -> None:
    record = world.backend.prove(world.plan())
    assert record.passed, record.sentence
    assert record.policy_hash == world.backend.status().lock_digest
    assert (record.machine, record.kernel) == (machine_digest(), platform.release())
    controlled = [result for result in record.results if result.control_reached]
    print(f"{world.mode}: {record.sentence}")
    assert len(controlled) >= 100
    assert all(result.verdict == "held" for result in controlled)
    assert {result.target for result in record.results if result.essential} == ESSENTIAL


def test_N1_no_network_target_is_reached(root_world: World) -> None:
    results = by_target(root_world.backend.prove(root_world.plan()))
    network = [result for name, result in results.items() if name.startswith(("TCP", "UDP", "unix", "abstract"))]
    assert len(network) >= 25
    for result in network:
        assert result.control_reached, f"the control did not reach {result.target}: {result.control_detail}"
        assert result.held, result.target


def test_D1_a_dataset_cannot_be_written_by_any_way(world: World) -> None:
    results = by_target(world.backend.prove(world.plan()))
    ways = [result for name, result in results.items() if name.startswith("dataset: ")]
    assert len(ways) >= 25
    for result in ways:
        assert result.control_reached, f"the control could not {result.target}: {result.control_detail}"
        assert result.held, result.target
        # Permissions allow everything in the trial: only the mount, the filter or another disk refuses. (Without user
        # namespaces the parent inside is another uid's, whose root cannot be entered.)
        if result.target == "dataset: through the parent's root" and world.mode == "root-no-userns":
            continue
        assert result.lock_detail in ("EROFS", "EPERM", "EXDEV", "unchanged"), (result.target, result.lock_detail)


@pytest.mark.parametrize("what", BREAKS)
def test_N2_a_broken_lock_is_detected(idle_world: World, what: str) -> None:
    idle_world.start_supervisor("tests.workspaces.sandbox.broken", TRE_TEST_BREAK=what)
    record = idle_world.backend.prove(idle_world.plan())
    results = by_target(record)
    if what == "datasets":  # in root mode the staged mount is read-only as well: two locks, one of them broken
        assert record.passed
        return
    assert not record.passed
    for target in EXPECTED[what]:
        assert results[target].reached_from_lock, f"{target} was not noticed"
    assert "The lock does not hold" in record.sentence


@pytest.mark.parametrize("idle_world", ["user"], indirect=True)
def test_N2_writable_datasets_are_detected_where_one_lock_is_all_there_is(idle_world: World) -> None:
    idle_world.start_supervisor("tests.workspaces.sandbox.broken", TRE_TEST_BREAK="datasets")
    record = idle_world.backend.prove(idle_world.plan())
    assert not record.passed
    results = by_target(record)
    for target in EXPECTED["datasets"]:
        assert results[target].reached_from_lock, f"{target} was not noticed"


def test_N2_another_lock_has_another_digest(root_world: World) -> None:
    whole = root_world.backend.status().lock_digest
    root_world.stop_supervisor()
    digests = {whole}
    for what in ("network", "filter"):
        root_world.start_supervisor("tests.workspaces.sandbox.broken", TRE_TEST_BREAK=what)
        digests.add(root_world.backend.status().lock_digest)
        root_world.stop_supervisor()
    assert len(digests) == 3
