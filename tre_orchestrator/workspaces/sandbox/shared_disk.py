"""A hard cap on a project's shared folder: an ext4 image that all workspaces of the project see at once (N4).

An image may be mounted once only, so one process mounts it, in a mount namespace of its own, and sleeps. Each launcher
of the project enters that namespace before it makes its own: what it then stages is the same mount. The kernel
unmounts the image after the last of them is gone, however they end. Standard library only.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tre_orchestrator.errors import TreError, Unavailable
from tre_orchestrator.workspaces.plan import Roots
from tre_orchestrator.workspaces.sandbox import disk, kernel, wire
from tre_orchestrator.workspaces.sandbox.journal import told
from tre_orchestrator.workspaces.sandbox.staging import Owners, state_of

PLACE = Path("/run/tre-orchestrator/shared")
DISKS = ".disks"
"""Beside the projects' plain folders; no project's name begins with a dot."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_WAIT_MILLISECONDS = 60_000


@dataclass(frozen=True, slots=True, eq=False)
class SharedDisk:
    """The process that has a project's image mounted. `ready` holds its one message, which launchers only look at."""

    project: str
    pid: int
    pidfd: int
    ready: socket.socket

    def end(self) -> None:
        """Let go of the image; call when no workspace of the project is left."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self) -> None:
        """The process has ended: reap it."""
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.ready.close()

    def join(self) -> None:
        """Enter the namespace in which the image is mounted at `PLACE`, once it is. Raises what went wrong there."""
        waiting = select.poll()
        waiting.register(self.ready, select.POLLIN)
        if not waiting.poll(_WAIT_MILLISECONDS):
            raise Unavailable("shared-disk", "The project's shared disk was not mounted in time. Try again.")
        data = self.ready.recv(4096, socket.MSG_PEEK)
        said = json.loads(data or b"{}")
        if "error" in said:
            raise wire.error_from(said["error"])
        try:
            kernel.join_mounts(self.pidfd)
        except ProcessLookupError as error:
            raise Unavailable("shared-disk", "The project's shared disk has just gone. Try again.") from error


def uses_shared_disk(roots: Roots, project: str, *, can_mount: bool, runs_without: bool) -> bool:
    """Whether the project's shared folder is on an image: it has one, or nothing was ever written to its plain folder.

    `runs_without`: a workspace of the project has the plain folder now. Raises `Unavailable` when there is an image
    that cannot be mounted: nobody must see an empty folder instead.
    """
    with _opened(roots, f"{DISKS}/{project}") as images:
        if images is not None and disk.has_image(images):
            if can_mount:
                return True
            raise Unavailable(
                "disk-not-mounted",
                "The project's shared files lie on a disk image, and this machine mounts none at the moment. They are "
                "safe. Ask the people who run this TRE to look at `tre doctor` and restart it.",
            )
    if not can_mount or runs_without:
        return False
    with _opened(roots, project) as plain:
        if plain is None:
            raise Unavailable("source-missing", "The project's shared folder is missing. Nothing was started.")
        return not os.listdir(plain)


def mount_shared(roots: Roots, project: str, mib: int, owners: Owners) -> SharedDisk:
    """Start the process that mounts the project's image, made or grown to `mib` MiB, and keeps it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _keep(roots, project, mib, owners, theirs, parent)
    theirs.close()
    return SharedDisk(project, child, os.pidfd_open(child), ours)


def open_shared_disk() -> int:
    """The shared folder on the image, as a descriptor; after `SharedDisk.join`."""
    return os.open(PLACE / "shared", _FOLDER | os.O_CLOEXEC)


def forget_image(roots: Roots, project: str) -> None:
    """Delete the project's image; nothing of the project runs."""
    with _opened(roots, f"{DISKS}/{project}") as images:
        if images is not None:
            with suppress(FileNotFoundError):
                os.unlink(disk.IMAGE, dir_fd=images)
            os.fsync(images)


def _keep(roots: Roots, project: str, mib: int, owners: Owners, report: socket.socket, parent: int) -> NoReturn:
    try:
        kernel.die_with_parent(signal.SIGKILL, parent)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # its workspaces end first, then it is killed
            signal.signal(number, signal.SIG_IGN)
        kernel.close_all_but(report.fileno())
        _mount(roots, project, mib, owners)
        report.send(json.dumps({"ok": True}).encode())
        while True:
            signal.pause()
    except TreError as error:
        report.send(json.dumps(wire.error_message(error)).encode())
    except Exception as error:  # noqa: BLE001  # a child of the supervisor must end here, with a reason
        sentence = f"The project's shared disk could not be mounted: {told(error)}."
        report.send(json.dumps(wire.error_message(Unavailable("shared-disk", sentence))).encode())
    finally:
        os._exit(1)


def _mount(roots: Roots, project: str, mib: int, owners: Owners) -> None:
    PLACE.mkdir(parents=True, exist_ok=True)
    for folder in (PLACE.parent, PLACE):  # whatever the umask is
        folder.chmod(0o755)
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    image = _make_folder(roots, project)
    if not disk.has_image(image):
        disk.make_image(image, mib)
    disk.mount_image(image, str(PLACE), mib)
    (PLACE / "shared").mkdir(exist_ok=True)
    inside = open_shared_disk()
    os.fchown(inside, owners.service, owners.project)
    os.fchmod(inside, 0o2770)
    os.close(inside)
    os.close(image)


def _make_folder(roots: Roots, project: str) -> int:
    """The folder for the project's image, root's own, as a descriptor."""
    folder = _open_shared(roots)
    for name in (DISKS, project):
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=folder)
        inner = kernel.openat2(folder, name, _FOLDER, kernel.BENEATH)
        os.close(folder)
        folder = inner
    return folder


@contextmanager
def _opened(roots: Roots, path: str) -> Iterator[int | None]:
    """The folder at `path` below the shared folders, as a descriptor; None when it is not there."""
    shared = _open_shared(roots)
    folder = None
    try:
        with suppress(FileNotFoundError):
            folder = kernel.openat2(shared, path, _FOLDER, kernel.BENEATH)
        yield folder
    finally:
        for descriptor in (shared, folder):
            if descriptor is not None:
                os.close(descriptor)


def _open_shared(roots: Roots) -> int:
    return kernel.open_beneath(state_of(roots), roots.shared, _FOLDER)
