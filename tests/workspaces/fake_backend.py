"""A backend in memory that keeps the protocol's promises, and breaks them where a test says so."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tre_orchestrator.catalogue.names import WorkspaceId
from tre_orchestrator.errors import Stale, Unavailable
from tre_orchestrator.workspaces.backend import BackendStatus, CollectedFile, Handle, Progress, Status
from tre_orchestrator.workspaces.plan import WorkspacePlan
from tre_orchestrator.workspaces.proof import ProbeResult, ProofRecord

START = dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the process runs after it, so no handler may react to it."""


class FakeBackend:
    """Starts nothing; remembers what it was asked."""

    def __init__(self) -> None:
        self.runs: dict[WorkspaceId, Handle] = {}
        self.plans: list[WorkspacePlan] = []
        self.leases: list[tuple[WorkspaceId, ...]] = []
        self.erased: list[tuple[WorkspaceId, str]] = []
        self.lock = "a" * 64
        self.holds = True
        self.proofs = 0
        self.stubborn = 0
        self.on_start: Callable[[], None] = lambda: None
        self.on_prove: Callable[[], None] = lambda: None
        self._guard = threading.Lock()

    def start(self, plan: WorkspacePlan, lock: str, progress: Progress) -> Handle:
        if lock != self.status().lock_digest:
            raise Stale("lock-changed", "The lock is another one.")
        self.on_start()
        progress("Making the sandbox", 50)
        workspace = WorkspaceId(plan.workspace)
        with self._guard:
            if workspace in self.runs:
                raise Unavailable("already-running", "It runs already.")
            self.plans.append(plan)
            self.runs[workspace] = Handle(workspace, Path(f"/run/{plan.socket_name}"), plan.nonce, 0, START)
        progress("Waiting for Lab", 90)
        return self.runs[workspace]

    def stop(self, workspace: WorkspaceId) -> None:
        if self.stubborn:
            self.stubborn -= 1
            return
        self.runs.pop(workspace, None)

    def poll(self, workspace: WorkspaceId) -> Status:
        runs = workspace in self.runs
        return Status(runs, None if runs else "its server ended", 0.0, 0)

    def running(self) -> tuple[Handle, ...]:
        return tuple(self.runs.values())

    def lease(self, workspaces: Sequence[WorkspaceId], seconds: float) -> None:
        self.leases.append(tuple(workspaces))

    def collect(self, workspace: WorkspaceId, folder: str) -> Iterator[CollectedFile]:
        return iter(())

    def erase(self, workspace: WorkspaceId, project: str) -> None:
        self.erased.append((workspace, project))

    def prove(self, plan: WorkspacePlan) -> ProofRecord:
        self.proofs += 1
        self.on_prove()
        result = ProbeResult("internet-v4", True, not self.holds, self.holds)
        return ProofRecord(self.lock, START, "test", self.holds, (result,))

    def status(self) -> BackendStatus:
        return BackendStatus("fake", self.lock, "none", False, ())
