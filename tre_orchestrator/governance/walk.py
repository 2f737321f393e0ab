"""Walks a dataset's folder without ever following a link, so that what is hashed is what lies there.

Every folder and file is opened relative to its parent's descriptor with O_NOFOLLOW: a link that is put in place while
the walk runs is refused, not followed. Only folders and files with one name are accepted.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tre_orchestrator.catalogue.names import Sha256
from tre_orchestrator.errors import Refusal, Refused

DEPTH_MAX = 32
FILES_MAX = 1_000_000
_CHUNK = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Marks:
    """One file as the file system shows it: what must be unchanged for its hash to be believed. Times in ns."""

    path: str
    size: int
    inode: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class HashedFile:
    """One file's marks and the SHA-256 of its content."""

    marks: Marks
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class Found:
    """What a walk comes across: a folder or a file, by its path below the dataset's folder ('' is the folder)."""

    path: str
    status: os.stat_result
    parent: int
    name: str

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder."""
        return stat.S_ISDIR(self.status.st_mode)


@contextmanager
def opened_folder(root: Path, folder: Path) -> Iterator[int]:
    """A descriptor of `folder`, reached from `root` step by step without links. Raises `Refused`."""
    parts = folder.relative_to(root).parts
    descriptor = _open_folder(os.fspath(root), None, str(root))
    try:
        for index, part in enumerate(parts):
            deeper = _open_folder(part, descriptor, str(root.joinpath(*parts[: index + 1])))
            os.close(descriptor)
            descriptor = deeper
        yield descriptor
    finally:
        os.close(descriptor)


def walk(folder: int, shown: str) -> Iterator[Found]:
    """Every folder and file below the open `folder`, parents first, in byte order of names; `shown` is for messages.

    A `Found`'s `parent` descriptor is only valid until the next step. Raises `Refused` for links, devices, sockets,
    pipes, files with a second name, names that are not UTF-8 or hold control characters, and for what is too deep.
    """
    yield Found("", os.fstat(folder), folder, ".")
    for count, found in enumerate(_walk(folder, "", shown, 1)):
        if count == FILES_MAX:
            raise _refused("too-many-files", f"{shown} holds more than {FILES_MAX} entries.")
        yield found


def hash_file(found: Found, shown: str, told: Callable[[int], None]) -> HashedFile:
    """The file's hash and marks; `told` gets the number of bytes read so far. Refused if it changes meanwhile."""
    path = f"{shown}/{found.path}"
    try:
        handle = os.open(found.name, _FILE, dir_fd=found.parent)
    except OSError as error:
        raise _refused("dataset-unreadable", f"{path} cannot be read: {error.strerror}.") from error
    try:
        before = marks_of(found.path, os.fstat(handle))
        digest = hashlib.sha256()
        done = 0
        while chunk := os.read(handle, _CHUNK):
            digest.update(chunk)
            done += len(chunk)
            told(done)
        after = marks_of(found.path, os.fstat(handle))
    finally:
        os.close(handle)
    if before != after or done != after.size or after != marks_of(found.path, found.status):
        raise _refused("dataset-changing", f"{path} changed while it was read. Try again when nobody writes there.")
    return HashedFile(after, Sha256(digest.hexdigest()))


def marks_of(path: str, status: os.stat_result) -> Marks:
    """The marks of a file's status."""
    return Marks(path, status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


def why_not_plain(status: os.stat_result, path: str) -> Refusal | None:
    """Why this entry may not be part of a dataset, or None for a folder or a file with one name."""
    mode = status.st_mode
    if stat.S_ISLNK(mode):
        return Refusal("dataset-link", f"{path} is a link. Put the file itself there.")
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        return Refusal("dataset-special", f"{path} is a device, pipe or socket. Only files and folders may be there.")
    if stat.S_ISREG(mode) and status.st_nlink > 1:
        return Refusal("dataset-hard-link", f"{path} has {status.st_nlink} names (hard links). Make a copy of its own.")
    return None


def _walk(folder: int, below: str, shown: str, depth: int) -> Iterator[Found]:
    if depth > DEPTH_MAX:
        raise _refused("dataset-too-deep", f"{shown}/{below} is more than {DEPTH_MAX} folders deep.")
    for name in _names(folder, f"{shown}/{below}"):
        path = f"{below}/{name}" if below else name
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        refusal = why_not_plain(status, f"{shown}/{path}")
        if refusal:
            raise Refused([refusal])
        yield Found(path, status, folder, name)
        if stat.S_ISDIR(status.st_mode):
            deeper = _open_folder(name, folder, f"{shown}/{path}")
            try:
                yield from _walk(deeper, path, shown, depth + 1)
            finally:
                os.close(deeper)


def _names(folder: int, shown: str) -> Sequence[str]:
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise _refused("dataset-unreadable", f"{shown} cannot be listed: {error.strerror}.") from error
    for name in names:
        if not name.isprintable():  # also false for the surrogates that stand for bytes which are no UTF-8
            raise _refused("dataset-name", f"{shown} holds a name with unprintable characters: {name!r}. Rename it.")
    return sorted(names, key=os.fsencode)


def _open_folder(name: str, parent: int | None, shown: str) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        raise _refused("dataset-missing", f"There is no folder {shown}.") from None
    except OSError as error:
        reason = "it is a link or no folder" if error.errno in (20, 40) else error.strerror
        raise _refused("dataset-unreadable", f"{shown} cannot be opened: {reason}.") from error


def _refused(code: str, sentence: str) -> Refused:
    return Refused([Refusal(code, sentence)])
