"""Long builds are made once per definition: a folder under its final name is complete.

It is made beside its place and renamed, by one process at a time; the name is the hash of everything it is made from.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tre_orchestrator.errors import Unavailable
from tre_orchestrator.settings import load_settings

HERE = Path(__file__).resolve().parent


def cache_dir() -> Path:
    """Where programs and images are kept: `<cache>/cluster`, as settings and TRE_CACHE_DIR say."""
    return load_settings(Path("/nonexistent")).cache / "cluster"


def digest(files: Iterable[Path], *words: str) -> str:
    """A name for what is made from these files of this folder and these words."""
    total = hashlib.sha256()
    for file in sorted(files):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(HERE)} {os.access(file, os.X_OK)} {content}\n".encode())
    total.update("\0".join(words).encode())
    return total.hexdigest()[:16]


def made(target: Path, make: Callable[[Path], None]) -> bool:
    """Make `target` unless it is there: `make` fills a folder, which then gets the name. True if it was made."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with alone(target.with_name(f"{target.name}.lock")):
        if target.is_dir():
            return False
        partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o755)
        make(partial)
        os.sync()
        partial.rename(target)
    return True


def find(target: Path, what: str) -> Path:
    """The folder, or `Unavailable` saying how to make it."""
    if not target.is_dir():
        raise Unavailable("cluster-not-built", f"There is no {what} in {target}. Run `make cluster-build`.")
    return target


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Only one process at a time goes past here; the lock ends with the process."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
