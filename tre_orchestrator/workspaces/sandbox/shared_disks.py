"""Which projects' shared disks are mounted now: from a project's first workspace until its last one is gone (N4).

Standard library only.
"""

from __future__ import annotations

from collections.abc import Collection

from tre_orchestrator.errors import refuse_if
from tre_orchestrator.workspaces.plan import WorkspacePlan
from tre_orchestrator.workspaces.sandbox.begin import owners_of
from tre_orchestrator.workspaces.sandbox.launcher import Lock
from tre_orchestrator.workspaces.sandbox.options import Options
from tre_orchestrator.workspaces.sandbox.room import why_no_room_for
from tre_orchestrator.workspaces.sandbox.running import Keeper, Running
from tre_orchestrator.workspaces.sandbox.shared_disk import SharedDisk, mount_shared, uses_shared_disk


class SharedDisks:
    """The mounted disks of the worker that watches them."""

    def __init__(self, keeper: Keeper, options: Options) -> None:
        self._keeper = keeper
        self._options = options
        self._mounted: dict[str, SharedDisk] = {}
        self.leaving: set[SharedDisk] = set()

    def disk_for(self, plan: WorkspacePlan, lock: Lock, running: Collection[Running]) -> SharedDisk | None:
        """The disk of the plan's project, mounted if it was not; None where its shared folder is a plain one.

        Raises `Refused` when the host's disk could not keep what it promises, `Unavailable` when there is an image and
        no way to mount it.
        """
        if lock.disk_cap:
            plans = [workspace.plan for workspace in running]
            refuse_if(why_no_room_for(plan, plans, self._options.state_dir))
        project = plan.project
        if project in self._mounted:
            return self._mounted[project]
        owners = owners_of(self._options, lock.mode, f"workspace/{plan.workspace}", project)
        runs = any(workspace.project == project for workspace in running)
        roots = self._options.roots
        if owners is None or not uses_shared_disk(roots, project, can_mount=lock.disk_cap, runs_without=runs):
            return None
        shared = self._mounted[project] = mount_shared(roots, project, plan.limits.disk_mib, owners)
        self._keeper.watch(shared.pidfd, lambda: self._ended(shared))
        return shared

    def keep_for(self, running: Collection[Running]) -> None:
        """Unmount the disks of projects of which nothing runs."""
        for project in self._mounted.keys() - {workspace.project for workspace in running}:
            shared = self._mounted.pop(project)
            self.leaving.add(shared)
            shared.end()

    def _ended(self, shared: SharedDisk) -> None:
        self._keeper.unwatch(shared.pidfd)
        if self._mounted.get(shared.project) is shared:  # it ended by itself; the next start mounts it again
            del self._mounted[shared.project]
        self.leaving.discard(shared)
        shared.close()
