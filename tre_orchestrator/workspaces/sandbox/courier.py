"""Reads a folder that its owner may be changing at this moment, without ever being led out of it (A2).

The walk goes by directory descriptors; every name is opened by openat2 that follows no link and crosses no mount, and
what it is gets decided from the opened descriptor alone. One odd object refuses the whole folder, with every reason
found. The bytes that are hashed and kept are the bytes read here, once. Standard library only.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from tre_orchestrator.errors import NotFound, Refusal, Refused
from tre_orchestrator.workspaces.sandbox import kernel

RESOLVE = kernel.BENEATH | kernel.RESOLVE_NO_XDEV
CHUNK = 1 << 20
_REASONS = 20
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_SPARSE_FROM = 1 << 16
"""Smaller holes hide nothing; file systems leave them for their own reasons."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What one folder may hold. Bytes count as read, so a sparse or growing file cannot pass them."""

    files: int = 5000
    size: int = 1 << 30
    depth: int = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """One regular file of the folder."""

    path: str
    size: int
    chunks: Iterator[bytes]


def why_bad_name(name: str) -> str | None:
    """Why a file's name is refused, or None: it must be plain to people, shells and archives alike."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not valid UTF-8"
    if not name.isprintable():
        return "its name holds an invisible or control character, or a space that is none of the keyboard's"
    if name.startswith("-") or name != name.strip() or "\\" in name:
        return "its name starts with '-', begins or ends with a space, or holds a backslash"
    return None


def open_folder(outputs: int, folder: str) -> int:
    """The folder below the outputs descriptor, as a descriptor. `folder` is "a/b", or "" for all of the outputs.

    Raises `NotFound` when there is none, `Refused` when a part of the path is a link or badly named.
    """
    parts = [part for part in folder.split("/") if part]
    for part in parts:
        why = "'..' leads out of the outputs" if part in (".", "..") else why_bad_name(part)
        if why:
            raise Refused([Refusal("folder-name", f"The folder {folder!r} cannot be taken: {why}.")])
    try:
        return kernel.openat2(outputs, "/".join(parts) or ".", _FLAGS | os.O_DIRECTORY, RESOLVE)
    except FileNotFoundError:
        raise NotFound("no-folder", f"There is no folder {folder!r} in /outputs.") from None
    except OSError as error:
        sentence = f"The folder {folder!r} cannot be taken: {_why_unopened(error)}."
        raise Refused([Refusal("folder-link", sentence)]) from error


def read_folder(folder: int, owner: int, caps: Caps) -> Iterator[Entry]:
    """Every file below the folder's descriptor, in a fixed order. Raises `Refused`, before or while files are read.

    Read each entry's chunks before asking for the next one. What came before a `Refused` must be thrown away.
    """
    walk = _Walk(owner, caps, os.fstat(folder).st_dev)
    for _ in walk.files(folder, "", 0):
        pass
    if walk.refusals:
        raise Refused(walk.refusals)
    walk = _Walk(owner, caps, os.fstat(folder).st_dev)
    for path, descriptor, status in walk.files(folder, "", 0):
        yield Entry(path, status.st_size, walk.read(path, descriptor, status))
        if walk.refusals:
            raise Refused(walk.refusals)
    if walk.refusals:
        raise Refused(walk.refusals)


class _Walk:
    """One pass over the folder; collects reasons to refuse, up to a readable number."""

    def __init__(self, owner: int, caps: Caps, device: int) -> None:
        self.refusals: list[Refusal] = []
        self._owner = owner
        self._caps = caps
        self._device = device
        self._seen = 0
        self._bytes = 0
        self._read = 0

    def files(self, folder: int, prefix: str, depth: int) -> Iterator[tuple[str, int, os.stat_result]]:
        """Path, open descriptor and status of every acceptable file; the descriptor is closed afterwards."""
        for name in self._names(folder, prefix):
            path = prefix + name
            why = why_bad_name(name)
            if why:
                self._refuse("name", f"{path!r} was not taken: {why}.")
                continue
            try:
                descriptor = kernel.openat2(folder, name, _FLAGS, RESOLVE)
            except OSError as error:
                self._refuse("unopened", f"{path!r} was not taken: {_why_unopened(error)}.")
                continue
            try:
                status = os.fstat(descriptor)
                if stat.S_ISDIR(status.st_mode) and depth + 1 > self._caps.depth:
                    self._refuse("too-deep", f"{path!r} lies deeper than {self._caps.depth} folders.")
                elif stat.S_ISDIR(status.st_mode):
                    yield from self.files(descriptor, f"{path}/", depth + 1)
                elif self._accepts(path, descriptor, status):
                    yield path, descriptor, status
            finally:
                os.close(descriptor)
            if len(self.refusals) >= _REASONS:
                return

    def read(self, path: str, descriptor: int, status: os.stat_result) -> Iterator[bytes]:
        """The file's bytes; refuses when it is not afterwards what it was before."""
        count = 0
        while chunk := os.read(descriptor, CHUNK):
            count += len(chunk)
            self._read += len(chunk)
            if self._read > self._caps.size:
                self._refuse("too-big", f"The folder holds more than {self._caps.size >> 20} MiB.")
                raise Refused(self.refusals)
            yield chunk
        if count != status.st_size or _state(os.fstat(descriptor)) != _state(status):
            self._refuse("changed", f"{path!r} changed while it was read. Let the program that writes it finish.")
            raise Refused(self.refusals)

    def _names(self, folder: int, prefix: str) -> list[str]:
        """Sorted names, read one by one so that a million of them cost no more than the cap."""
        names: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                self._seen += 1
                if self._seen > self._caps.files:
                    self._refuse("too-many", f"The folder holds more than {self._caps.files} files and folders.")
                    break
                names.append(entry.name)
        return sorted(names)

    def _accepts(self, path: str, descriptor: int, status: os.stat_result) -> bool:
        self._bytes += status.st_size if stat.S_ISREG(status.st_mode) else 0
        if not stat.S_ISREG(status.st_mode):
            return self._refuse("special", f"{path!r} is not a file but a device, pipe or socket.")
        if status.st_dev != self._device:
            return self._refuse("other-disk", f"{path!r} lies on another disk.")
        if status.st_nlink != 1:
            return self._refuse("hard-link", f"{path!r} has {status.st_nlink} names (hard links). Copy it instead.")
        if status.st_uid != self._owner:
            return self._refuse("owner", f"{path!r} belongs to somebody else.")
        if self._bytes > self._caps.size:
            return self._refuse("too-big", f"With {path!r} the folder holds more than {self._caps.size >> 20} MiB.")
        if status.st_size > _SPARSE_FROM and os.lseek(descriptor, 0, os.SEEK_HOLE) < status.st_size:
            os.lseek(descriptor, 0, os.SEEK_SET)
            return self._refuse("sparse", f"{path!r} is sparse. Copy it with `cp --sparse=never`.")
        os.lseek(descriptor, 0, os.SEEK_SET)
        return True

    def _refuse(self, code: str, sentence: str) -> bool:
        once = code in ("too-many", "too-big") and any(refusal.code == code for refusal in self.refusals)
        if len(self.refusals) < _REASONS and not once:
            self.refusals.append(Refusal(code, sentence))
        return False


def _state(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_nlink)


def _why_unopened(error: OSError) -> str:
    reasons = {
        errno.ELOOP: "it is, or lies behind, a symbolic link",
        errno.EXDEV: "it leads out of the folder or onto another disk",
        errno.EACCES: "it cannot be read; `chmod u+rwX` it",
        errno.ENXIO: "it is a socket or a pipe",
        errno.ENOTDIR: "it is not a folder",
        errno.ENOENT: "it vanished",
        errno.EAGAIN: "it is being moved at this moment",
    }
    return reasons.get(error.errno or 0, error.strerror or "it cannot be opened")
