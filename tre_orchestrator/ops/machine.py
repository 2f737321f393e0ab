"""What has to be true of one machine before a TRE starts on it: each lack is a sentence with what to do next."""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import shutil
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tre_orchestrator.errors import Invalid, TreError, Unavailable
from tre_orchestrator.ops import privilege
from tre_orchestrator.settings import Settings

_NEEDED_BYTES = 1 << 30
_FOLDERS = ("keys", "log", "hub", "data", "workspaces", "shared", "store")


def refuse_public_demo(settings: Settings) -> None:
    """A demo hands out one-time links to anybody who reads the terminal: it listens on loopback only."""
    if settings.demo and not is_loopback(settings.listen_host):
        raise Invalid(
            "demo-address",
            f"--demo listens on loopback only, not on {settings.listen_host}: its people and links are for trying out. "
            "Leave --host away, or start without --demo.",
        )


def is_loopback(host: str) -> bool:
    """Whether `host` is an address of this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_without_room(folder: Path) -> None:
    """Refuse to start on a nearly full disk: a decision that cannot be written is a decision lost."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < _NEEDED_BYTES:
        raise Unavailable(
            "disk-full",
            f"Only {free >> 20} MiB are free below {existing}; the TRE needs at least {_NEEDED_BYTES >> 20} MiB. "
            "Free some space, or choose another folder with --state.",
        )


def refuse_taken_port(settings: Settings) -> None:
    """Refuse to start when the front door's port cannot be had."""
    family = socket.AF_INET6 if ":" in settings.listen_host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.listen_host, settings.listen_port))
        except OSError as error:
            where = f"{settings.listen_host}:{settings.listen_port}"
            if error.errno == errno.EADDRINUSE:
                raise Unavailable(
                    "port-taken", f"Another program listens on {where}. Stop it, or choose another port with --port."
                ) from error
            raise Unavailable(
                "port-refused", f"Cannot listen on {where}: {error.strerror}. Choose another with --host and --port."
            ) from error


def prepare(settings: Settings) -> None:
    """Make the state folder's parts, closed to others, owned by whoever will run the services."""
    owner = privilege.SERVICE_UID if privilege.is_root() else None
    if owner is not None:
        privilege.hand_over(settings.state_dir)
    elif settings.state_dir.exists() and settings.state_dir.stat().st_uid != os.geteuid():
        raise TreError(
            "foreign-state",
            f"The state folder {settings.state_dir} belongs to uid {settings.state_dir.stat().st_uid}. "
            "Start the TRE as that user (root, if it was root), or choose another folder with --state.",
        )
    else:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.state_dir.chmod(0o700)
    for folder in (*(settings.state_dir / name for name in _FOLDERS), settings.run_dir, settings.run_dir / "ws"):
        _make_own(folder, owner)


def _make_own(folder: Path, owner: int | None) -> None:
    """Make a folder, or take one that is ours already: below /tmp anybody may have put something else there first."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    ours = found.st_uid in (os.geteuid(), owner)
    if not stat.S_ISDIR(found.st_mode) or not ours or found.st_mode & 0o022:
        raise TreError(
            "foreign-folder",
            f"{folder} is not a folder that belongs to this TRE alone: it is a link, another user's, or writable by "
            "others. Look at who made it, remove it, and start again.",
        )
    if owner is not None:
        os.chown(folder, owner, owner, follow_symlinks=False)


@contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Hold the state folder's lock: two TREs on one folder would undo each other's work."""
    path = settings.run_dir / "up.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        sentence = f"{path} cannot be this TRE's lock ({error.strerror}). Look at who made it, remove it, start again."
        raise TreError("foreign-lock", sentence) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            running = os.read(descriptor, 32).decode() or "?"
            raise Unavailable(
                "already-up",
                f"A TRE already runs on {settings.state_dir} (process {running}) at {settings.people_origin}. "
                "Use `tre status`, `tre restart` or `tre down`.",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def running_process(settings: Settings) -> int | None:
    """The process id of the `tre up` that holds the state folder, or None."""
    path = settings.run_dir / "up.lock"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.read(descriptor, 32) or b"0") or None
    finally:
        os.close(descriptor)
    return None


def signal_running(settings: Settings, process: int, number: signal.Signals) -> None:
    """Signal the `tre up` that `running_process` found. Its number stands in a file that the services can write, so
    one that does not belong to the owner of the state folder is left alone; raises `TreError` then."""
    try:
        handle = os.pidfd_open(process)
        owner = Path(f"/proc/{process}").stat().st_uid
    except (ProcessLookupError, FileNotFoundError):
        return  # it has just ended
    try:
        if owner != settings.state_dir.stat().st_uid:
            raise TreError(
                "foreign-process",
                f"Process {process} belongs to uid {owner}, not to this TRE: it is still starting, or "
                f"{settings.run_dir / 'up.lock'} is wrong. Try again in a moment.",
            )
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)
