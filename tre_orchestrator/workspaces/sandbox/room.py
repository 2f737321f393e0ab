"""Is there room for what a workspace may write: images are sparse, so their caps are promises on the disk (N4).

A start is refused unless the disk can keep every promise made to what runs, and a reserve for the services besides: a
disk that is full hurts the workspace that filled its own image, and nobody else. Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tre_orchestrator.errors import Refusal
from tre_orchestrator.workspaces.plan import WorkspacePlan
from tre_orchestrator.workspaces.sandbox import disk
from tre_orchestrator.workspaces.sandbox.shared_disk import DISKS

RESERVE_MIB = 256
"""For the ledger, the logs and files on their way out."""


def why_no_room_for(plan: WorkspacePlan, running: Iterable[WorkspacePlan], state_dir: Path) -> Refusal | None:
    """Why the disk cannot keep its promises with this workspace besides those that run, or None."""
    images = {path: cap for each in (*running, plan) for path, cap in _images(each, state_dir)}
    promised = sum(still_promised(path, cap) for path, cap in images.items()) // disk.MIB
    status = os.statvfs(state_dir)
    free = status.f_bavail * status.f_frsize // disk.MIB
    return why_no_room(free, promised)


def why_no_room(free_mib: int, promised_mib: int) -> Refusal | None:
    """Why `free_mib` are too few for what running workspaces and the new one may still write, or None."""
    if free_mib >= promised_mib + RESERVE_MIB:
        return None
    return Refusal(
        "disk-promised",
        f"The disk has {free_mib} MiB free. With this workspace, running ones could still write {promised_mib} MiB, "
        f"and {RESERVE_MIB} MiB stay for the TRE itself. Nothing was started. End another workspace, or ask the people "
        "who run this TRE to make room or to lower the tier's disk_mib.",
    )


def still_promised(image: Path, cap_mib: int) -> int:
    """Bytes that an image of this cap may still take from the disk; all of them when it is not made yet."""
    try:
        status = os.stat(image, follow_symlinks=False)
    except FileNotFoundError:
        return cap_mib * disk.MIB
    return max(0, max(status.st_size, cap_mib * disk.MIB) - status.st_blocks * 512)


def _images(plan: WorkspacePlan, state_dir: Path) -> Iterable[tuple[Path, int]]:
    cap = plan.limits.disk_mib
    yield state_dir / "workspaces" / plan.workspace / disk.IMAGE, cap
    yield state_dir / "shared" / DISKS / plan.project / disk.IMAGE, cap
