"""What `tre up` makes of folders that somebody else made first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tre_orchestrator.errors import TreError
from tre_orchestrator.ops import machine
from tre_orchestrator.settings import Settings

STRANGER = 12345


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """A state folder whose path is too long for sockets, so that they lie below /tmp, where everybody may write."""
    found = Settings(state_dir=tmp_path / ("long" * 20))
    assert found.run_dir.parent == Path("/tmp")
    yield found
    if found.run_dir.is_symlink():
        found.run_dir.unlink()
    else:
        shutil.rmtree(found.run_dir)


def link_elsewhere(folder: Path, elsewhere: Path) -> None:
    folder.symlink_to(elsewhere)


def link_to_nothing(folder: Path, elsewhere: Path) -> None:
    folder.symlink_to(elsewhere / "nothing")


def of_a_stranger(folder: Path, _elsewhere: Path) -> None:
    folder.mkdir()
    os.chown(folder, STRANGER, STRANGER)


def writable_by_others(folder: Path, _elsewhere: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another account's folder")
@pytest.mark.parametrize("trap", [link_elsewhere, link_to_nothing, of_a_stranger, writable_by_others])
def test_a_folder_for_sockets_that_a_stranger_made_is_refused(
    settings: Settings, tmp_path: Path, trap: Callable[[Path, Path], None]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    trap(settings.run_dir, elsewhere)
    with pytest.raises(TreError, match="not a folder that belongs to this TRE alone"):
        machine.prepare(settings)
    assert elsewhere.stat().st_uid == os.geteuid(), "root gave a folder away through a link"


def test_a_second_start_takes_the_folders_of_the_first(settings: Settings) -> None:
    machine.prepare(settings)
    machine.prepare(settings)
    assert settings.run_dir.stat().st_mode & 0o777 == 0o700
