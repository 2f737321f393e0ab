"""The supervisor's log: one JSON object per line on standard error. Ids, numbers and reasons only (R3).

The supervisor outlives restarts, so it puts its own full log aside as `.1`. Its processes share one open file: it is
copied and emptied, not renamed, under a lock that each takes for a line, so that no line falls in between.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from tre_orchestrator.workspaces.sandbox import kernel

LOG_BYTES = 20 * 1024 * 1024
_TRIES, _PAUSE_SECONDS = 100, 0.002
_STDERR = 2


def told(error: BaseException) -> str:
    """What may be said of an error: the kernel's words or its type; its text may hold a file's name (R3)."""
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def note(event: str, **facts: object) -> None:
    """Write down what happened. A full disk must not end people's workspaces, so a line may be lost."""
    entry = {"timestamp": dt.datetime.now(dt.UTC).isoformat(), "level": "info", "event": f"supervisor.{event}", **facts}
    locked = _lock()
    try:
        with suppress(OSError):
            os.write(_STDERR, json.dumps(entry, default=str).encode() + b"\n")
    finally:
        if locked:
            with suppress(OSError):
                fcntl.lockf(_STDERR, fcntl.LOCK_UN)


def put_aside_when_full(state_dir: Path) -> bool:
    """Put the log aside as `.1` when it is full; whether it was. `state_dir` is what it must lie below: the folder of
    the log may belong to the services, who get nothing else written or emptied by this."""
    with suppress(OSError):
        found = os.fstat(_STDERR)
        if stat.S_ISREG(found.st_mode) and found.st_size >= LOG_BYTES and _lock():
            try:
                _copy_and_empty(state_dir)
                return True
            finally:
                fcntl.lockf(_STDERR, fcntl.LOCK_UN)
    return False


def _copy_and_empty(state_dir: Path) -> None:
    kept = f"{os.readlink(f'/proc/self/fd/{_STDERR}')}.1"
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    target = kernel.open_beneath(str(state_dir), kept, flags, 0o600)
    source = os.open(f"/proc/self/fd/{_STDERR}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.fstat(target)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise PermissionError(kept)
        os.ftruncate(target, 0)
        while chunk := os.read(source, 1 << 20):
            while chunk:
                chunk = chunk[os.write(target, chunk) :]
        os.ftruncate(_STDERR, 0)
    finally:
        os.close(target)
        os.close(source)  # ends the lock, which POSIX ties to any of the file's descriptors


def _lock() -> bool:
    """Take the log for a moment; not for ever: whoever can open the file could hold it and stop the supervisor."""
    for _ in range(_TRIES):
        try:
            fcntl.lockf(_STDERR, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_SECONDS)
        except OSError:
            return False  # no file that can be locked
        else:
            return True
    return False
