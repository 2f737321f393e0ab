from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.governance.build import LUNGS, World, codes, dataset
from tre_orchestrator.errors import NotFound, Refused
from tre_orchestrator.governance import datasets, readable
from tre_orchestrator.governance.datasets import add_version, scan, verify_version
from tre_orchestrator.governance.mountable import why_closed, why_touched
from tre_orchestrator.governance.tables import ManifestFileRow
from tre_orchestrator.ledger.append import software
from tre_orchestrator.ops import privilege

OPS = software("test")


def folder_of(world: World) -> Path:
    return world.settings.state_dir / "data" / "lungs" / "1.0"


def mountable(world: World) -> str | None:
    with world.db.read() as session:
        refusal = why_closed(session, world.settings, LUNGS, "1.0")
    refusal = refusal or why_touched(world.db, world.settings, LUNGS, "1.0")
    return refusal.sentence if refusal else None


def add(world: World) -> datasets.Manifest:
    return add_version(world.db, world.settings, LUNGS, "1.0", OPS, world.now)


def test_a_manifest_names_every_file_with_its_size_and_hash(world: World) -> None:
    (file,) = scan(world.settings, "data/lungs/1.0")
    assert (file.marks.path, file.marks.size) == ("a.csv", 4)
    assert file.sha256 == hashlib.sha256(b"n\n1\n").hexdigest()
    listed = b'[{"path":"a.csv","sha256":"%s","size":4}]' % file.sha256.encode()
    assert datasets.manifest_digest([file]) == hashlib.sha256(listed).hexdigest()
    assert mountable(world) is None


def test_hashing_tells_how_far_it_is(world: World) -> None:
    told: list[tuple[str, int]] = []
    (folder_of(world) / "b.bin").write_bytes(b"x" * 3_000_000)
    scan(world.settings, "data/lungs/1.0", lambda path, percent: told.append((path, percent)))
    assert told[0][0] == "a.csv"
    assert told[-1] == ("b.bin", 100)
    assert [percent for _, percent in told] == sorted(percent for _, percent in told)


def touch_content(folder: Path) -> None:
    (folder / "a.csv").write_text("n\n2\n")


def touch_content_and_put_the_time_back(folder: Path) -> None:
    before = (folder / "a.csv").stat()
    (folder / "a.csv").write_text("n\n2\n")
    os.utime(folder / "a.csv", ns=(before.st_atime_ns, before.st_mtime_ns))


def put_another_file_in_its_place(folder: Path) -> None:
    before = (folder / "a.csv").stat()
    other = folder / "other"
    other.write_text("n\n2\n")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(folder / "a.csv")


def add_a_file(folder: Path) -> None:
    (folder / "b.csv").write_text("")


def take_a_file_away(folder: Path) -> None:
    (folder / "a.csv").unlink()


def put_a_link_in_its_place(folder: Path) -> None:
    (folder / "a.csv").rename(folder.parent / "a.csv")
    (folder / "a.csv").symlink_to("../a.csv")


def give_it_a_second_name(folder: Path) -> None:
    (folder.parent / "second").hardlink_to(folder / "a.csv")


def open_it_for_writing_by_others(folder: Path) -> None:
    (folder / "a.csv").chmod(0o666)


def put_a_link_in_the_place_of_the_folder(folder: Path) -> None:
    folder.rename(folder.parent / "2.0")
    folder.symlink_to("2.0")


def add_a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def take_the_folder_away(folder: Path) -> None:
    folder.rename(folder.parent / "gone")


TOUCHES = [
    touch_content,
    touch_content_and_put_the_time_back,
    put_another_file_in_its_place,
    add_a_file,
    take_a_file_away,
    put_a_link_in_its_place,
    give_it_a_second_name,
    open_it_for_writing_by_others,
    put_a_link_in_the_place_of_the_folder,
    add_a_pipe,
    take_the_folder_away,
]


@pytest.mark.parametrize("touch", TOUCHES, ids=[touch.__name__ for touch in TOUCHES])
def test_d1_files_that_were_touched_since_they_were_hashed_are_not_mounted(
    world: World, touch: Callable[[Path], None]
) -> None:
    assert mountable(world) is None
    touch(folder_of(world))
    sentence = mountable(world)
    assert sentence is not None
    assert "'lungs' 1.0" in sentence


def test_touched_files_with_the_same_content_are_mounted_after_they_were_hashed_again(world: World) -> None:
    (folder_of(world) / "a.csv").touch()
    assert "tre dataset verify lungs 1.0" in (mountable(world) or "")
    assert verify_version(world.db, world.settings, LUNGS, "1.0", OPS, world.now).problems == ()
    assert mountable(world) is None


def test_verifying_names_every_file_that_differs_and_renews_nothing(world: World) -> None:
    touch_content(folder_of(world))
    add_a_file(folder_of(world))
    result = verify_version(world.db, world.settings, LUNGS, "1.0", OPS, world.now)
    assert result.problems == ("a.csv has other content than was hashed.", "b.csv is not in the manifest.")
    assert mountable(world) is not None


def test_d1_a_recorded_version_is_never_recorded_with_other_content(world: World) -> None:
    before = add(world)
    touch_content(folder_of(world))
    with pytest.raises(Refused) as caught:
        add(world)
    assert caught.value.code == "version-immutable"
    with world.db.read() as session:
        assert datasets.load_manifest(session, LUNGS, "1.0") == before
    assert world.decide().allowed, "the grant still names the recorded content"
    assert mountable(world) is not None, "and the touched files are not mounted"


def test_what_is_not_declared_cannot_be_added(world: World) -> None:
    with pytest.raises(NotFound):
        add_version(world.db, world.settings, LUNGS, "2.0", OPS, world.now)
    world.apply(dataset(**{"1.0": "data/lungs/1.0", "2.0": "data/lungs/2.0"}))
    with pytest.raises(Refused, match="There is no folder"):
        add_version(world.db, world.settings, LUNGS, "2.0", OPS, world.now)
    with world.db.read() as session, pytest.raises(NotFound):
        datasets.load_manifest(session, LUNGS, "2.0")


@pytest.mark.parametrize(
    "folder", ["/etc", "data", "data/../keys", "../elsewhere", "data/lungs/../../keys", "/", "keys"]
)
def test_a_folder_outside_the_data_roots_is_refused(world: World, folder: str) -> None:
    with pytest.raises(Refused) as caught:
        scan(world.settings, folder)
    assert caught.value.code == "outside-data-roots"


@pytest.mark.parametrize(
    ("touch", "code"),
    [
        (put_a_link_in_its_place, "dataset-link"),
        (give_it_a_second_name, "dataset-hard-link"),
        (add_a_pipe, "dataset-special"),
        (put_a_link_in_the_place_of_the_folder, "dataset-unreadable"),
        (take_a_file_away, "dataset-empty"),
        (lambda folder: (folder / "bad\nname").touch(), "dataset-name"),
        (lambda folder: (folder / os.fsdecode(b"bad\xff")).touch(), "dataset-name"),
    ],
)
def test_what_may_not_be_part_of_a_dataset_is_refused(world: World, touch: Callable[[Path], object], code: str) -> None:
    touch(folder_of(world))
    with pytest.raises(Refused) as caught:
        scan(world.settings, "data/lungs/1.0")
    assert caught.value.code == code


def test_a_socket_is_refused(world: World) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder_of(world) / "s"))
        with pytest.raises(Refused, match="device, pipe or socket"):
            scan(world.settings, "data/lungs/1.0")


def test_a_file_that_grows_while_it_is_hashed_is_refused(world: World) -> None:
    grown = threading.Event()
    big = folder_of(world) / "big.bin"
    big.write_bytes(b"x" * 3_000_000)

    def grow(path: str, _percent: int) -> None:
        if path == "big.bin" and not grown.is_set():
            with big.open("ab") as file:
                file.write(b"y")
            grown.set()

    with pytest.raises(Refused, match="changed while it was read"):
        scan(world.settings, "data/lungs/1.0", grow)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: workspaces then run under other accounts")
@pytest.mark.parametrize(("inside", "mode"), [("", 0o750), ("a.csv", 0o640), ("sub", 0o744)])
def test_files_that_workspaces_could_not_read_are_refused_with_the_command_that_mends_it(
    world: World, inside: str, mode: int
) -> None:
    (folder_of(world) / "sub").mkdir()
    (folder_of(world) / "sub").chmod(0o755)
    (folder_of(world) / inside).chmod(mode)
    with pytest.raises(Refused) as caught:
        scan(world.settings, "data/lungs/1.0")
    assert caught.value.code == "dataset-unreadable"
    assert f"`chmod -R o+rX {folder_of(world)}`" in caught.value.sentence


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the TRE's processes then run under another account")
def test_a_closed_folder_above_a_dataset_is_refused_with_its_name(world: World, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    closed = tmp_path / "closed"
    (closed / "v1").mkdir(parents=True)
    (closed / "v1" / "a").write_text("x")
    os.chown(closed, 12345, 12345)
    closed.chmod(0o700)
    settings = world.settings.model_copy(update={"data_roots": (tmp_path,)})
    with pytest.raises(Refused, match=f"chmod o\\+x {closed}"):
        scan(settings, str(closed / "v1"))
    closed.chmod(0o711)
    assert len(scan(settings, str(closed / "v1"))) == 1


def test_the_uid_of_the_processes_is_the_one_they_run_as() -> None:
    assert readable.SERVICE_UID == privilege.SERVICE_UID


def test_d1_a_decision_never_offers_data_outside_its_root(world: World) -> None:
    (mountable,) = world.decide().datasets
    assert mountable.folder == folder_of(world)
    assert codes(world.decide()) == []


def test_D1_a_version_that_did_not_verify_is_closed_until_it_does(world: World) -> None:
    """Other bytes under the same marks (a clock set back, a raw write to the disk) are found by hashing only."""
    file = world.settings.state_dir / "data/lungs/1.0/a.csv"
    file.write_text("n\n2\n")
    with world.db.write() as session:
        status = file.stat()
        session.execute(update(ManifestFileRow).values(mtime_ns=status.st_mtime_ns, ctime_ns=status.st_ctime_ns))
    assert mountable(world) is None
    assert verify_version(world.db, world.settings, LUNGS, "1.0", software("test"), world.now).problems
    assert "when they were last verified, on 23 November 2026" in str(mountable(world))
    assert why_touched(world.db, world.settings, LUNGS, "1.0") is None, "only the database knows"
    file.write_text("n\n1\n")
    assert not verify_version(world.db, world.settings, LUNGS, "1.0", software("test"), world.now).problems
    assert mountable(world) is None
