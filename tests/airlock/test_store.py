"""The encrypted store: what is put in comes out, and nothing else ever does."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tre_orchestrator.airlock.store import Store, Stored
from tre_orchestrator.errors import Unavailable

MIB = 1 << 20


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", b"m" * 32, b"n" * 32)


def blob(root: Path) -> Path:
    return next((root / "store" / "blobs").glob("??/*"))


@given(st.lists(st.binary(max_size=100), max_size=5), st.sampled_from([0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB]))
@settings(max_examples=30, deadline=None)
def test_what_is_put_in_comes_out(tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], padding: int) -> None:
    store = Store(tmp_path_factory.mktemp("s"), b"m" * 32, b"n" * 32)
    key = store.unwrap(1, store.new_key(1))
    given_ = [b"x" * padding, *chunks]
    stored = store.put(1, key, given_)
    assert b"".join(store.read(1, key, stored)) == b"".join(given_)
    assert stored.sha256 == hashlib.sha256(b"".join(given_)).hexdigest()


def test_nothing_readable_lies_on_the_disk(store: Store, tmp_path: Path) -> None:
    key = store.unwrap(1, store.new_key(1))
    secret = b"NHS 943 476 5919"
    stored = store.put(1, key, [secret * 1000])
    for path in (tmp_path / "store").rglob("*"):
        if path.is_file():
            assert secret not in path.read_bytes()
            assert path.stat().st_mode & 0o077 == 0
            assert stored.sha256 not in str(path)


def test_a_name_does_not_tell_that_two_requests_hold_the_same_file(store: Store) -> None:
    first, second = (store.put(n, store.unwrap(n, store.new_key(n)), [b"same"]) for n in (1, 2))
    assert first.sha256 == second.sha256
    assert first.name != second.name
    assert re.fullmatch(r"[0-9a-f]{64}", first.name)
    assert hashlib.sha256(b"same").hexdigest() != first.name


def test_the_same_file_of_one_request_is_kept_once(store: Store) -> None:
    key = store.unwrap(1, store.new_key(1))
    assert store.put(1, key, [b"same"]) == store.put(1, key, [b"sa", b"me"])
    assert len(list(store.names())) == 1


@pytest.mark.parametrize("place", [0, 10, 20, MIB + 40, -1])
def test_a_changed_byte_is_found(store: Store, tmp_path: Path, place: int) -> None:
    key = store.unwrap(1, store.new_key(1))
    stored = store.put(1, key, [os.urandom(2 * MIB + 5)])
    data = bytearray(blob(tmp_path).read_bytes())
    data[place] ^= 1
    blob(tmp_path).write_bytes(data)
    with pytest.raises(Unavailable):
        list(store.read(1, key, stored))


@pytest.mark.parametrize("keep", [0, 10, 16, 16 + MIB + 16, 16 + 2 * (MIB + 16)])
def test_a_cut_off_file_is_found(store: Store, tmp_path: Path, keep: int) -> None:
    key = store.unwrap(1, store.new_key(1))
    stored = store.put(1, key, [b"x" * (2 * MIB + 5)])
    blob(tmp_path).write_bytes(blob(tmp_path).read_bytes()[:keep])
    with pytest.raises(Unavailable):
        list(store.read(1, key, stored))


def test_swapped_chunks_are_found(store: Store, tmp_path: Path) -> None:
    key = store.unwrap(1, store.new_key(1))
    stored = store.put(1, key, [b"a" * MIB, b"b" * MIB, b"c"])
    data, size = blob(tmp_path).read_bytes(), MIB + 16
    first, second = data[16 : 16 + size], data[16 + size : 16 + 2 * size]
    blob(tmp_path).write_bytes(data[:16] + second + first + data[16 + 2 * size :])
    with pytest.raises(Unavailable):
        list(store.read(1, key, stored))


def test_another_blob_of_the_same_request_in_its_place_is_found(store: Store, tmp_path: Path) -> None:
    key = store.unwrap(1, store.new_key(1))
    good, bad = store.put(1, key, [b"good"]), store.put(1, key, [b"evil"])
    folder = tmp_path / "store" / "blobs"
    (folder / good.name[:2] / good.name).write_bytes((folder / bad.name[:2] / bad.name).read_bytes())
    with pytest.raises(Unavailable):
        list(store.read(1, key, good))


def test_a_key_opens_its_own_request_and_store_only(store: Store, tmp_path: Path) -> None:
    wrapped = store.new_key(1)
    with pytest.raises(Unavailable):
        store.unwrap(2, wrapped)
    with pytest.raises(Unavailable):
        Store(tmp_path / "other", b"x" * 32, b"n" * 32).unwrap(1, wrapped)
    with pytest.raises(Unavailable):
        store.unwrap(1, None)
    stored = store.put(1, store.unwrap(1, wrapped), [b"data"])
    with pytest.raises(Unavailable):
        list(store.read(1, store.unwrap(1, store.new_key(1)), stored))
    with pytest.raises(Unavailable):
        list(store.read(2, store.unwrap(1, wrapped), stored))


def test_a_missing_file_is_said_to_be_missing(store: Store) -> None:
    key = store.unwrap(1, store.new_key(1))
    with pytest.raises(Unavailable, match="missing"):
        list(store.read(1, key, Stored("0" * 64, 1, "0" * 64)))


def test_a_broken_copy_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    def breaks() -> object:
        yield b"x" * MIB * 2
        raise RuntimeError("the courier died")

    with pytest.raises(RuntimeError):
        store.put(1, store.unwrap(1, store.new_key(1)), breaks())  # type: ignore[arg-type]
    assert not list(store.names())
    assert not list((tmp_path / "store" / "tmp").iterdir())


KILLED = """
import os, sys
from pathlib import Path
from tre_orchestrator.airlock.store import Store
store = Store(Path(sys.argv[1]), b"m" * 32, b"n" * 32)
def slow():
    yield b"x" * (3 << 20)
    print("half", flush=True)
    sys.stdin.read()
store.put(1, store.unwrap(1, store.new_key(1)), slow())
"""


def test_A4_killed_while_copying_leaves_only_what_a_sweep_removes(tmp_path: Path) -> None:
    root = tmp_path / "store"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    store = Store(root, b"m" * 32, b"n" * 32)
    assert not list(store.names())
    assert len(list((root / "tmp").iterdir())) == 1
    assert store.sweep(frozenset(), time.time() - 3600) == 0
    assert store.sweep(frozenset(), time.time() + 1) == 1
    assert not list((root / "tmp").iterdir())


def test_a_sweep_keeps_what_a_row_names(store: Store) -> None:
    key = store.unwrap(1, store.new_key(1))
    kept, orphan = store.put(1, key, [b"kept"]), store.put(1, key, [b"orphan"])
    assert store.sweep(frozenset({kept.name}), time.time() + 1) == 1
    assert list(store.names()) == [kept.name]
    assert orphan.name != kept.name
