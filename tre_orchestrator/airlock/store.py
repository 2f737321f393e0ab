"""The airlock's bytes at rest: encrypted, content-addressed, named by HMAC.

Each request has its own key, wrapped by the master key; a file is a chain of AES-256-GCM chunks whose last one is
marked, so that no chunk can be changed, moved, repeated or cut off unseen. A name is HMAC(name key, request ‖ SHA-256):
it tells nobody who else holds the same file. A blob appears under its name only when complete and on disk; what a crash
leaves is a file in `tmp/` or a blob that no row names, and `sweep` removes both.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NewType

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tre_orchestrator.errors import Unavailable
from tre_orchestrator.governance.secrets import STORE, STORE_NAMES, required_secret, secret
from tre_orchestrator.settings import Settings

ContentKey = NewType("ContentKey", bytes)

_BLOBS = "blobs"
_MAGIC = b"TREBLOB1"
_CHUNK = 1 << 20
_TAG = 16
_PREFIX = 8
_NONCE = 12
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob: its name in the store, and the size and SHA-256 of what it holds."""

    name: str
    size: int
    sha256: str


class Store:
    """One folder of encrypted blobs. Its keys come from the state folder; nothing in it is readable without them."""

    def __init__(self, root: Path, master_key: bytes, name_key: bytes) -> None:
        self._blobs = root / _BLOBS
        self._tmp = root / "tmp"
        self._master = AESGCM(master_key)
        self._name_key = name_key
        for folder in (root, self._blobs, self._tmp):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def new_key(self, request_id: int) -> bytes:
        """A fresh content key for the request, wrapped by the master key."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._master.encrypt(nonce, AESGCM.generate_key(256), _scope(request_id))

    def unwrap(self, request_id: int, wrapped: bytes | None) -> ContentKey:
        """The request's content key; raises `Unavailable` when it is missing or was not wrapped by this store."""
        if wrapped is None:
            raise Unavailable("no-content-key", "The key of this request's files is gone, so they cannot be read.")
        try:
            return ContentKey(self._master.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], _scope(request_id)))
        except (InvalidTag, ValueError) as error:
            raise Unavailable(
                "wrong-content-key",
                "The key of this request's files cannot be opened: keys/airlock-master is another one now.",
            ) from error

    def put(self, request_id: int, key: ContentKey, chunks: Iterable[bytes]) -> Stored:
        """Encrypt and keep what `chunks` gives. It is on disk, complete, when this returns."""
        draft = self._tmp / secrets.token_hex(16)
        digest, size = hashlib.sha256(), 0
        try:
            with os.fdopen(os.open(draft, _NEW, 0o600), "wb") as out:
                sealer = _Sealer(key, request_id)
                out.write(sealer.header)
                for chunk in _even(chunks):
                    digest.update(chunk.data)
                    size += len(chunk.data)
                    out.write(sealer.seal(chunk))
                out.flush()
                os.fsync(out.fileno())
            stored = Stored(self._name(request_id, digest.hexdigest()), size, digest.hexdigest())
            self._publish(draft, stored.name)
        finally:
            draft.unlink(missing_ok=True)
        return stored

    def read(self, request_id: int, key: ContentKey, stored: Stored) -> Iterator[bytes]:
        """The content of a blob, chunk by chunk, after all of it was read once.

        Raises `Unavailable` at once, before a byte is given, unless size and SHA-256 are those of `stored` (A1): the
        cipher alone would let one file of a request stand in for another one.
        """
        handle = self._opened(stored.name)
        try:
            digest, size = hashlib.sha256(), 0
            for chunk in _content(handle, request_id, key):
                digest.update(chunk)
                size += len(chunk)
            if (size, digest.hexdigest()) != (stored.size, stored.sha256):
                raise _damaged("does not hold the bytes that were stored")
            handle.seek(0)
        except BaseException:
            handle.close()
            raise
        return _content_and_close(handle, request_id, key)

    def names(self) -> Iterator[str]:
        """The name of every blob."""
        return (path.name for path in self._blobs.glob("??/*"))

    def sweep(self, known: frozenset[str], before: float) -> int:
        """Remove drafts and blobs last written before this moment (seconds since 1970) that no row knows; how many."""
        orphans = [path for path in self._blobs.glob("??/*") if path.name not in known]
        removed = 0
        for path in (*self._tmp.iterdir(), *orphans):
            with suppress(FileNotFoundError):  # another sweeper was first
                if path.stat().st_mtime < before:
                    path.unlink()
                    removed += 1
        return removed

    def _name(self, request_id: int, sha256: str) -> str:
        return hmac.new(self._name_key, _scope(request_id) + sha256.encode(), hashlib.sha256).hexdigest()

    def _opened(self, name: str) -> BinaryIO:
        try:
            return self._path(name).open("rb")
        except FileNotFoundError as error:
            raise _damaged("is missing from the store") from error

    def _path(self, name: str) -> Path:
        return self._blobs / name[:2] / name

    def _publish(self, draft: Path, name: str) -> None:
        path = self._path(name)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        draft.replace(path)
        for folder in (path.parent, self._blobs):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _content(handle: BinaryIO, request_id: int, key: ContentKey) -> Iterator[bytes]:
    """What an open blob holds; raises `Unavailable` before giving anything that is not authentic."""
    sealer = _Sealer(key, request_id, handle.read(len(_MAGIC) + _PREFIX))
    last = False
    block = handle.read(_CHUNK + _TAG)
    while not last:
        following = handle.read(_CHUNK + _TAG)
        last = not following
        yield sealer.open(block, last)
        block = following


def _content_and_close(handle: BinaryIO, request_id: int, key: ContentKey) -> Iterator[bytes]:
    with handle:
        yield from _content(handle, request_id, key)


def make_store(settings: Settings) -> None:
    """Make the store and its two keys where there are none. Raises `Unavailable` when files are there without a key."""
    holds_files = any((settings.store_dir / _BLOBS).glob("??/*"))
    for name in (STORE, STORE_NAMES):
        if holds_files and not (settings.keys_dir / name).exists():
            raise Unavailable(
                "store-key-missing",
                f"{settings.keys_dir / name} is missing, and without it no file of a request can be read. Nothing was "
                "started. Restore it from your backup of the keys, then start again.",
            )
        secret(settings.keys_dir, name)


def open_store(settings: Settings) -> Store:
    """The TRE's store; raises `Unavailable` when one of its keys is missing."""
    master, names = (required_secret(settings.keys_dir, name) for name in (STORE, STORE_NAMES))
    return Store(settings.store_dir, master, names)


@dataclass(frozen=True, slots=True)
class _Chunk:
    data: bytes
    last: bool


class _Sealer:
    """One blob's cipher: the nonce is a random prefix and the chunk's number, the last chunk is marked in what is
    authenticated beside it (the STREAM construction, Hoang et al. 2015).
    """

    def __init__(self, key: ContentKey, request_id: int, header: bytes | None = None) -> None:
        self.header = header if header is not None else _MAGIC + secrets.token_bytes(_PREFIX)
        if len(self.header) != len(_MAGIC) + _PREFIX or not self.header.startswith(_MAGIC):
            raise _damaged("is not one of this store's")
        self._cipher = AESGCM(key)
        self._scope = _scope(request_id)
        self._number = 0

    def seal(self, chunk: _Chunk) -> bytes:
        """The chunk, encrypted."""
        return self._cipher.encrypt(self._nonce(), chunk.data, self._beside(chunk.last))

    def open(self, block: bytes, last: bool) -> bytes:
        """The chunk's content; raises `Unavailable` when it is not authentic in this place."""
        try:
            return self._cipher.decrypt(self._nonce(), block, self._beside(last))
        except (InvalidTag, ValueError) as error:
            raise _damaged("was changed in the store") from error

    def _nonce(self) -> bytes:
        self._number += 1
        return self.header[len(_MAGIC) :] + self._number.to_bytes(_NONCE - _PREFIX, "big")

    def _beside(self, last: bool) -> bytes:
        return self._scope + (b"last" if last else b"more")


def _even(chunks: Iterable[bytes]) -> Iterator[_Chunk]:
    """The same bytes in chunks of one size; only the last may be shorter, and there always is a last one."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) > _CHUNK:
            yield _Chunk(bytes(held[:_CHUNK]), last=False)
            del held[:_CHUNK]
    yield _Chunk(bytes(held), last=True)


def _scope(request_id: int) -> bytes:
    return f"request/{request_id}/".encode()


def _damaged(what: str) -> Unavailable:
    return Unavailable("store-damaged", f"A stored file {what}. Restore the store from its backup, or submit again.")
