"""A hard cap on what a folder may hold: an ext4 image of that size, mounted by a loop device (root mode).

A workspace's home and outputs lie on one, a project's shared folder on another. The image belongs to root and is
mounted once, in the mount namespace of the one process that uses it, so the kernel unmounts it and frees the device
when that process ends, however it ends. Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path

from tre_orchestrator.errors import Refusal, Unavailable
from tre_orchestrator.workspaces.sandbox import kernel

IMAGE = "disk.img"
MIB = 1024 * 1024
SMALLEST_MIB = 16
_FREE_SECONDS = 10.0


def why_no_disk_cap(scratch: Path) -> Refusal | None:
    """Why images cannot be mounted on this machine, or None. Tries it in a process and namespace of its own."""
    if os.geteuid() != 0:
        return Refusal("disk-cap", "A hard disk limit needs root; workspaces share the disk's free space.")
    if shutil.which("mkfs.ext4") is None:
        return Refusal("disk-cap", "mkfs.ext4 is not installed (apt install e2fsprogs): no hard disk limit.")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _try_image(scratch)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) == 0:
        return None
    return Refusal("disk-cap", "This machine mounts no loop device: no hard disk limit for workspaces.")


def has_image(folder: int) -> bool:
    """Whether the folder (a descriptor) holds an image that only root can have made."""
    try:
        status = os.stat(IMAGE, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    _check_image(status)
    return True


def make_image(folder: int, mib: int) -> None:
    """Make a sparse image of `mib` MiB, complete or not at all."""
    draft = f"{IMAGE}.{secrets.token_hex(6)}"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    image = os.open(draft, flags, 0o600, dir_fd=folder)
    try:
        os.ftruncate(image, max(mib, SMALLEST_MIB) * MIB)
        words = ["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "root_owner=0:0,nodiscard", f"/proc/self/fd/{image}"]
        made = _run(words, image, 120)
        if made.returncode != 0:
            raise Unavailable("disk-image", f"A disk of the workspace could not be made: {made.stderr.strip()[-200:]}")
        os.rename(draft, IMAGE, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(draft, dir_fd=folder)
        raise
    finally:
        os.close(image)


def mount_image(folder: int, target: str, mib: int = 0, *, read_only: bool = False) -> None:
    """Mount the folder's image at `target`, grown to `mib` MiB if it is smaller. Call in a namespace of your own.

    Raises `Unavailable` while it is mounted anywhere else: two mounts of one ext4 destroy it.
    """
    image = os.open(IMAGE, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        _check_image(os.fstat(image))
        _take(image)
        if _has_grown(image, mib):
            _grow(image, mib)
        device, path = kernel.attach_loop(image)
        try:
            flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOATIME | (kernel.MS_RDONLY if read_only else 0)
            kernel.mount(path, target, "ext4", flags)
        finally:
            os.close(device)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(
            "disk-image",
            f"A disk of the workspace cannot be mounted ({error}). Ask the people who run this TRE to check {IMAGE} "
            "with e2fsck.",
        ) from error
    finally:
        os.close(image)


def _take(image: int) -> None:
    """Hold the image alone. The loop device keeps this open file, and so the lock, until the last mount is gone."""
    deadline = time.monotonic() + _FREE_SECONDS
    while True:
        try:
            fcntl.flock(image, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                sentence = "A disk of the workspace is still in use, by its last run or by a copy of outputs. "
                raise Unavailable("disk-busy", f"{sentence}Try again in a moment.") from error
            time.sleep(0.05)


def _has_grown(image: int, mib: int) -> bool:
    """Whether `mib` is more than the file system has, by its superblock: a growth may have been interrupted.

    The last block group of a file system may be left out when it is small. Source: the kernel's
    Documentation/filesystems/ext4/super.rst.
    """
    superblock = os.pread(image, 1024, 1024)
    low, exponent, in_group, high = (int.from_bytes(superblock[at : at + 4], "little") for at in (4, 24, 32, 336))
    block = 1024 << exponent
    return mib * MIB - (low | high << 32) * block >= in_group * block


def _grow(image: int, mib: int) -> None:
    """Before mounting: a mounted file system grows only for CAP_SYS_RESOURCE, which root lacks in many containers."""
    os.ftruncate(image, max(mib * MIB, os.fstat(image).st_size))
    path = f"/proc/self/fd/{image}"
    for words, accepted in ((["e2fsck", "-f", "-p", path], (0, 1)), (["resize2fs", path, f"{mib}M"], (0,))):
        done = _run(words, image, 300)
        if done.returncode not in accepted:
            raise OSError(f"{words[0]}: {(done.stderr or done.stdout).strip()[-200:]}")


def _run(words: list[str], image: int, seconds: float) -> subprocess.CompletedProcess[str]:
    """A tool that changes the image and ends with this process, however this one ends."""
    parent = os.getpid()
    return subprocess.run(
        words,
        pass_fds=[image],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        preexec_fn=lambda: kernel.die_with_parent(signal.SIGKILL, parent),
    )


def _check_image(status: os.stat_result) -> None:
    is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == 0 and status.st_nlink == 1
    if not is_ours or status.st_mode & 0o077:
        raise Unavailable("disk-image", f"{IMAGE} is not the file made for it. It was not mounted.")


def _try_image(scratch: Path) -> None:
    """In a folder of its own: another TRE on this machine may be trying at the same moment."""
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    with tempfile.TemporaryDirectory(prefix="disk-", dir=scratch) as own:
        folder = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        make_image(folder, SMALLEST_MIB)
        mount_image(folder, "/mnt")
        myself = os.pidfd_open(os.getpid())
        kernel.join_mounts(myself)  # as launchers join the shared disk of their project
        os.close(myself)
