"""A workspace's disk image: mounted once at a time, grown as planned, never replaced by empty folders."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.workspaces.sandbox.conftest import World, wait_until
from tests.workspaces.sandbox.kernel_client import Kernel
from tre_orchestrator.catalogue.names import WorkspaceId
from tre_orchestrator.errors import Refused, Unavailable
from tre_orchestrator.workspaces.plan import WorkspacePlan

pytestmark = pytest.mark.sandbox

BIG = "import os\nfor n in range(3): open(f'/outputs/big{n}.bin', 'wb').write(os.urandom(8 << 20))"


def image_of(world: World, plan: WorkspacePlan) -> Path:
    return world.settings.workspaces_dir / plan.workspace / "disk.img"


def mounts_of(world: World, plan: WorkspacePlan) -> int:
    return world.loops().count(str(image_of(world, plan)))


def written(world: World, plan: WorkspacePlan, code: str = BIG) -> None:
    with Kernel(world, world.start(plan)) as kernel:
        assert kernel.run(code) == ""


def unread_copy(world: World, plan: WorkspacePlan) -> Callable[[], None]:
    """A copy whose client takes the first file's name and reads no further; call what comes back to hang up."""
    files = world.backend.collect(WorkspaceId(plan.workspace), "")
    next(iter(files))
    return files.close  # type: ignore[attr-defined,no-any-return]


def test_N3_a_copy_that_nobody_reads_does_not_keep_an_ended_workspace_mounted(root_world: World) -> None:
    plan = root_world.plan()
    written(root_world, plan)
    hang_up = unread_copy(root_world, plan)
    stopping = threading.Thread(target=lambda: root_world.backend.stop(WorkspaceId(plan.workspace)))
    stopping.start()
    stopping.join(10)
    assert not stopping.is_alive(), "the copy kept the workspace alive"
    wait_until(lambda: mounts_of(root_world, plan) == 0)
    hang_up()
    written(root_world, root_world.next_start(plan), "import os; assert len(os.listdir('/outputs')) == 3")
    assert mounts_of(root_world, plan) == 1


def test_N3_a_copy_of_one_workspace_keeps_no_other_one_mounted(root_world: World) -> None:
    one, other = root_world.plan(person="ana"), root_world.plan(person="bela")
    written(root_world, one)
    written(root_world, other)
    hang_up = unread_copy(root_world, other)
    root_world.backend.stop(WorkspaceId(one.workspace))
    wait_until(lambda: mounts_of(root_world, one) == 0, 5)
    root_world.start(root_world.next_start(one))
    assert mounts_of(root_world, one) == 1
    hang_up()


def test_N3_a_workspace_does_not_start_while_its_outputs_are_copied_at_rest(root_world: World) -> None:
    plan = root_world.plan()
    written(root_world, plan)
    root_world.backend.stop(WorkspaceId(plan.workspace))
    hang_up = unread_copy(root_world, plan)
    with pytest.raises(Unavailable, match="being copied"):
        root_world.start(root_world.next_start(plan))
    assert mounts_of(root_world, plan) == 1
    hang_up()
    wait_until(lambda: mounts_of(root_world, plan) == 0)
    root_world.start(root_world.next_start(plan))


def test_A1_a_disk_that_cannot_be_mounted_is_no_empty_home(root_world: World) -> None:
    plan = root_world.plan()
    written(root_world, plan, "open('/outputs/table.csv', 'w').write('n\\n12\\n') and None")
    root_world.stop_supervisor()
    root_world.start_supervisor(PATH="/usr/bin")  # mkfs.ext4 is elsewhere: no image is mounted
    assert root_world.backend.status().disk_cap is False
    with pytest.raises(Unavailable, match="disk image"):
        root_world.start(root_world.next_start(plan))
    root_world.stop_supervisor()
    root_world.start_supervisor()
    written(root_world, root_world.next_start(plan), "assert open('/outputs/table.csv').read() == 'n\\n12\\n'")


def test_a_growth_that_was_interrupted_is_made_up_for(root_world: World) -> None:
    plan = root_world.plan()
    written(root_world, plan, "open('/outputs/kept.txt', 'w').write('kept') and None")
    root_world.backend.stop(WorkspaceId(plan.workspace))
    with image_of(root_world, plan).open("r+b") as image:
        image.truncate(192 << 20)
    larger = replace(plan, limits=replace(plan.limits, disk_mib=192))
    check = "import os; s = os.statvfs('/outputs'); assert s.f_blocks * s.f_frsize > 160 << 20\n"
    written(root_world, root_world.next_start(larger), f"{check}assert open('/outputs/kept.txt').read() == 'kept'")


def test_an_analyst_who_closes_the_home_gets_in_again(root_world: World) -> None:
    plan = root_world.plan()
    written(root_world, plan, "import os; os.chmod('/home/analyst', 0); os.chmod('/outputs', 0)")
    root_world.backend.stop(WorkspaceId(plan.workspace))
    written(root_world, root_world.next_start(plan), "open('/home/analyst/x', 'w').close()")


def test_D2_a_workspace_that_is_ending_is_not_held_for_a_copy(world: World) -> None:
    plan = world.plan()
    written(world, plan)
    stopping = threading.Thread(target=lambda: world.backend.stop(WorkspaceId(plan.workspace)))
    stopping.start()
    while stopping.is_alive():
        try:
            unread_copy(world, plan)()
        except (Unavailable, Refused):
            continue
    stopping.join(10)
    assert not world.backend.poll(WorkspaceId(plan.workspace)).running
