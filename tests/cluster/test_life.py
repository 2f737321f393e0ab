"""Clusters come and go: two in a row, one that was killed, and nothing of them stays on the machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster, kept_cluster
from tests.cluster.conftest import Say
from tests.cluster.pods import FOREVER, Namespace, eventually, pod
from tests.cluster.spaces import Spaces, identity, kept, remove_leftovers

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ours")]

_HARNESS = """
import sys, time
from tests.cluster.cluster import Cluster
from tests.cluster.pods import FOREVER, Namespace, pod
cluster = Cluster.up(say=lambda words: print(words, flush=True))
Namespace.create(cluster, "some", {}).create_all(pod("one", *FOREVER))
Namespace(cluster, "some").wait_for_phase("Running", "one")
print("A pod runs", flush=True)
time.sleep(300)
"""


def test_two_in_a_row_come_up_and_leave_no_trace(say: Say) -> None:
    rules = _rules()
    for turn in ("first", "second"):
        began = time.monotonic()
        cluster = Cluster.up(say=say)
        say(f"The {turn} was up in {time.monotonic() - began:.1f} s")
        try:
            namespace = Namespace.create(cluster, "some", {})
            namespace.create_all(pod("one", *FOREVER))
            namespace.wait_for_phase("Running", "one")
            name, processes = cluster.spaces.name, _processes(cluster.spaces)
            assert len(processes) > 10
            assert _folders_and_cgroups(name)
            assert (_our_links(), _rules()) == (set(), rules)  # of the host, while a cluster runs
        finally:
            cluster.down()
        assert [process for process in processes if identity(process[0]) == process] == []
        assert _folders_and_cgroups(name) == []
        assert name not in Path("/proc/self/mountinfo").read_text()
        assert (_our_links(), _rules()) == (set(), rules)


@pytest.mark.parametrize("moment", ["The API server answers", "A pod runs"])
def test_after_a_kill_of_the_harness_all_ends_at_once_and_the_next_start_removes_the_rest(moment: str) -> None:
    harness = subprocess.Popen([sys.executable, "-c", _HARNESS], stdout=subprocess.PIPE, text=True)
    assert harness.stdout is not None
    for line in harness.stdout:
        if line.strip() == moment:
            break
    (spaces,) = _of(harness)
    name, processes = spaces.name, _processes(spaces)
    assert len(processes) > 3

    harness.send_signal(signal.SIGKILL)
    harness.wait()

    assert eventually(lambda: not any(identity(process[0]) == process for process in processes), seconds=10)
    assert name not in Path("/proc/self/mountinfo").read_text()
    assert _folders_and_cgroups(name)
    assert name in remove_leftovers()  # what every start begins with, and `make cluster-down`
    assert _folders_and_cgroups(name) == []


def test_a_kept_cluster_outlives_the_command_that_started_it_until_it_is_taken_down() -> None:
    if kept():
        pytest.skip("`make cluster-up` has left a cluster running, which this test would take down")
    command = [sys.executable, "-m", "tests.cluster"]
    subprocess.run([*command, "up", "bridge"], check=True, stdout=subprocess.DEVNULL)
    cluster = kept_cluster()
    assert cluster is not None
    name, processes = cluster.spaces.name, _processes(cluster.spaces)
    assert name not in remove_leftovers()
    assert "node1" in cluster.kubectl("get", "nodes")
    shell = subprocess.run([*command, "shell"], input="kubectl get nodes", capture_output=True, text=True, check=True)
    assert "node1" in shell.stdout
    subprocess.run([*command, "down"], check=True, stdout=subprocess.DEVNULL)
    assert not any(identity(process[0]) == process for process in processes)
    assert _folders_and_cgroups(name) == []


def test_a_running_cluster_is_no_leftover() -> None:
    spaces = Spaces.create(keep=False)
    try:
        assert spaces.name not in remove_leftovers()
        assert spaces.run("id", "-u") == "0\n"
    finally:
        spaces.remove()
    assert _folders_and_cgroups(spaces.name) == []


def test_a_folder_that_somebody_else_has_made_is_no_leftover(tmp_path: Path) -> None:
    """Its record could name any process to be killed."""
    folder = Path("/tmp") / f"tre-cluster-foreign-{os.getpid()}"
    folder.mkdir()
    try:
        os.chown(folder, 65534, 65534)
        assert folder.name not in remove_leftovers()
        assert folder.exists()
    finally:
        folder.rmdir()


def _of(harness: subprocess.Popen[str]) -> list[Spaces]:
    owners = {path.parent: json.loads(path.read_text()) for path in Path("/tmp").glob("tre-cluster-*/owner.json")}
    return [Spaces(folder) for folder, owner in owners.items() if owner and owner[0] == harness.pid]


def _folders_and_cgroups(name: str) -> list[Path]:
    return [*Path("/tmp").glob(name), *Path("/sys/fs/cgroup").glob(f"**/{name}")]


def _namespaces(pid: int) -> set[str]:
    """The node's process, mount and network namespaces."""
    return {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("pid", "mnt", "net")}


def _processes(spaces: Spaces) -> list[list[int]]:
    """Whatever runs in one of the node's namespaces or in one of the cluster's cgroups, as containers do.

    Each with its start time: numbers of processes are used again, those of namespaces at once.
    """
    inside, found = _namespaces(spaces.init), []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if _namespaces(int(path.name)) & inside or spaces.name in (path / "cgroup").read_text():
                found.append(identity(int(path.name)))
        except OSError:
            continue
    return [process for process in found if process]


def _our_links() -> set[str]:
    """Interfaces on the host that have names as the node's: there should be none."""
    listed = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    names = {line.split(": ")[1].partition("@")[0] for line in listed.splitlines()}
    return {name for name in names if name.startswith(("up0", "out0", "pods0", "cilium_", "lxc"))}


def _rules() -> str:
    return subprocess.run(["nft", "-s", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
