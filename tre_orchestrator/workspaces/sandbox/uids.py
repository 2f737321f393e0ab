"""One host uid per workspace and one gid per project, given out once and never again (root mode).

A uid that is never reused leaves nothing behind that a later workspace could own. Numbers start at 2,000,000,000: from
200,000 up they would lie inside the ranges that `useradd` hands out for user namespaces. The book of numbers is
machine-wide and root's own, because two TREs on one machine share its uids. Standard library only.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tre_orchestrator.errors import Unavailable

FIRST = 2_000_000_000
LAST = 4_294_000_000
"""Below the kernel's (uid_t)-1 and -2 with room to spare."""

_MARKER = "numbers.begun"
_SUBORDINATE_FILES = (Path("/etc/subuid"), Path("/etc/subgid"))


class NumberBook:
    """The numbers given out so far, in `folder`/numbers.json; every reading and giving is under a file lock.

    A book that is missing though there was one is never begun anew: `numbers.begun` stays as the sign of it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def number(self, owner: str) -> int:
        """The number of this owner ("<state folder>:workspace/<id>"), the same at every call."""
        with self._locked():
            book = self._read()
            if owner not in book:
                book[owner] = first_free(max(book.values(), default=FIRST - 1) + 1, subordinate_ranges())
                self._write(book)
            return book[owner]

    def known(self) -> Mapping[str, int]:
        """Every owner and its number."""
        with self._locked():
            return self._read()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = self._folder.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise Unavailable(
                "uid-store",
                f"{self._folder} must belong to uid {os.geteuid()} and be writable by nobody else. Correct it.",
            )
        descriptor = os.open(self._folder / "numbers.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> dict[str, int]:
        try:
            text = (self._folder / "numbers.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            self._refuse_if_lost()
            return {}
        try:
            book = json.loads(text)
            if not isinstance(book, dict) or len(set(book.values())) != len(book):
                raise ValueError("a number stands twice")
            numbers = {str(owner): int(number) for owner, number in book.items()}
        except (ValueError, TypeError) as error:
            raise Unavailable(
                "uid-store",
                f"The book of workspace uids {self._folder / 'numbers.json'} cannot be read ({error}). Restore it from "
                "a backup: guessing would give one workspace's uid to another one.",
            ) from error
        if not (self._folder / _MARKER).exists():
            self._mark()
        return numbers

    def _write(self, book: Mapping[str, int]) -> None:
        path = self._folder / "numbers.new"
        with open(path, "w", encoding="utf-8", opener=_private) as file:
            json.dump(book, file, indent=0, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        path.replace(self._folder / "numbers.json")
        self._mark()

    def _refuse_if_lost(self) -> None:
        if (self._folder / _MARKER).exists():
            raise Unavailable(
                "uid-store",
                f"The book of workspace uids {self._folder / 'numbers.json'} is gone, and {_MARKER} beside it says "
                "that there was one. Restore it from a backup: a new one would give a workspace the uid of another.",
            )

    def _mark(self) -> None:
        """Leave a sign that there is a book, for the day on which it is missing."""
        os.close(os.open(self._folder / _MARKER, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def first_free(candidate: int, ranges: list[range]) -> int:
    """The first number from `candidate` up that no subordinate range holds. Raises `Unavailable` at the end."""
    for taken in sorted(ranges, key=lambda numbers: numbers.start):
        if candidate in taken:
            candidate = taken.stop
    if candidate > LAST:
        raise Unavailable("uids-used-up", "No uid is left for a new workspace on this machine.")
    return candidate


def subordinate_ranges(files: tuple[Path, ...] = _SUBORDINATE_FILES) -> list[range]:
    """The ranges that subuid(5) and subgid(5) hand out; lines that are none are passed over, as shadow does."""
    ranges = []
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            continue
        for line in lines:
            parts = line.strip().split(":")
            if len(parts) == 3 and parts[1].isdecimal() and parts[2].isdecimal():
                ranges.append(range(int(parts[1]), int(parts[1]) + int(parts[2])))
    return ranges


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
