"""A project's shared folder on an image: one for all its workspaces, capped, mounted once, never replaced."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workspaces.sandbox.conftest import World, wait_until
from tests.workspaces.sandbox.kernel_client import Kernel
from tre_orchestrator.catalogue.names import ProjectName, WorkspaceId
from tre_orchestrator.errors import Refused, Unavailable
from tre_orchestrator.workspaces.backend import Handle
from tre_orchestrator.workspaces.sandbox import room

HEART = ProjectName("heart")
FILL = """
import os
try:
    for n in range(200):
        open(f"/shared/{n}.bin", "wb").write(os.urandom(1 << 20))
except OSError as error:
    print(error.strerror)
"""


def image_of(world: World, project: str = "heart") -> Path:
    return world.settings.shared_dir / ".disks" / project / "disk.img"


def mounted(world: World, project: str = "heart") -> int:
    return world.loops().count(str(image_of(world, project)))


def run(world: World, handle: Handle, code: str) -> str:
    with Kernel(world, handle) as kernel:
        return kernel.run(code)


def keepers(world: World) -> list[int]:
    """Processes of the supervisor that have a shared disk mounted for the launchers of its project."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            mounts, words = (entry / "mountinfo").read_text(), (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if " /run/tre-orchestrator/shared " in mounts and os.fsencode(world.settings.state_dir) in words:
            found.append(int(entry.name))
    return found


@pytest.mark.sandbox
def test_N4_a_full_shared_folder_takes_no_more_of_the_disk_than_its_cap(root_world: World) -> None:
    ana, ben = (root_world.start(root_world.plan(person=person)) for person in ("ana", "ben"))
    assert "No space left on device" in run(root_world, ana, FILL)
    assert image_of(root_world).stat().st_blocks * 512 <= 65 << 20
    assert run(root_world, ben, "import os; print(len(os.listdir('/shared')) > 30)").strip() == "True"
    assert run(root_world, ben, "open('/outputs/mine.csv', 'w').write('1') and None") == ""


@pytest.mark.sandbox
def test_N3_members_share_one_folder_and_other_projects_have_their_own(root_world: World) -> None:
    ana, ben = (root_world.start(root_world.plan(person=person)) for person in ("ana", "ben"))
    other = root_world.start(root_world.plan(person="ana", project="liver"))
    run(root_world, ana, "open('/shared/note.txt', 'w').write('from ana') and None")
    assert run(root_world, ben, "print(open('/shared/note.txt').read())").strip() == "from ana"
    assert run(root_world, ben, "open('/shared/note.txt', 'a').write(', from ben') and None") == ""
    assert run(root_world, other, "import os; print(os.listdir('/shared'))").strip() == "[]"
    assert (mounted(root_world), mounted(root_world, "liver")) == (1, 1)


@pytest.mark.sandbox
def test_A1_what_was_shared_is_there_at_the_next_start(root_world: World) -> None:
    plan = root_world.plan()
    run(root_world, root_world.start(plan), "open('/shared/note.txt', 'w').write('kept') and None")
    root_world.backend.stop(WorkspaceId(plan.workspace))
    again = root_world.start(root_world.next_start(plan))  # at once: the last mount may not be gone yet
    assert run(root_world, again, "print(open('/shared/note.txt').read())").strip() == "kept"
    root_world.backend.stop(WorkspaceId(plan.workspace))
    wait_until(lambda: mounted(root_world) == 0)
    assert keepers(root_world) == []


@pytest.mark.sandbox
def test_A1_a_supervisor_that_is_killed_loses_nothing_and_leaves_nothing_mounted(root_world: World) -> None:
    plan = root_world.plan()
    run(root_world, root_world.start(plan), "import os; open('/shared/n', 'w').write('kept'); os.sync()")
    assert root_world.process is not None
    root_world.process.send_signal(signal.SIGKILL)
    root_world.process.wait(10)
    wait_until(lambda: mounted(root_world) == 0)
    root_world.start_supervisor()
    again = root_world.start(root_world.next_start(plan))
    assert run(root_world, again, "print(open('/shared/n').read())").strip() == "kept"


@pytest.mark.sandbox
def test_the_image_is_never_mounted_twice_even_when_its_keeper_is_killed(root_world: World) -> None:
    plan, other = root_world.plan(person="ana"), root_world.plan(person="ben")
    ana = root_world.start(plan)
    (keeper,) = keepers(root_world)
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{keeper}").exists())
    with pytest.raises(Unavailable, match="still in use"):
        root_world.start(other)
    assert mounted(root_world) == 1
    assert run(root_world, ana, "open('/shared/n', 'w').write('goes on') and None") == ""
    root_world.backend.stop(WorkspaceId(plan.workspace))
    ben = root_world.start(root_world.next_start(other))
    assert run(root_world, ben, "print(open('/shared/n').read())").strip() == "goes on"


@pytest.mark.sandbox
def test_many_first_starts_of_a_project_at_once_see_one_folder(root_world: World) -> None:
    plans = [root_world.plan(person=f"person-{number}") for number in range(4)]
    handles: list[Handle] = []
    threads = [threading.Thread(target=lambda plan=plan: handles.append(root_world.start(plan))) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(handles) == 4
    for number, handle in enumerate(handles):
        assert run(root_world, handle, f"open('/shared/{number}', 'w').close()") == ""
    assert run(root_world, handles[0], "import os; print(len(os.listdir('/shared')))").strip() == "4"
    assert mounted(root_world) == 1


@pytest.mark.sandbox
def test_A1_a_shared_disk_that_cannot_be_mounted_is_no_empty_folder(root_world: World) -> None:
    plan = root_world.plan()
    run(root_world, root_world.start(plan), "open('/shared/n', 'w').write('kept') and None")
    root_world.backend.stop(WorkspaceId(plan.workspace))
    fresh = root_world.plan(person="ben")  # has no image of its own that would be missed first
    root_world.stop_supervisor()
    root_world.start_supervisor(PATH="/usr/bin")  # mkfs.ext4 is elsewhere: no image is mounted
    with pytest.raises(Unavailable, match="shared files lie on a disk image"):
        root_world.start(fresh)


@pytest.mark.sandbox
def test_a_project_with_files_in_its_plain_folder_keeps_using_it(root_world: World) -> None:
    plan = root_world.plan()
    old = root_world.settings.shared_dir / "heart" / "old.txt"
    old.write_text("from before")
    assert run(root_world, root_world.start(plan), "print(open('/shared/old.txt').read())").strip() == "from before"
    old.unlink()
    ben = root_world.start(root_world.plan(person="ben"))
    run(root_world, ben, "open('/shared/new', 'w').close()")
    assert (root_world.settings.shared_dir / "heart" / "new").exists(), "two folders for one project"


@pytest.mark.sandbox
def test_D2_erasing_copies_deletes_the_shared_image(root_world: World) -> None:
    plan = root_world.plan()
    run(root_world, root_world.start(plan), "open('/shared/copy.csv', 'w').write('1') and None")
    root_world.backend.stop(WorkspaceId(plan.workspace))
    root_world.backend.erase(WorkspaceId(plan.workspace), HEART)
    assert not image_of(root_world).exists()
    again = root_world.start(root_world.next_start(plan))
    assert run(root_world, again, "import os; print(os.listdir('/shared'))").strip() == "[]"


@pytest.mark.sandbox
def test_an_image_that_somebody_else_put_there_is_not_mounted(root_world: World) -> None:
    plan = root_world.plan()
    image_of(root_world).parent.mkdir(parents=True)
    image_of(root_world).write_bytes(b"\0" * 4096)
    os.chown(image_of(root_world), root_world.service, root_world.service)
    with pytest.raises(Unavailable, match="is not the file made for it"):
        root_world.start(plan)


@pytest.mark.sandbox
def test_N4_a_start_is_refused_when_the_disk_could_not_keep_its_promises(root_world: World) -> None:
    plan = root_world.plan()
    free = os.statvfs(root_world.settings.state_dir)
    too_much = free.f_bavail * free.f_frsize // (1 << 20)
    greedy = replace(plan, limits=replace(plan.limits, disk_mib=too_much))
    root_world.write_plan(greedy)
    with pytest.raises(Refused, match="running ones could still write") as refused:
        root_world.start(greedy)
    assert refused.value.code == "disk-promised"
    assert not image_of(root_world).exists()
    root_world.start(root_world.next_start(plan))


@given(st.integers(0, 1 << 20), st.integers(0, 1 << 20))
def test_N4_promises_and_the_reserve_fit_or_it_is_refused(free: int, promised: int) -> None:
    assert (room.why_no_room(free, promised) is None) == (free - promised >= room.RESERVE_MIB)


def test_N4_what_an_image_has_taken_already_is_not_promised_again(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    assert room.still_promised(image, 8) == 8 << 20
    image.write_bytes(os.urandom(3 << 20))
    os.sync()
    assert (4 << 20) < room.still_promised(image, 8) <= 8 << 20
    os.truncate(image, 16 << 20)
    assert room.still_promised(image, 8) > 12 << 20, "it may grow to its size, whatever the plan says"
