"""The locked environment that every workspace sees at /opt/env: built once per lock, checked, then shared.

A folder under its final name is complete: it is made beside it, verified, and renamed. Every package comes by hash
from the lock. Other accounts can read it, nobody but its owner can change it, and it needs nothing but /usr.
"""

from __future__ import annotations

import base64
import csv
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tre_orchestrator.errors import Unavailable
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces.backend import Progress, silent
from tre_orchestrator.workspaces.plan import ENVIRONMENT

SYSTEM_PYTHON = Path("/usr/bin/python3")
IMPORTED = "ctypes duckdb ipykernel jupyterlab matplotlib numpy pandas polars pyarrow scipy sqlite3 ssl statsmodels"
"""What is imported once to see that the environment works."""

_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


def image_dir() -> Path:
    """The definition of the environment: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "workspace_images" / "python"
    return installed if installed.is_dir() else package.parent / "workspace_images" / "python"


def inside_dir() -> Path:
    """The read-only layer that workspaces see at /opt/tre."""
    return image_dir() / "inside"


def lock_file() -> Path:
    """The pins: every package with its version and hashes."""
    return image_dir() / "requirements.lock"


def environment_dir(settings: Settings) -> Path:
    """Where the environment is, or will be built: named after its lock."""
    if settings.environment_dir:
        return settings.environment_dir
    return settings.cache / "env" / hashlib.sha256(lock_file().read_bytes()).hexdigest()[:16]


def find_environment(settings: Settings) -> Path:
    """The environment to start workspaces with; raises `Unavailable` when it is not there."""
    folder = environment_dir(settings)
    if not (folder / "bin" / "python").exists() or not (folder / "share/jupyter/lab/static/index.html").exists():
        raise Unavailable("environment-missing", f"There is no workspace environment in {folder}. Run `tre env build`.")
    return folder


def build(settings: Settings, progress: Progress = silent) -> Path:
    """Build the environment unless it is there and whole; returns its folder.

    Raises `Unavailable` with the installer's last words, when the network or the disk is missing for instance.
    """
    target = environment_dir(settings)
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _alone(target.with_name(f"{target.name}.lock")):
        if target.is_dir():
            progress("Checking the environment that is there", 5)
            if why_not_whole(target) is None:
                progress("The environment is there", 100)
                return target
        if settings.environment_dir:
            raise Unavailable(
                "environment-broken",
                f"{target} is not what the lock says, and settings say to use it as it is. Repair it, or remove "
                "'environment_dir' from the settings.",
            )
        partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        _install(partial, progress)
        progress("Checking every file", 90)
        reason = why_not_whole(partial)
        if reason:
            raise Unavailable("environment-broken", f"The environment was built but is not whole: {reason}.")
        _put_in_place(partial, target)
    progress("The environment is ready", 100)
    return target


def why_not_whole(folder: Path) -> str | None:
    """What is wrong with a built environment, in words, or None: pins, the hash of every file, and that it imports."""
    if not (folder / "bin" / "python").exists():
        return "it has no Python"
    with ThreadPoolExecutor(1) as beside:
        importing = beside.submit(_why_not_importable, folder)
        return _why_not_as_locked(folder) or importing.result()


def pins() -> list[tuple[str, str]]:
    """Name and version of every package in the lock."""
    return _PINNED.findall(lock_file().read_text(encoding="utf-8"))


def _why_not_as_locked(folder: Path) -> str | None:
    found = {_normal(path.name.split("-")[0]): path for path in _site(folder).glob("*.dist-info")}
    for name, version in pins():
        record = found.get(_normal(name))
        if record is None or record.name.removesuffix(".dist-info").rpartition("-")[2] != version:
            return f"{name} {version} is missing"
        changed = _changed_file(record / "RECORD")
        if changed:
            return f"{changed} is not the file that {name} {version} installed"
    extra = sorted(set(found) - {_normal(name) for name, _ in pins()})
    if extra:
        return f"{extra[0]} is installed but not in the lock"
    for script in _scripts(folder):
        if str(folder) in script.read_text(encoding="utf-8").partition("\n")[0]:
            return f"{script.name} names the folder it was built in"
    return None


def _why_not_importable(folder: Path) -> str | None:
    probe = [str(folder / "bin" / "python"), "-I", "-B", "-c", f"import {IMPORTED.replace(' ', ', ')}"]
    done = subprocess.run(probe, capture_output=True, text=True, env={"MPLCONFIGDIR": "/dev/null"}, check=False)
    return f"it does not import ({_last_line(done.stderr)})" if done.returncode else None


def _install(folder: Path, progress: Progress) -> None:
    uv = _uv()
    progress("Making a virtual environment", 2)
    _run([str(SYSTEM_PYTHON), "-m", "venv", *(["--without-pip"] if uv else []), str(folder)], "make the environment")
    python = str(folder / "bin" / "python")
    asked = ["--require-hashes", "-r", str(lock_file())]
    if uv:
        command = [uv, "pip", "install", "-q", "--python", python, "--link-mode", "copy", "--compile-bytecode", *asked]
    else:
        command = [python, "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check", *asked]
    with _counting(folder, progress):
        _run(command, "install the locked packages")
    if not uv:
        _run([python, "-m", "pip", "uninstall", "-q", "-y", "setuptools", "pip"], "remove the installer")
    for script in _scripts(folder):
        first, _, rest = script.read_text(encoding="utf-8").partition("\n")
        if str(folder) in first:
            script.write_text(f"#!{ENVIRONMENT}/bin/python\n{rest}", encoding="utf-8")


def _uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


def _run(command: list[str], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, umask=0o022, check=False)
    except OSError as error:
        raise Unavailable(
            "environment-build", f"{command[0]} cannot be started to {what}: {error.strerror}."
        ) from error
    if done.returncode:
        words = _last_line(done.stderr) or f"exit code {done.returncode}"
        raise Unavailable(
            "environment-build",
            f"Could not {what}: {words}. The half-built folder is removed at the next try; check the network and the "
            "free space, then run `tre env build` again.",
        )


@contextmanager
def _counting(folder: Path, progress: Progress) -> Iterator[None]:
    """Report how many of the packages are installed while the installer works."""
    total, done = len(pins()), threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            count = sum(1 for _ in _site(folder).glob("*.dist-info"))
            words = f"Installing packages ({count} of {total})" if count else f"Fetching {total} packages"
            progress(words, 5 + 80 * min(count, total) // total)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Only one process builds this environment at a time."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _put_in_place(partial: Path, target: Path) -> None:
    """Swap the finished folder in; workspaces that run keep the files they have open."""
    old = target.with_name(f"{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    os.sync()
    partial.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _site(folder: Path) -> Path:
    return next(iter(folder.glob("lib/python3.*/site-packages")), folder / "lib")


def _scripts(folder: Path) -> list[Path]:
    """The text files of bin/ that start with an interpreter's line."""
    files = (path for path in (folder / "bin").iterdir() if path.is_file() and not path.is_symlink())
    return [path for path in files if _starts_with_hashbang(path)]


def _starts_with_hashbang(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def _changed_file(record: Path) -> str | None:
    """The first file whose SHA-256 is not the recorded one. Source: PEP 376, PEP 427 (RECORD)."""
    root = record.parent.parent
    try:
        lines = list(csv.reader(record.read_text(encoding="utf-8").splitlines()))
    except FileNotFoundError:
        return str(record)
    for name, digest, _ in lines:
        is_script = name.startswith("../../../bin/")  # their first line was rewritten
        if is_script or not digest.startswith("sha256="):
            continue
        try:
            with (root / name).open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").digest()
        except OSError:
            return name
        if base64.urlsafe_b64encode(actual).rstrip(b"=").decode() != digest.removeprefix("sha256="):
            return name
    return None


def _normal(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
