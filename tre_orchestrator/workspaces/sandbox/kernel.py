"""The few Linux calls that Python 3.11 does not offer: openat2, mount, unshare, prctl, loop devices.

Each raises OSError with the kernel's errno. `open_beneath` is the only way in which privileged code here opens a path
that somebody else could have changed. Standard library only; x86_64 and aarch64.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import PurePosixPath

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT = 1, 2, 4, 32
MS_NOATIME, MS_BIND, MS_REC, MS_PRIVATE = 1024, 4096, 16384, 1 << 18

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 1, 2, 4, 8
BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
"""Nothing outside the folder, no link of any kind; mount points may be crossed."""

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38

_OPENAT2 = 437  # the same number on every architecture (asm-generic/unistd.h)
_LOOP_CTL_GET_FREE, _LOOP_CONFIGURE = 0x4C82, 0x4C0A
_LO_FLAGS_AUTOCLEAR = 4
_LOOP_TRIES = 8

_libc = ctypes.CDLL(None, use_errno=True)


def openat2(folder: int, name: str | bytes, flags: int, resolve: int, mode: int = 0) -> int:
    """openat2(2): open `name` relative to the folder's descriptor under the given resolve rules; close-on-exec.

    `mode` is for O_CREAT only.
    """
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    result = _libc.syscall(
        ctypes.c_long(_OPENAT2), ctypes.c_long(folder), os.fsencode(name), how, ctypes.c_long(len(how))
    )
    if result < 0:
        raise _error(os.fsdecode(name))
    return int(result)


def open_beneath(root: str, path: str, flags: int, mode: int = 0) -> int:
    """Open `path`, which must lie below `root` (or be it), without following any link below `root`.

    `root` itself is trusted: it was declared by whoever started this process. Raises PermissionError when the path is
    not below it, OSError(ELOOP) for a link.
    """
    relative = (
        PurePosixPath(path).relative_to(root) if path == root or path.startswith(root.rstrip("/") + "/") else None
    )
    if relative is None or ".." in relative.parts:
        raise PermissionError(errno.EPERM, "not below the declared folder", path)
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return openat2(folder, str(relative), flags, BENEATH, mode)
    finally:
        os.close(folder)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    _check(_libc.mount(_path(source), _path(target), _path(kind), ctypes.c_ulong(flags), _path(data)), target)


def bind(descriptor: int, target: str, *, read_only: bool) -> None:
    """Show the folder behind a descriptor at `target`, without what is mounted below it, never setuid, no devices."""
    mount(f"/proc/self/fd/{descriptor}", target, None, MS_BIND)
    flags = MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV | (MS_RDONLY if read_only else 0)
    mount(None, target, None, flags)


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags), "unshare")


def join_mounts(pidfd: int) -> None:
    """setns(2): enter the mount namespace of the process behind this pidfd; root and working folder become its root."""
    _check(_libc.setns(pidfd, CLONE_NEWNS), "setns")


def die_with_parent(signal_number: int, parent: int) -> None:
    """Get this signal when the parent ends; at once when it already has. `parent` is the parent's process id."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal_number)


def close_all_but(*kept: int) -> None:
    """Close every descriptor but these and the three standard ones: what a fork inherited by chance stays with nobody.

    A descriptor into a mounted file system keeps it mounted, one of a lock file keeps the lock.
    """
    for number in [int(name) for name in os.listdir("/proc/self/fd")]:
        if number > 2 and number not in kept:
            with suppress(OSError):  # the one that listed the folder is gone already
                os.close(number)


def no_new_privileges() -> None:
    """Nothing this process starts can gain rights by a setuid file."""
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def become(uid: int, gid: int, groups: tuple[int, ...] = ()) -> None:
    """Give up root for good."""
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def made_as(uid: int, make: Callable[[], object]) -> None:
    """Let a child that is `uid` make something in that uid's own folder; raises the child's OSError.

    Root does not make it and give it away: that would go by its name, and by then the folder's owner may have put
    another file there. Nor does root change its own uid meanwhile: that would undo `die_with_parent`.
    """
    if os.geteuid() != 0:
        make()
        return
    child = os.fork()
    if child == 0:
        code = errno.EIO
        try:
            become(uid, uid)
            make()
            code = 0
        except OSError as error:
            code = error.errno or code
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 0:
        raise OSError(abs(code), os.strerror(abs(code)))


def bind_socket(listener: socket.socket, folder: int, name: str) -> None:
    """Bind a unix socket at `name` in the folder behind a descriptor, for its owner alone."""
    here, mask = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), os.umask(0o177)
    try:
        os.fchdir(folder)
        listener.bind(name)
    finally:
        os.umask(mask)
        os.fchdir(here)
        os.close(here)


def attach_loop(image: int) -> tuple[int, str]:
    """Attach an open image file to a free loop device that frees itself after its last use.

    Returns the device's descriptor, to be closed after mounting, and its path. Raises OSError where loop devices
    cannot be had (a container without /dev/loop-control).
    """
    with closing(open("/dev/loop-control", "rb", buffering=0)) as control:
        for attempt in range(_LOOP_TRIES):
            index = fcntl.ioctl(control.fileno(), _LOOP_CTL_GET_FREE)
            path = f"/dev/loop{index}"
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            # struct loop_config: fd, block_size, struct loop_info64 (232 bytes, lo_flags at 52), 64 bytes reserved
            config = struct.pack("=II52xI176x64x", image, 0, _LO_FLAGS_AUTOCLEAR)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, config)
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY or attempt == _LOOP_TRIES - 1:  # somebody else took this one
                    raise
            else:
                return device, path
    raise OSError(errno.EBUSY, "no free loop device")


def _path(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise _error(what)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)
