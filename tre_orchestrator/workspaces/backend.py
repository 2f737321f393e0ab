"""What a place that runs workspaces can do: the one protocol of the sandbox and, later, the cluster.

Every method raises `TreError` with a sentence for the person. A backend decides nothing: it translates a plan, and
says truthfully what runs. `stop` returns when the workspace's last process is gone, or raises.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tre_orchestrator.catalogue.names import ProjectName, WorkspaceId

if TYPE_CHECKING:
    from tre_orchestrator.workspaces.plan import WorkspacePlan
    from tre_orchestrator.workspaces.proof import ProofRecord

Progress = Callable[[str, int], None]
"""Called with a step in a few words for the person, and a percentage from 0 to 100."""


def silent(step: str, percent: int) -> None:
    """A progress callback for callers that show none."""


@dataclass(frozen=True, slots=True)
class Handle:
    """A running workspace: where the gate finds it, and which start of it this is."""

    workspace: WorkspaceId
    socket: Path
    nonce: str
    pid: int
    started_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Status:
    """Whether a workspace runs, else why it ended; what it has used so far."""

    running: bool
    reason: str | None
    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """How the backend works on this machine. `lock_digest` names the lock that a proof must have been made for."""

    mode: str
    lock_digest: str
    limits: str
    disk_cap: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CollectedFile:
    """One file of a frozen folder, streamed; `path` is relative to the folder, with '/'."""

    path: str
    size: int
    chunks: Iterator[bytes]


class Backend(Protocol):
    """A place that runs workspaces."""

    def start(self, plan: WorkspacePlan, lock: str, progress: Progress) -> Handle:
        """Start what `workspaces/<id>/plan.json` says; returns when the listener accepts connections.

        `lock` is the digest of the lock that was proven: raises `Stale` when this one is not it any more (N2).
        """

    def stop(self, workspace: WorkspaceId) -> None:
        """End the workspace; returns when nothing of it runs any more. Not running is no error."""

    def poll(self, workspace: WorkspaceId) -> Status:
        """Whether it runs now."""

    def running(self) -> tuple[Handle, ...]:
        """Every workspace that runs now."""

    def lease(self, workspaces: Sequence[WorkspaceId], seconds: float) -> None:
        """Let these go on for `seconds`; one whose lease runs out is ended by the backend itself (P4)."""

    def collect(self, workspace: WorkspaceId, folder: str) -> Iterator[CollectedFile]:
        """The files of a folder below /outputs, frozen while they are read (A2)."""

    def prove(self, plan: WorkspacePlan) -> ProofRecord:
        """Try the lock that `plan` would get, from inside, with a positive control."""

    def status(self) -> BackendStatus:
        """How it works here."""


class Eraser(Protocol):
    """A place that can delete what its workspaces left: their files may belong to accounts of their own."""

    def erase(self, workspace: WorkspaceId, project: ProjectName) -> None:
        """Delete everything in the workspace's folders and in its project's shared one; returns when it is gone.

        Raises `Refused` while the workspace runs. Safe to repeat.
        """
