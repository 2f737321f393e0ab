"""Will a workspace be able to read this dataset? Asked when it is added, answered with the command that mends it.

Where root starts the TRE, its processes and every workspace run under uids with no account, so they are "others" to
the data: folders must be enterable from the data root down, and everything in the dataset readable, by others. Where
an ordinary user starts it, that user's own permissions decide.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from tre_orchestrator.errors import Refusal
from tre_orchestrator.governance.walk import walk
from tre_orchestrator.settings import Settings

SERVICE_UID = 1_999_999_999
"""What the TRE's processes run as when root starts it (ops.privilege)."""


def why_not_readable(settings: Settings, root: Path, folder: Path, opened: int) -> Refusal | None:
    """Why workspaces could not read the files below the opened `folder` of data root `root`, or None."""
    owner = settings.state_dir.stat().st_uid
    if os.geteuid() not in (0, SERVICE_UID):
        return None  # workspaces run as this very uid: what it can hash they can read
    return _why_closed_path(root, folder, owner) or _why_closed_content(folder, opened)


def why_closed(mode: int, *, is_folder: bool) -> str | None:
    """What `chmod` must add so that others can read a file, or list and enter a folder; None when they can."""
    needed = stat.S_IROTH | (stat.S_IXOTH if is_folder else 0)
    return None if mode & needed == needed else ("o+rx" if is_folder else "o+r")


def _why_closed_path(root: Path, folder: Path, owner: int) -> Refusal | None:
    """The folders from the root to the dataset must be enterable for the TRE's own processes."""
    for between in [root, *(root / part for part in reversed(folder.relative_to(root).parents[:-1]))]:
        status = between.stat()
        enters = status.st_mode & (stat.S_IXUSR if status.st_uid == owner else stat.S_IXOTH)
        if not enters:
            return Refusal(
                "dataset-unreadable",
                f"The TRE cannot enter {between}. Run `chmod o+x {shlex.quote(str(between))}` and try again.",
            )
    return None


def _why_closed_content(folder: Path, opened: int) -> Refusal | None:
    closed = [
        found.path or "the folder itself"
        for found in walk(opened, str(folder))
        if why_closed(found.status.st_mode, is_folder=found.is_folder)
    ]
    if not closed:
        return None
    return Refusal(
        "dataset-unreadable",
        f"A workspace could not read {len(closed)} entries of {folder} (first: {closed[0]}). "
        f"Run `chmod -R o+rX {shlex.quote(str(folder))}` and add the dataset again.",
    )
