"""A2: the courier takes nothing but regular files of the analyst's own folder, whatever happens meanwhile."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tre_orchestrator.errors import NotFound, Refused
from tre_orchestrator.workspaces.sandbox.courier import Caps, open_folder, read_folder, why_bad_name

SECRET = b"a secret of the host\n"
COPIES = 2000


def taken(outputs: Path, folder: str = "", caps: Caps | None = None, owner: int | None = None) -> dict[str, bytes]:
    """What the courier brings out of a folder."""
    top = os.open(outputs, os.O_RDONLY | os.O_DIRECTORY)
    try:
        found = open_folder(top, folder)
        try:
            wanted = os.getuid() if owner is None else owner
            return {entry.path: b"".join(entry.chunks) for entry in read_folder(found, wanted, caps or Caps())}
        finally:
            os.close(found)
    finally:
        os.close(top)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs"
    (folder / "figs" / "deep").mkdir(parents=True)
    (folder / "figs" / "a.csv").write_bytes(b"n\n12\n")
    (folder / "figs" / "deep" / "b.txt").write_bytes(b"text\n")
    (tmp_path / "secret").write_bytes(SECRET)
    return folder


def codes(refused: pytest.ExceptionInfo[Refused]) -> set[str]:
    return {refusal.code for refusal in refused.value.refusals}


def test_plain_files_are_taken_with_their_paths(outputs: Path) -> None:
    assert taken(outputs, "figs") == {"a.csv": b"n\n12\n", "deep/b.txt": b"text\n"}
    assert set(taken(outputs)) == {"figs/a.csv", "figs/deep/b.txt"}
    assert set(taken(outputs, "figs/deep/")) == {"b.txt"}


def test_a_missing_folder_is_not_found(outputs: Path) -> None:
    with pytest.raises(NotFound):
        taken(outputs, "figures")


@pytest.mark.parametrize("folder", ["..", "figs/../..", "./figs", "figs/.", "-rf", "fi\x00gs", "fi\ngs", "fi‮gs"])
def test_a_folder_is_named_plainly(outputs: Path, folder: str) -> None:
    if "\x00" in folder:
        with pytest.raises((Refused, ValueError)):
            taken(outputs, folder)
        return
    with pytest.raises(Refused):
        taken(outputs, folder)


def test_A2_links_are_refused(outputs: Path) -> None:
    (outputs / "figs" / "link.csv").symlink_to(outputs.parent / "secret")
    with pytest.raises(Refused) as refused:
        taken(outputs, "figs")
    assert codes(refused) == {"unopened"}
    assert "symbolic link" in refused.value.sentence


def test_A2_a_link_on_the_way_to_the_folder_is_refused(outputs: Path) -> None:
    (outputs / "elsewhere").symlink_to(outputs.parent)
    with pytest.raises(Refused):
        taken(outputs, "elsewhere")


def test_A2_magic_links_are_refused(outputs: Path) -> None:
    (outputs / "figs" / "root").symlink_to("/proc/self/root")
    with pytest.raises(Refused):
        taken(outputs, "figs/root/etc")


def test_A2_hard_links_are_refused(outputs: Path) -> None:
    os.link(outputs.parent / "secret", outputs / "figs" / "hard.csv")
    with pytest.raises(Refused) as refused:
        taken(outputs, "figs")
    assert codes(refused) == {"hard-link"}


def test_A2_special_files_are_refused(outputs: Path) -> None:
    os.mkfifo(outputs / "figs" / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(outputs / "figs" / "socket"))
        with pytest.raises(Refused) as refused:
            taken(outputs, "figs")
    assert codes(refused) == {"special", "unopened"}


def test_A2_devices_are_refused(outputs: Path) -> None:
    os.mknod(outputs / "figs" / "null", 0o20666, os.makedev(1, 3))
    with pytest.raises(Refused) as refused:
        taken(outputs, "figs")
    assert codes(refused) == {"special"}


def test_A2_sparse_files_are_refused(outputs: Path) -> None:
    with open(outputs / "figs" / "holes.bin", "wb") as file:
        file.seek(10_000_000)
        file.write(b"end")
    with pytest.raises(Refused) as refused:
        taken(outputs, "figs")
    assert codes(refused) == {"sparse"}


def test_A2_files_of_others_are_refused(outputs: Path) -> None:
    with pytest.raises(Refused) as refused:
        taken(outputs, "figs", owner=os.getuid() + 1)
    assert codes(refused) == {"owner"}


def test_A2_another_disk_inside_the_folder_is_refused(outputs: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    (outputs / "figs" / "mounted").mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"tmpfs", os.fsencode(outputs / "figs" / "mounted"), b"tmpfs", 0, b"size=64k") == 0
    try:
        with pytest.raises(Refused) as refused:
            taken(outputs, "figs")
        assert codes(refused) == {"unopened"}
    finally:
        libc.umount2(os.fsencode(outputs / "figs" / "mounted"), 2)


def test_caps_on_files_bytes_and_depth(outputs: Path) -> None:
    with pytest.raises(Refused) as refused:
        taken(outputs, "figs", Caps(files=2))
    assert codes(refused) == {"too-many"}
    with pytest.raises(Refused) as refused:
        taken(outputs, "figs", Caps(size=6))
    assert codes(refused) == {"too-big"}
    with pytest.raises(Refused) as refused:
        taken(outputs, "figs", Caps(depth=0))
    assert codes(refused) == {"too-deep"}


def test_every_reason_is_told_up_to_a_readable_number(outputs: Path) -> None:
    for number in range(50):
        (outputs / "figs" / f"link{number}").symlink_to("/etc/passwd")
    (outputs / "figs" / "-x").write_text("x")
    with pytest.raises(Refused) as refused:
        taken(outputs, "figs")
    assert len(refused.value.refusals) == 20


def test_an_unreadable_file_is_refused_with_what_to_do(outputs: Path) -> None:
    """As an ordinary owner, as the courier runs: root would read it."""
    (outputs / "figs" / "a.csv").chmod(0)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for folder in (outputs, *outputs.parents):
                if folder.is_relative_to(Path(tempfile.gettempdir()) / "pytest-of-root"):
                    folder.chmod(0o755)
            for path in (outputs / "figs", *(outputs / "figs").rglob("*")):
                os.chown(path, 12345, 12345)
            os.setresuid(12345, 12345, 12345)
            taken(outputs, "figs")
        except Refused as refused:
            code = 0 if "chmod u+rwX" in refused.sentence else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@given(st.text(min_size=1, max_size=20))
@example("0\u1680")
def test_accepted_names_are_plain(name: str) -> None:
    if why_bad_name(name) is None:
        assert name.isprintable()
        assert "\\" not in name
        assert not name.startswith("-")
        assert name.encode("utf-8").decode("utf-8") == name


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "‮gnp.exe", "﻿x", "-rf", " x", "x ", "a\\b", "\udc80", "zero​width"])
def test_bad_names_are_told(name: str) -> None:
    assert why_bad_name(name)


@pytest.mark.parametrize("name", ["a.csv", "Größe.csv", "表.csv", "model (1).json", ".hidden", "a-b_c.d"])
def test_good_names_pass(name: str) -> None:
    assert why_bad_name(name) is None


@pytest.fixture
def attacker(outputs: Path) -> Iterator[Path]:
    """A process that exchanges a file and a folder with links to the secret as fast as it can (renameat2 EXCHANGE)."""
    folder = outputs / "race"
    (folder / "sub").mkdir(parents=True)
    (folder / "file.csv").write_bytes(b"honest\n")
    (folder / "sub" / "secret").write_bytes(b"honest\n")
    (outputs / "link").symlink_to(outputs.parent / "secret")
    (outputs / "folderlink").symlink_to(outputs.parent)
    child = os.fork()
    if child == 0:
        libc = ctypes.CDLL(None)
        pairs = [
            (os.fsencode(folder / "file.csv"), os.fsencode(outputs / "link")),
            (os.fsencode(folder / "sub"), os.fsencode(outputs / "folderlink")),
        ]
        while True:
            for one, other in pairs:
                libc.renameat2(-100, one, -100, other, 2)
    yield outputs
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_A2_no_copy_of_2000_smuggles_a_secret_through_a_race(attacker: Path) -> None:
    whole = refused = 0
    for _ in range(COPIES):
        try:
            found = taken(attacker, "race")
        except Refused:
            refused += 1
            continue
        whole += 1
        assert SECRET not in found.values()
        assert set(found.values()) <= {b"honest\n"}
    print(f"{COPIES} copies: {whole} whole, {refused} refused, 0 smuggled")
    assert refused > 0, "the attacker never hit: this run proves nothing"
    assert whole > 0, "nothing came out: a courier that refuses everything proves nothing"


def test_A2_the_race_would_smuggle_without_the_walk(attacker: Path) -> None:
    """The control: reading by path, as a naive copy does, is led to the secret."""
    smuggled = 0
    for _ in range(COPIES):
        try:
            smuggled += (attacker / "race" / "file.csv").read_bytes() == SECRET
        except FileNotFoundError:
            continue
    assert smuggled > 0
