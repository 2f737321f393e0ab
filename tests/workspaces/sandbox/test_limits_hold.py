"""N4: a workspace that takes too much hurts itself only; another one beside it goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.workspaces.sandbox.conftest import World, wait_until
from tests.workspaces.sandbox.kernel_client import Kernel
from tre_orchestrator.workspaces.backend import Handle
from tre_orchestrator.workspaces.plan import PlanLimits

pytestmark = pytest.mark.sandbox

SMALL = PlanLimits(memory_mib=512, cpus=1.0, processes=90, disk_mib=32, tmp_mib=16)


@contextmanager
def neighbours(world: World) -> Iterator[tuple[Kernel, Kernel, Handle]]:
    """The one that misbehaves, the one beside it, and the first one's handle."""
    bad, good = world.start(world.plan(person="ana", limits=SMALL)), world.start(world.plan(person="bela"))
    with Kernel(world, bad) as attacker, Kernel(world, good) as neighbour:
        yield attacker, neighbour, bad


def is_well(neighbour: Kernel) -> bool:
    """The neighbour can still start processes, allocate and write."""
    said = neighbour.run(
        "import subprocess, os\n"
        "open('/outputs/x', 'wb').write(bytes(1 << 20)); open('/tmp/x', 'wb').write(bytes(1 << 20))\n"
        "print(subprocess.run(['/usr/bin/true']).returncode, len(bytearray(100 << 20)) >> 20)"
    )
    return said.split() == ["0", "100"]


def test_N4_a_memory_hog_hurts_its_own_workspace_only(world: World) -> None:
    with neighbours(world) as (attacker, neighbour, handle):
        hog = "hog = [bytearray(b'x') * (1 << 24) for _ in range(200)]; print('hogged', len(hog))"
        if world.backend.status().limits == "none":  # without a group the process's own limit holds
            assert "MemoryError" in attacker.run(hog)
            assert any("not limited" in warning for warning in world.backend.status().warnings)
        else:
            attacker.send(hog)
            assert attacker.died()
        assert is_well(neighbour)
        assert world.backend.poll(handle.workspace).running
        assert attacker.api("GET", "/api/status")["kernels"] == 1


def test_N4_memory_in_temporary_files_counts_and_is_capped(world: World) -> None:
    with neighbours(world) as (attacker, neighbour, _):
        for folder, mib in (("/tmp", 16), ("/var/tmp", 16), ("/dev/shm", 64), ("/run", 1)):
            said = attacker.run(
                "import os\n"
                f"path = '{folder}/fill'; written = 0\n"
                "try:\n"
                "    with open(path, 'wb', buffering=0) as file:\n"
                "        while written < 200 << 20: written += file.write(bytes(1 << 20))\n"
                "except OSError as error: print(error.strerror, written >> 20)\n"
                "os.unlink(path)"
            )
            assert said.startswith(("No space left", "File too large")), (folder, said)
            assert int(said.split()[-1]) <= mib
        assert is_well(neighbour)


def test_N4_a_fork_bomb_hurts_its_own_workspace_only(world: World) -> None:
    with neighbours(world) as (attacker, neighbour, handle):
        said = attacker.run(
            "import os, signal, time\n"
            "children = []\n"
            "try:\n"
            "    while len(children) < 1000:\n"
            "        child = os.fork()\n"
            "        if child == 0:\n"
            "            time.sleep(60); os._exit(0)\n"
            "        children.append(child)\n"
            "except OSError as error: print(error.strerror, len(children))\n"
            "for child in children: os.kill(child, signal.SIGKILL)\n"
            "for child in children: os.waitpid(child, 0)"
        )
        assert said.startswith("Resource temporarily unavailable"), said
        assert int(said.split()[-1]) < SMALL.processes
        assert is_well(neighbour)
        assert world.backend.poll(handle.workspace).running


def test_N4_a_bomb_that_does_not_stop_can_be_ended(world: World) -> None:
    with neighbours(world) as (attacker, neighbour, handle):
        attacker.send("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass")
        time.sleep(1)
        assert is_well(neighbour)
        world.backend.stop(handle.workspace)
        assert not world.backend.poll(handle.workspace).running
        assert is_well(neighbour)


def test_N4_the_disk_is_capped_where_this_machine_can(world: World) -> None:
    with neighbours(world) as (attacker, neighbour, _):
        said = attacker.run(
            "import os\n"
            "written = 0\n"
            "try:\n"
            "    for number in range(8):\n"
            "        with open(f'/outputs/fill{number}', 'wb', buffering=0) as file:\n"
            "            for _ in range(20): written += file.write(bytes(1 << 20))\n"
            "except OSError as error: print(error.strerror, written >> 20)\n"
            "else: print('none', written >> 20)"
        )
        if world.backend.status().disk_cap:
            assert said.startswith("No space left"), said
            assert int(said.split()[-1]) <= SMALL.disk_mib
        else:
            assert any("hard disk limit" in warning for warning in world.backend.status().warnings)
            huge = attacker.run(
                "written = 0\n"
                "try:\n"
                "    with open('/outputs/huge', 'wb', buffering=0) as file:\n"
                "        while written < 100 << 20: written += file.write(bytes(1 << 20))\n"
                "except OSError as error: print(error.strerror, written >> 20)"
            )
            assert huge.startswith("File too large"), huge
        assert is_well(neighbour)


def test_N4_the_disk_can_grow_but_keeps_what_it_holds(root_world: World) -> None:
    plan = root_world.plan(limits=SMALL)
    with Kernel(root_world, root_world.start(plan)) as kernel:
        kernel.run("open('/outputs/kept', 'w').write('kept')")
        before = int(kernel.run("import os; s = os.statvfs('/outputs'); print(s.f_blocks * s.f_frsize >> 20)"))
    handle = root_world.backend.running()[0]
    root_world.backend.stop(handle.workspace)
    larger = root_world.plan(workspace=plan.workspace, limits=PlanLimits(512, 1.0, 90, 96, 16))
    with Kernel(root_world, root_world.start(larger)) as kernel:
        after = int(kernel.run("import os; s = os.statvfs('/outputs'); print(s.f_blocks * s.f_frsize >> 20)"))
        assert kernel.run("print(open('/outputs/kept').read())") == "kept\n"
    assert before <= SMALL.disk_mib < 64 < after <= 96


def test_N4_processor_time_is_capped_by_the_group(root_world: World) -> None:
    handle = root_world.start(root_world.plan(limits=SMALL))
    groups = [Path(path) for path in root_world.groups() if path.endswith(handle.workspace)]
    if root_world.backend.status().limits == "cgroup v1":
        assert [(path / "cpu.cfs_quota_us").read_text() for path in groups if "/cpu/" in str(path)] == ["100000\n"]
    else:
        assert [(path / "cpu.max").read_text() for path in groups] == ["100000 100000\n"]


def test_N4_a_machine_out_of_memory_ends_workspaces_before_services(world: World) -> None:
    handle = world.start(world.plan())
    assert Path(f"/proc/{handle.pid}/oom_score_adj").read_text().strip() == "500"
    with Kernel(world, handle) as kernel:
        said = kernel.run("import os; os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), b'-500')")
    assert "PermissionError" in said


def test_N4_a_flood_of_output_does_not_stop_the_supervisor(world: World) -> None:
    with neighbours(world) as (attacker, neighbour, handle):
        attacker.send("import os\nwhile True: os.write(1, b'x' * 65536)")
        time.sleep(1)
        for _ in range(20):
            assert world.backend.poll(handle.workspace).running
            time.sleep(0.05)
        assert is_well(neighbour)
        world.backend.stop(handle.workspace)


def test_N4_stopped_processes_cannot_keep_a_workspace_alive(world: World) -> None:
    with neighbours(world) as (attacker, _, handle):
        attacker.run(
            "import os, signal, subprocess\n"
            "for _ in range(5):\n"
            "    child = subprocess.Popen(['/usr/bin/sleep', '600'], start_new_session=True)\n"
            "    os.kill(child.pid, signal.SIGSTOP)"
        )
        world.backend.stop(handle.workspace)
        wait_until(lambda: not world.backend.poll(handle.workspace).running)
