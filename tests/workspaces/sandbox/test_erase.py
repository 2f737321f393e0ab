"""Copies that the controller of the data wants deleted are gone, however an analyst left them; nothing else is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.workspaces.sandbox.conftest import World
from tests.workspaces.sandbox.kernel_client import Kernel
from tre_orchestrator.catalogue.names import ProjectName, WorkspaceId
from tre_orchestrator.errors import Invalid, Stale
from tre_orchestrator.workspaces.sandbox.eraser import empty

HEART = ProjectName("heart")

HOSTILE = """
import os
for place in ("/home/analyst", "/outputs", "/shared"):
    open(place + "/.copy.csv", "w").write("canary")
    os.mkdir(place + "/closed"); open(place + "/closed/copy.csv", "w").write("canary"); os.chmod(place + "/closed", 0)
    os.symlink("/data/survey", place + "/link")
    os.chdir(place)
    for _ in range(1500):
        os.mkdir("d"); os.chdir("d")
    open("copy.csv", "w").write("canary")
print("left")
"""


def left(world: World, workspace: str) -> list[str]:
    own = world.settings.workspaces_dir / workspace
    places = [own / "home", own / "outputs", world.settings.shared_dir / HEART]
    found = [str(path) for place in places for path in place.iterdir()]
    return found + [str(path) for path in own.iterdir() if path.name == "disk.img"]


@pytest.mark.sandbox
def test_everything_an_analyst_kept_is_deleted_and_the_next_start_is_fresh(world: World) -> None:
    plan = world.plan()
    handle = world.start(plan)
    with Kernel(world, handle) as kernel:
        assert "left" in kernel.run(HOSTILE)
    with pytest.raises(Stale, match="running"):
        world.backend.erase(handle.workspace, HEART)
    world.backend.stop(handle.workspace)
    assert left(world, handle.workspace)
    world.backend.erase(handle.workspace, HEART)
    assert left(world, handle.workspace) == []
    world.backend.erase(handle.workspace, HEART)
    assert (world.settings.state_dir / "data/survey/1/rows.csv").read_text() == "id,value\n1,2\n"
    again = world.start(world.next_start(plan))
    with Kernel(world, again) as kernel:
        assert "['README.md'" in kernel.run("import os; print(sorted(n for n in os.listdir('.') if n[0] != '.'))")


@pytest.mark.sandbox
def test_while_another_workspace_of_the_project_runs_nothing_is_deleted(world: World) -> None:
    mine, other = world.plan(person="ana"), world.start(world.plan(person="ben"))
    (world.settings.shared_dir / HEART / "copy.csv").touch()
    with pytest.raises(Stale):
        world.backend.erase(WorkspaceId(mine.workspace), HEART)
    assert (world.settings.shared_dir / HEART / "copy.csv").exists()
    world.backend.stop(other.workspace)


@pytest.mark.sandbox
def test_only_names_are_taken(world: World) -> None:
    for project in ("..", "a/b", "", "A"):
        with pytest.raises(Invalid):
            world.backend.erase(WorkspaceId("a" * 16), ProjectName(project))


def test_links_are_deleted_and_not_followed(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    for folder in (outside, inside, inside / "deep"):
        folder.mkdir()
    (outside / "kept").touch()
    for folder in (inside, inside / "deep"):
        (folder / "link").symlink_to(outside)
        os.mkfifo(folder / "pipe")
    descriptor = os.open(inside, os.O_RDONLY | os.O_DIRECTORY)
    try:
        empty(descriptor)
    finally:
        os.close(descriptor)
    assert list(inside.iterdir()) == []
    assert (outside / "kept").exists()
