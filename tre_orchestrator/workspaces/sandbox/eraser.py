"""Deletes what a workspace and its project's shared folder hold, when the controller of the data wants copies gone.

Works on descriptors and follows no link. A tree of any depth is deleted with two descriptors open: what lies deeper is
moved up first. It may be killed at any instant and called again. Standard library only.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

from tre_orchestrator.workspaces.plan import Roots
from tre_orchestrator.workspaces.sandbox import disk, kernel, staging
from tre_orchestrator.workspaces.sandbox.shared_disk import forget_image

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OWN = ("home", "outputs", "imports")


def erase(roots: Roots, workspace: str, project: str) -> None:
    """Delete the images of the workspace and of the project, and everything in their plain folders."""
    own = staging.open_own(workspace, roots)
    try:
        with suppress(FileNotFoundError):
            os.unlink(disk.IMAGE, dir_fd=own)
        for name in _OWN:
            _empty_named(own, name)
    finally:
        os.close(own)
    forget_image(roots, project)
    shared = kernel.open_beneath(staging.state_of(roots), roots.shared, _FOLDER)
    try:
        _empty_named(shared, project)
    finally:
        os.close(shared)


def empty(folder: int) -> None:
    """Delete everything in the folder, a descriptor; the folder itself stays."""
    while names := os.listdir(folder):
        for name in names:
            if not _unlink(name, folder):
                _lift(name, folder)
    os.fsync(folder)


def _lift(name: str, folder: int) -> None:
    """Delete a folder's files, move its folders up into `folder`, and remove it."""
    inner = _open(name, folder)
    try:
        for entry in os.listdir(inner):
            if not _unlink(entry, inner):
                _let_owner_in(entry, inner)
                os.rename(entry, f"{secrets.token_hex(16)}", src_dir_fd=inner, dst_dir_fd=folder)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=folder)


def _empty_named(parent: int, name: str) -> None:
    with suppress(FileNotFoundError):
        folder = _open(name, parent)
        try:
            empty(folder)
        finally:
            os.close(folder)


def _unlink(name: str, folder: int) -> bool:
    """Delete anything but a folder; whether that was done."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        return False
    return True


def _open(name: str, folder: int) -> int:
    """The folder `name` as a descriptor; its owner may have closed it to himself."""
    try:
        found = kernel.openat2(folder, name, _FOLDER, kernel.BENEATH)
    except PermissionError:
        _let_owner_in(name, folder)
        found = kernel.openat2(folder, name, _FOLDER, kernel.BENEATH)
    if os.fstat(found).st_mode & 0o700 != 0o700:
        os.fchmod(found, 0o700)
    return found


def _let_owner_in(name: str, folder: int) -> None:
    """Nothing runs that could swap the folder for a link between the look and the change; root never needs this."""
    if os.geteuid() != 0:
        os.chmod(name, 0o700, dir_fd=folder)
