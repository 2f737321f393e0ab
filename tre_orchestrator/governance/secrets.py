"""Secrets of this TRE: made once from the system's random source, never a default, readable by their owner only (P5).

`secret` reads, or creates exactly once even when several processes start together. `required_secret` never creates: a
secret that is missing, of the wrong size or open to others stops the process with a sentence that says what to do.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from secrets import token_bytes, token_hex

from tre_orchestrator.errors import Unavailable

IDENTITY = "identity.key"
"""Signs what the gate tells the web application about who asks."""
INNER = "inner.key"
"""Each start's inner token is derived from it."""
STORE = "airlock-master"
"""Wraps the keys of the airlock's files. Made with the store, never again: without it no request can be read."""
STORE_NAMES = "airlock-names"
"""Names the airlock's files so that equal ones are found, and nobody else can tell."""
HUB_COOKIE = "hub-cookie.key"
HUB_GATE = "hub-gate.key"
HUB_WEB = "hub-web.key"
HUB_CONTROLLER = "hub-controller.key"
"""The hub's cookie secret, and what its clients prove themselves with."""
ALL = (IDENTITY, INNER, HUB_COOKIE, HUB_GATE, HUB_WEB, HUB_CONTROLLER)

_NAME = re.compile(r"^[a-z][a-z0-9.-]{0,60}$")


def create_all_secrets(keys_dir: Path) -> None:
    """Make every secret that can be made anew, and check those that exist. The store's are made with the store."""
    for name in ALL:
        secret(keys_dir, name)


def secret(keys_dir: Path, name: str, size: int = 32) -> bytes:
    """The secret `name`, created with `size` random bytes if it does not exist yet.

    Raises `Unavailable` when the folder or the file is open to others, belongs to somebody else or has another size.
    """
    _check_name(name)
    keys_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = _open_folder(keys_dir)
    try:
        if not _exists(folder, name):
            _create(folder, name, token_bytes(size))
        return _read(folder, keys_dir, name, size)
    finally:
        os.close(folder)


def required_secret(keys_dir: Path, name: str, size: int = 32) -> bytes:
    """The secret `name`; raises `Unavailable` when it is missing or cannot be trusted."""  # pragma: allowlist secret
    _check_name(name)
    if not keys_dir.is_dir():
        raise Unavailable("secret-missing", f"The folder for secrets {keys_dir} is missing. `tre up` makes it.")
    folder = _open_folder(keys_dir)
    try:
        return _read(folder, keys_dir, name, size)
    finally:
        os.close(folder)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a secret")


def _open_folder(keys_dir: Path) -> int:
    folder = os.open(keys_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(folder)
    if stat.S_IMODE(status.st_mode) & 0o077:
        os.close(folder)
        raise Unavailable("secret-open", f"Others can reach {keys_dir}. Run `chmod 700 {keys_dir}` and start again.")
    if os.geteuid() not in (0, status.st_uid):
        os.close(folder)
        raise Unavailable("secret-owner", f"{keys_dir} belongs to another account. Start as the account that owns it.")
    return folder


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _create(folder: int, name: str, value: bytes) -> None:
    """Write a complete file under another name, then link it to its own: readers see all of it or nothing."""
    draft = f".{name}.{token_hex(8)}"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        os.fchmod(handle, 0o600)
        if os.geteuid() == 0:
            owner = os.fstat(folder)
            os.fchown(handle, owner.st_uid, owner.st_gid)
        os.write(handle, value)
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        os.link(draft, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return  # another process was first; its secret is the secret
    finally:
        os.unlink(draft, dir_fd=folder)
        os.fsync(folder)


def _read(folder: int, keys_dir: Path, name: str, size: int) -> bytes:
    path = keys_dir / name
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        raise Unavailable(
            "secret-missing", f"The secret {path} is missing. Restore it from your backup, or run `tre up` to make one."
        ) from None
    except OSError as error:
        raise Unavailable("secret-unreadable", f"The secret {path} cannot be read: {error.strerror}.") from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.fstat(folder).st_uid:
            raise Unavailable("secret-owner", f"{path} is not a file of the account that owns the folder. Remove it.")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise Unavailable("secret-open", f"Others can read {path}. Run `chmod 600 {path}` and replace the secret.")
        value = os.read(handle, size + 1)
    finally:
        os.close(handle)
    if len(value) != size:
        raise Unavailable("secret-size", f"{path} does not hold {size} bytes: it is damaged. Restore it from a backup.")
    return value
