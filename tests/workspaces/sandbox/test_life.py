"""A workspace's life in a real sandbox: start, end, lease, crashes; nothing is ever left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.machine import is_alive
from tests.workspaces.sandbox.conftest import World, wait_until
from tests.workspaces.sandbox.kernel_client import Kernel
from tre_orchestrator.catalogue.names import WorkspaceId
from tre_orchestrator.errors import Invalid, Refused, Stale, TreError, Unavailable
from tre_orchestrator.workspaces.backend import silent
from tre_orchestrator.workspaces.plan import WorkspacePlan
from tre_orchestrator.workspaces.sandbox.startup import ensure_running_with

pytestmark = pytest.mark.sandbox


def worker_pids(world: World) -> list[int]:
    assert world.process is not None
    children = Path(f"/proc/{world.process.pid}/task/{world.process.pid}/children").read_text().split()
    return [int(child) for child in children]


def worker_pid(world: World) -> int:
    return worker_pids(world)[0]


def outside_its_root(world: World, plan: WorkspacePlan, target: str) -> WorkspacePlan:
    """The plan with one source that lies where no workspace's may."""
    mounts = tuple(replace(mount, source="/etc") if mount.target == target else mount for mount in plan.mounts)
    world.write_plan(replace(plan, mounts=mounts))
    return plan


def test_a_workspace_starts_answers_and_ends(world: World) -> None:
    steps: list[tuple[str, int]] = []
    lock = world.backend.status().lock_digest
    handle = world.backend.start(world.plan(), lock, lambda step, percent: steps.append((step, percent)))
    assert [percent for _, percent in steps] == sorted(percent for _, percent in steps)
    assert steps[-1][1] == 100
    status = world.backend.poll(handle.workspace)
    assert status.running
    assert status.memory_bytes > 0
    assert status.cpu_seconds > 0
    assert [running.workspace for running in world.backend.running()] == [handle.workspace]
    world.backend.stop(handle.workspace)
    status = world.backend.poll(handle.workspace)
    assert (status.running, status.reason) == (False, "It was stopped.")
    assert not handle.socket.exists()
    assert world.processes() == []
    assert world.groups() == []
    world.backend.stop(handle.workspace)


def test_home_and_outputs_survive_a_restart(world: World) -> None:
    plan = world.plan()
    with Kernel(world, world.start(plan)) as kernel:
        kernel.run("open('/outputs/kept.txt', 'w').write('kept'); open('/home/analyst/notes.txt', 'w').write('mine')")
    world.backend.stop(WorkspaceId(plan.workspace))
    with Kernel(world, world.start(world.next_start(plan))) as kernel:
        assert (
            kernel.run("print(open('/outputs/kept.txt').read(), open('/home/analyst/notes.txt').read())")
            == "kept mine\n"
        )


def test_the_second_of_two_starts_at_once_is_refused(world: World) -> None:
    plan = world.plan()
    results: list[object] = []

    def start() -> None:
        try:
            results.append(world.start(plan))
        except TreError as error:
            results.append(error)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(result).__name__ for result in results) == ["Handle", "Stale"]
    assert len(world.backend.running()) == 1


def test_P4_a_workspace_whose_lease_lapses_is_ended(idle_world: World) -> None:
    idle_world.options = replace(idle_world.options, lease_seconds=3.0)
    plans = [idle_world.plan(person="ana"), idle_world.plan(person="bela")]
    kept, lapsed = [WorkspaceId(plan.workspace) for plan in plans]
    renewed = [kept, lapsed]
    finished = threading.Event()

    def renew() -> None:
        while not finished.wait(0.2):
            idle_world.backend.lease(renewed, 60.0)

    idle_world.start_supervisor()
    keeper = threading.Thread(target=renew)
    keeper.start()
    try:
        for plan in plans:
            idle_world.start(plan)
        renewed.remove(lapsed)
        wait_until(lambda: not idle_world.backend.poll(lapsed).running)
        assert "lease" in (idle_world.backend.poll(lapsed).reason or "")
        assert idle_world.backend.poll(kept).running
    finally:
        finished.set()
        keeper.join()


def test_a_killed_worker_takes_its_workspaces_along_and_is_replaced(world: World) -> None:
    handles = [world.start(world.plan(person=person)) for person in ("ana", "bela")]
    first = worker_pid(world)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: world.processes() == [])
    wait_until(world.answers)
    assert worker_pid(world) != first
    assert world.backend.running() == ()
    for handle in handles:
        status = world.backend.poll(handle.workspace)
        assert not status.running
        assert status.reason
        assert not handle.socket.exists()
    wait_until(world.nothing_left)
    world.start(world.plan(person="ana"))


def test_a_killed_parent_takes_worker_and_workspaces_along(world: World) -> None:
    world.start(world.plan())
    worker = worker_pid(world)
    assert world.process is not None
    world.process.kill()
    world.process.wait()
    wait_until(lambda: not is_alive(worker) and world.processes() == [])
    assert world.backend.running() == ()
    world.start_supervisor()
    assert world.groups() == []
    assert world.loops() == []
    world.start(world.plan())


def test_N2_a_lock_that_is_not_the_proven_one_starts_nothing(root_world: World) -> None:
    with pytest.raises(Stale, match="not the one that was proven"):
        root_world.backend.start(root_world.plan(), "0" * 64, silent)
    assert root_world.backend.running() == ()


def test_shutdown_ends_everything(world: World) -> None:
    world.start(world.plan())
    assert world.backend.shutdown() is True
    assert world.backend.shutdown() is False
    assert world.process is not None
    assert world.process.wait(10) == 0
    wait_until(world.nothing_left)
    assert not (world.settings.run_dir / "supervisor.sock").exists()


def test_told_to_end_while_a_workspace_is_cleared_away(idle_world: World) -> None:
    idle_world.start_supervisor(module="tests.workspaces.sandbox.told_midway")
    idle_world.start(idle_world.plan(person="ana"))
    with pytest.raises(Refused):
        idle_world.start(outside_its_root(idle_world, idle_world.plan(person="bela"), "/home/analyst"))
    assert idle_world.process is not None
    assert idle_world.process.wait(10) == 0
    assert "worker-" not in idle_world.log.read_text()
    wait_until(idle_world.nothing_left)


def test_told_to_end_while_no_worker_lives(root_world: World) -> None:
    """The worker was killed, the next one is not there yet: what was left is cleared away all the same."""
    root_world.start(root_world.plan())
    assert root_world.process is not None
    os.kill(worker_pid(root_world), signal.SIGKILL)
    wait_until(lambda: "worker-died" in root_world.log.read_text())
    root_world.process.terminate()
    assert root_world.process.wait(10) == 0
    assert root_world.nothing_left()


def test_told_to_end_before_the_worker_listens(idle_world: World) -> None:
    idle_world.spawn_supervisor()
    assert idle_world.process is not None
    wait_until(lambda: worker_pids(idle_world) != [])
    idle_world.process.terminate()
    assert idle_world.process.wait(10) == 0
    assert not idle_world.answers()


def test_two_supervisors_on_one_state_folder_are_one(idle_world: World) -> None:
    log = idle_world.settings.log_dir / "supervisor.log"
    choices: list[str] = []
    threads = [
        threading.Thread(target=lambda: choices.append(ensure_running_with(idle_world.options, log).name))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert choices == ["root"] * 3
        assert log.read_text().count('"supervisor.started"') == 1
    finally:
        assert idle_world.backend.shutdown()


def test_a_supervisor_that_cannot_run_says_why(idle_world: World) -> None:
    options = replace(idle_world.options, privilege="user")
    with pytest.raises(Unavailable, match="User mode does not run as root"):
        ensure_running_with(options, idle_world.settings.log_dir / "supervisor.log")


def test_orders_of_other_accounts_are_not_taken(root_world: World) -> None:
    """The state folder is closed to others already; the socket asks for the uid all the same."""
    for folder in (root_world.settings.state_dir, root_world.settings.run_dir):
        folder.chmod(0o755)
    (root_world.settings.run_dir / "supervisor.sock").chmod(0o777)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setresuid(12345, 12345, 12345)
            root_world.backend.status()
        except TreError as error:
            code = 0 if error.code == "supervisor-lost" or error.code == "supervisor" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("target", ["/data/survey", "/home/analyst", "/opt/env", "/shared"])
def test_N3_a_source_outside_its_root_is_refused(root_world: World, target: str) -> None:
    with pytest.raises(Refused):
        root_world.start(outside_its_root(root_world, root_world.plan(), target))
    assert root_world.backend.running() == ()


def test_N3_a_link_in_place_of_a_source_is_refused(root_world: World) -> None:
    plan = root_world.plan()
    dataset = Path(next(mount.source for mount in plan.mounts if mount.target == "/data/survey"))
    dataset.rename(dataset.with_name("moved"))
    dataset.symlink_to("/etc")
    with pytest.raises(Unavailable, match="/data/survey"):
        root_world.start(plan)


@pytest.mark.parametrize("name", ["data", "workspaces", "shared"])
def test_N3_links_of_a_compromised_service_are_not_followed(root_world: World, name: str) -> None:
    """The state folder belongs to the services; root must not be led out of it by one that was taken over."""
    plan = root_world.plan()
    elsewhere = Path(f"{root_world.settings.state_dir}-elsewhere")
    (root_world.settings.state_dir / name).rename(elsewhere)
    (root_world.settings.state_dir / name).symlink_to(elsewhere)
    try:
        with pytest.raises(Unavailable):
            root_world.start(plan)
    finally:
        shutil.rmtree(elsewhere)


def test_N3_root_clears_no_folder_through_a_link(root_world: World) -> None:
    root_world.stop_supervisor()
    elsewhere = root_world.settings.state_dir / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    sockets = root_world.settings.run_dir / "ws"
    sockets.rmdir()
    sockets.symlink_to(elsewhere)
    assert root_world.process is not None
    root_world.process = None
    with pytest.raises(AssertionError):
        root_world.start_supervisor()
    assert (elsewhere / "precious").exists()
    sockets.unlink()


def test_N3_a_folder_of_another_workspace_is_refused(root_world: World) -> None:
    theirs, mine = root_world.plan(person="bela"), root_world.plan(person="ana")
    root_world.start(theirs)
    root_world.backend.stop(WorkspaceId(theirs.workspace))
    folder = root_world.settings.workspaces_dir
    (folder / mine.workspace / "home").rmdir()
    (folder / theirs.workspace / "home").rename(folder / mine.workspace / "home")
    with pytest.raises(Unavailable, match="belongs to uid"):
        root_world.start(mine)


def _spoiled(plan: WorkspacePlan, what: str) -> str:
    text = plan.to_json()
    return {
        "other command": replace(plan, command=("/usr/bin/true",)).to_json(),
        "other workspace": replace(plan, workspace="a" * 16).to_json(),
        "not JSON": text[:-10],
        "writable dataset": text.replace(
            '"target": "/data/survey",\n   "writable": false', '"target": "/data/survey",\n   "writable": true'
        ),
    }[what]


@pytest.mark.parametrize("what", ["other command", "other workspace", "not JSON", "writable dataset"])
def test_a_plan_that_says_something_else_is_refused(root_world: World, what: str) -> None:
    plan = root_world.plan()
    spoiled = _spoiled(plan, what)
    assert spoiled != plan.to_json()
    (root_world.settings.workspaces_dir / plan.workspace / "plan.json").write_text(spoiled)
    with pytest.raises(Invalid):
        root_world.start(plan)
    assert root_world.backend.running() == ()


def test_a_workspace_that_cannot_start_says_why(root_world: World) -> None:
    broken = root_world.settings.state_dir / "inside"
    broken.mkdir()
    (broken / "nbmain.py").write_text("raise SystemExit('the reason stands here')\n")
    root_world.stop_supervisor()
    root_world.options = replace(root_world.options, inside=broken)
    root_world.start_supervisor()
    with pytest.raises(Unavailable, match="the reason stands here"):
        root_world.start(root_world.plan())
    assert root_world.backend.running() == ()


def test_without_a_supervisor_nothing_runs_and_everything_else_is_refused(idle_world: World) -> None:
    backend = idle_world.backend
    some = WorkspaceId("a" * 16)
    assert backend.running() == ()
    assert not backend.poll(some).running
    backend.stop(some)
    assert backend.shutdown() is False
    with pytest.raises(Unavailable, match="tre up"):
        backend.status()
    with pytest.raises(Unavailable):
        backend.lease([some], 1.0)


def test_an_unknown_workspace_is_told_apart(root_world: World) -> None:
    status = root_world.backend.poll(WorkspaceId("b" * 16))
    assert not status.running
    assert status.reason
    with pytest.raises(Invalid):
        root_world.backend.poll(WorkspaceId("../../etc"))


def test_R3_the_last_words_of_a_workspace_that_people_worked_in_are_told_to_nobody(root_world: World) -> None:
    handle = root_world.start(root_world.plan())
    canary = "NHS 943 476 5919, male"
    with Kernel(root_world, handle) as kernel, suppress(Exception):
        kernel.run(f"import os, signal\nos.write(2, b'{canary}\\n')\nos.kill(os.getppid(), signal.SIGTERM)", 5)
    wait_until(lambda: not root_world.backend.poll(handle.workspace).running)
    reason = root_world.backend.poll(handle.workspace).reason
    assert reason is not None
    assert reason.startswith("It ended by itself")
    assert canary not in reason + root_world.log.read_text()


def test_N4_a_full_disk_under_the_log_ends_nobody(idle_world: World) -> None:
    idle_world.start_supervisor(log=Path("/dev/full"))
    handle = idle_world.start(idle_world.plan(person="ana"))
    with pytest.raises(Refused):
        idle_world.start(outside_its_root(idle_world, idle_world.plan(person="bela"), "/home/analyst"))
    with pytest.raises(Invalid):
        idle_world.backend.poll(WorkspaceId("../../etc"))
    first = worker_pid(idle_world)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not is_alive(first) and worker_pids(idle_world) not in ([], [first]) and idle_world.answers())
    assert not idle_world.backend.poll(handle.workspace).running
    idle_world.start(idle_world.plan(person="ana"))


def test_P4_a_lease_is_a_number(root_world: World) -> None:
    handle = root_world.start(root_world.plan())
    for seconds in (float("nan"), float("inf"), -1.0):
        with pytest.raises(Invalid, match="lease"):
            root_world.backend.lease([handle.workspace], seconds)


@pytest.mark.parametrize("how", ["told to end", "worker killed"])
def test_a_proof_that_is_cut_off_leaves_nothing(root_world: World, how: str) -> None:
    shared, queues = shared_memory(), message_queues()

    def prove() -> None:
        with suppress(TreError):
            root_world.backend.prove(root_world.plan())

    proving = threading.Thread(target=prove)
    proving.start()
    wait_until(lambda: marked("tre-proof-") != [])
    assert root_world.process is not None
    if how == "told to end":
        root_world.process.terminate()
        assert root_world.process.wait(10) == 0
    else:
        os.kill(worker_pid(root_world), signal.SIGKILL)
    proving.join(30)
    wait_until(lambda: marked("tre-proof-") == [], 5)
    if how == "told to end":
        root_world.start_supervisor()
    else:
        wait_until(root_world.answers)
    root_world.start(root_world.plan())
    assert root_world.backend.prove(root_world.plan()).passed
    assert (shared_memory(), message_queues()) == (shared, queues)
    assert list(root_world.options.root_state.glob("proof-*")) == []


def shared_memory() -> list[str]:
    return sorted(path.name for path in Path("/dev/shm").iterdir())


def message_queues() -> list[str]:
    """The POSIX queues of this IPC namespace, which has no folder for them until one is mounted."""
    listing = "mount -t mqueue none /mnt && ls /mnt"
    ran = subprocess.run(["unshare", "-m", "sh", "-c", listing], check=True, capture_output=True, text=True)
    return ran.stdout.split()


def marked(word: str) -> list[str]:
    """Processes with this word among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                if word.encode() in (entry / "cmdline").read_bytes():
                    found.append(entry.name)
    return found


def test_what_a_workspace_prints_does_not_reach_the_disk(root_world: World) -> None:
    """R3: a kernel can write to its server's output; the supervisor reads it and keeps none of it."""
    handle = root_world.start(root_world.plan())
    canary = "canary-943-476-5919"
    with Kernel(root_world, handle) as kernel:
        kernel.run(f"import os\nfor _ in range(2000): os.write(1, b'{canary} ' * 100)")
    root_world.backend.stop(handle.workspace)
    for path in root_world.settings.log_dir.rglob("*"):
        assert canary not in path.read_text(errors="replace")
