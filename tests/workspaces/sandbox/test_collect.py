"""What leaves /outputs through the supervisor: the files as they are, from a workspace that holds still (A2)."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.workspaces.sandbox.conftest import World
from tests.workspaces.sandbox.kernel_client import Kernel
from tre_orchestrator.catalogue.names import WorkspaceId
from tre_orchestrator.errors import NotFound, Refused
from tre_orchestrator.workspaces.backend import Handle

pytestmark = pytest.mark.sandbox


def collected(world: World, workspace: WorkspaceId, folder: str) -> dict[str, bytes]:
    return {file.path: b"".join(file.chunks) for file in world.backend.collect(workspace, folder)}


@pytest.fixture
def working(world: World) -> Handle:
    handle = world.start(world.plan())
    with Kernel(world, handle) as kernel:
        kernel.run(
            "import os\n"
            "os.makedirs('/outputs/figs/deep')\n"
            "open('/outputs/figs/a.csv', 'w').write('n\\n12\\n')\n"
            "open('/outputs/figs/deep/big.bin', 'wb').write(os.urandom(1) * (5 << 20))\n"
            "os.mkdir('/outputs/bad'); os.symlink('/etc/passwd', '/outputs/bad/x')"
        )
    return handle


def test_files_come_out_whole_while_the_workspace_runs_and_after(world: World, working: Handle) -> None:
    found = collected(world, working.workspace, "figs")
    assert set(found) == {"a.csv", "deep/big.bin"}
    assert found["a.csv"] == b"n\n12\n"
    assert len(found["deep/big.bin"]) == 5 << 20
    world.backend.stop(working.workspace)
    assert collected(world, working.workspace, "figs") == found


def test_A2_a_folder_with_a_link_is_refused_with_the_reason(world: World, working: Handle) -> None:
    with pytest.raises(Refused, match="symbolic link"):
        collected(world, working.workspace, "bad")
    with pytest.raises(NotFound):
        collected(world, working.workspace, "nothing-here")
    with pytest.raises(Refused):
        collected(world, working.workspace, "../home")
    assert world.backend.poll(working.workspace).running


def test_A2_unread_files_do_not_disturb_the_next_one(world: World, working: Handle) -> None:
    sizes = {file.path: file.size for file in world.backend.collect(working.workspace, "figs")}
    assert sizes == {"a.csv": 5, "deep/big.bin": 5 << 20}


def test_A2_a_reader_that_goes_away_lets_the_workspace_go_on(world: World, working: Handle) -> None:
    files = world.backend.collect(working.workspace, "figs")
    next(files)
    files.close()  # type: ignore[attr-defined]
    with Kernel(world, working) as kernel:
        assert kernel.run("print(1 + 1)") == "2\n"


def test_A2_the_workspace_holds_still_while_it_is_copied(world: World, working: Handle) -> None:
    """A process that counts in a loop makes no step between the first and the last byte of the copy."""
    with Kernel(world, working) as kernel:
        kernel.run(
            "import threading, time\n"
            "count = 0\n"
            "def go():\n"
            "    global count\n"
            "    while True: count += 1; time.sleep(0.0005)\n"
            "threading.Thread(target=go, daemon=True).start()"
        )
        files = world.backend.collect(working.workspace, "figs")
        file = next(files)
        chunks = iter(file.chunks)
        next(chunks)
        answered: list[str] = []
        asker = threading.Thread(target=lambda: answered.append(kernel.run("print(count)")))
        asker.start()
        asker.join(1.0)
        assert answered == [], "the kernel answered although it should have been frozen"
        for _ in files:
            pass
        asker.join(30)
        assert answered


def test_A2_writers_are_never_caught_in_the_middle(world: World, working: Handle) -> None:
    """Files that are each rewritten by one write() come out whole in every copy: all of one letter."""
    with Kernel(world, working) as kernel:
        kernel.run(
            "import os\n"
            "os.makedirs('/outputs/race')\n"
            "if os.fork() == 0:\n"
            "    data = [bytes([65 + n]) * (4 << 20) for n in range(4)]\n"
            "    file = os.open('/outputs/race/f.bin', os.O_CREAT | os.O_RDWR, 0o600)\n"
            "    while True:\n"
            "        for block in data: os.pwrite(file, block, 0)\n"
        )
        time.sleep(0.5)
        for _ in range(10):
            found = collected(world, working.workspace, "race")["f.bin"]
            assert len(found) == 4 << 20
            assert len(set(found)) == 1, "a write was torn"


def test_N3_another_workspaces_outputs_are_not_touched(root_world: World) -> None:
    first, second = root_world.start(root_world.plan(person="ana")), root_world.start(root_world.plan(person="bela"))
    with Kernel(root_world, second) as kernel:
        kernel.run("import os; os.mkdir('/outputs/theirs'); open('/outputs/theirs/a.txt', 'w').write('x')")
    with pytest.raises(NotFound):
        collected(root_world, first.workspace, "theirs")
    assert collected(root_world, second.workspace, "theirs") == {"a.txt": b"x"}


def test_A2_a_planted_image_is_not_mounted(root_world: World) -> None:
    plan = root_world.plan()
    image = Path(root_world.settings.workspaces_dir) / plan.workspace / "disk.img"
    image.write_bytes(bytes(1 << 20))
    image.chmod(0o666)
    with pytest.raises(Exception, match="is not the file made for it"):
        root_world.start(plan)
