"""Root stays with the supervisor alone: everything else of a TRE that root starts runs as a uid with no account.

`reveal` keeps a checkout below a closed folder (root's home) usable for that uid: in a mount namespace of our own, the
closed folder is replaced by an empty one that shows only the paths that are needed, at their own names.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from tre_orchestrator.errors import TreError

SERVICE_UID = 1_999_999_999
"""Owner of the processes and of the state folder when root starts the TRE; just below the workspaces' own uids."""

_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_NOSUID, _MS_NODEV = 0x1000, 0x4000, 1 << 18, 2, 4


def is_root() -> bool:
    """Whether this process may give its privileges away."""
    return os.geteuid() == 0


def closed_ancestor(path: Path) -> Path | None:
    """The topmost folder above `path` that other users cannot enter, or None."""
    for folder in reversed(path.resolve().parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def reveal(paths: Iterable[Path]) -> None:
    """Make `paths` (existing folders) reachable for every uid, in a mount namespace of this process's own."""
    hidden: dict[Path, list[Path]] = {}
    for path in paths:
        ancestor = closed_ancestor(path)
        if ancestor is not None:
            hidden.setdefault(ancestor, []).append(path.resolve())
    if not hidden:
        return
    working = Path.cwd()
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(_CLONE_NEWNS))
    _check(libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
    for ancestor, wanted in hidden.items():
        outermost = [p for p in wanted if not any(other != p and p.is_relative_to(other) for other in wanted)]
        opened = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in set(outermost)}
        _check(libc.mount(b"tmpfs", bytes(ancestor), b"tmpfs", _MS_NOSUID | _MS_NODEV, b"mode=0711,size=1m"))
        for path, descriptor in opened.items():
            _make_enterable(ancestor, path)
            source = f"/proc/self/fd/{descriptor}".encode()
            _check(libc.mount(source, bytes(path), None, _MS_BIND | _MS_REC, None))
            os.close(descriptor)
    if working.exists():
        os.chdir(working)


def hand_over(folder: Path) -> None:
    """Give a fresh state folder to the service uid; refuse one that belongs to somebody else.

    What ops may put there before the first start goes along: the settings, which stay root's, and secrets in keys/.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = folder.stat().st_uid
    if owner == SERVICE_UID:
        return
    if owner != os.geteuid() or {path.name for path in folder.iterdir()} - {"settings.yaml", "keys"}:
        raise TreError(
            "foreign-state",
            f"The state folder {folder} belongs to uid {owner}. Start the TRE as that user, or choose another folder "
            "with --state.",
        )
    for secret in (folder / "keys").glob("*"):
        os.chown(secret, SERVICE_UID, SERVICE_UID, follow_symlinks=False)
    os.chown(folder, SERVICE_UID, SERVICE_UID)


def drop() -> None:
    """Become the service uid for good."""
    os.setgroups([])
    os.setresgid(SERVICE_UID, SERVICE_UID, SERVICE_UID)
    os.setresuid(SERVICE_UID, SERVICE_UID, SERVICE_UID)


def needed_paths(state_dir: Path, *more: Path) -> list[Path]:
    """What the service uid must reach: the code, the interpreter, the state, and `more`."""
    code = Path(__file__).resolve().parents[2]
    candidates = [code, Path(sys.prefix), Path(sys.base_prefix), state_dir, *more]
    return [path for path in candidates if path.is_dir()]


def _make_enterable(ancestor: Path, path: Path) -> None:
    """Create the folders from `ancestor` down to `path`, each of which anybody may enter and nobody may list."""
    folder = ancestor
    for part in path.relative_to(ancestor).parts:
        folder = folder / part
        if not folder.exists():
            folder.mkdir()
            folder.chmod(0o711)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
