"""Reading and changing the rows of workspaces: one function per step of a workspace's life.

Every changing function runs inside the caller's write transaction and locks the row, so that of two starts at once
one claims the workspace and the other one joins it. A claim that nobody renews any more is free again.
"""

from __future__ import annotations

import base64
import datetime as dt
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.names import PersonId, ProjectName, WorkspaceId
from tre_orchestrator.errors import NotFound
from tre_orchestrator.workspaces.backend import Handle
from tre_orchestrator.workspaces.birth import birth_of
from tre_orchestrator.workspaces.tables import WorkspaceRow, WorkspaceState

CLAIM_SECONDS = 60.0
"""How long a starter that says nothing is believed to be alive."""


@dataclass(frozen=True, slots=True)
class WorkspaceView:
    """A workspace as the pages, the gate and the controller see it."""

    id: WorkspaceId
    person: PersonId
    project: ProjectName
    state: WorkspaceState
    nonce: str
    socket: str
    pid: int
    claim: str
    claim_until: dt.datetime | None
    started_at: dt.datetime | None
    ends_at: dt.datetime | None
    longest_until: dt.datetime | None
    right_lost_at: dt.datetime | None
    warning: str
    last_activity: dt.datetime | None
    end_code: str
    end_reason: str
    pid_birth: str = ""

    @property
    def handle(self) -> Handle:
        """The running workspace behind this row."""
        if self.started_at is None:
            raise ValueError("a workspace that was never started has no handle")
        return Handle(self.id, Path(self.socket), self.nonce, self.pid, self.started_at)


def workspace_of(session: Session, person: PersonId, project: ProjectName) -> WorkspaceView | None:
    """This person's workspace in this project, if there ever was one."""
    row = session.scalar(select(WorkspaceRow).where(WorkspaceRow.person == person, WorkspaceRow.project == project))
    return view_of(row) if row else None


def by_id(session: Session, workspace: WorkspaceId) -> WorkspaceView | None:
    """The workspace with this opaque id. An id opens nothing: compare the person too (P3)."""
    row = session.get(WorkspaceRow, workspace)
    return view_of(row) if row else None


def in_state(session: Session, *states: WorkspaceState) -> list[WorkspaceView]:
    """Every workspace whose row is in one of `states`, oldest start first."""
    query = select(WorkspaceRow).where(WorkspaceRow.state.in_([state.value for state in states]))
    return [view_of(row) for row in session.scalars(query.order_by(WorkspaceRow.started_at, WorkspaceRow.id))]


def new_id() -> WorkspaceId:
    """An opaque id: 80 random bits as 16 lower-case base32 characters, a valid DNS label."""
    return WorkspaceId(base64.b32encode(os.urandom(10)).decode().lower())


def new_nonce() -> str:
    """What tells one start of a workspace from every other: 16 hexadecimal digits."""
    return os.urandom(8).hex()


def get_or_make(session: Session, person: PersonId, project: ProjectName) -> WorkspaceRow:
    """The locked row of this workspace; made when it is the first start."""
    query = (
        select(WorkspaceRow)
        .where(WorkspaceRow.person == person, WorkspaceRow.project == project)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    row = session.scalar(query)
    if row is None:
        fresh = WorkspaceRow(id=new_id(), person=person, project=project)
        try:
            with session.begin_nested():
                session.add(fresh)
        except IntegrityError:  # another process made it a moment ago
            return session.scalars(query).one()
        row = fresh
    return row


def locked(session: Session, workspace: WorkspaceId) -> WorkspaceRow:
    """The row with this id, locked for this transaction."""
    row = session.get(WorkspaceRow, workspace, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound("workspace", "There is no such workspace.")
    return row


def is_claimed(row: WorkspaceRow, now: dt.datetime) -> bool:
    """Whether somebody is starting it and was heard of lately."""
    return row.state == WorkspaceState.starting and row.claim_until is not None and row.claim_until > now


def claim(row: WorkspaceRow, now: dt.datetime) -> str:
    """Take the workspace for starting; returns the claim that the starter must still hold at its end."""
    row.state = WorkspaceState.starting.value
    row.claim = new_nonce()
    row.nonce, row.socket, row.pid, row.pid_birth = "", "", 0, ""
    row.started_at = row.ends_at = row.longest_until = row.right_lost_at = None
    row.warning = row.end_code = row.end_reason = ""
    renew_claim(row, now)
    return row.claim


def renew_claim(row: WorkspaceRow, now: dt.datetime) -> None:
    """The starter is alive."""
    row.claim_until = now + dt.timedelta(seconds=CLAIM_SECONDS)


def mark_intended(row: WorkspaceRow, nonce: str, digest: str, datasets: Sequence[dict[str, str]]) -> None:
    """What is about to be started, so that a crash from here on can be told from one before."""
    row.nonce = nonce
    row.project_digest = digest
    row.datasets = list(datasets)


def mark_running(row: WorkspaceRow, handle: Handle, longest_until: dt.datetime, ends_at: dt.datetime) -> None:
    """The backend started it; it ends at `ends_at` if nothing happens before."""
    row.state = WorkspaceState.running.value
    row.socket, row.pid, row.pid_birth = str(handle.socket), handle.pid, birth_of(handle.pid)
    row.started_at = row.last_activity = handle.started_at
    row.ends_at, row.longest_until = ends_at, longest_until
    row.claim, row.claim_until = "", None


def mark_ending(row: WorkspaceRow, code: str, reason: str) -> None:
    """It is being ended; the gate lets nobody in from here on."""
    row.state = WorkspaceState.ending.value
    row.claim, row.claim_until = "", None
    row.end_code, row.end_reason = code, reason


def mark_stopped(row: WorkspaceRow, code: str, reason: str) -> None:
    """Nothing of it runs any more; the reason stays for the person to read."""
    row.state = WorkspaceState.stopped.value
    row.nonce, row.socket, row.pid, row.pid_birth = "", "", 0, ""
    row.claim, row.claim_until = "", None
    row.ends_at = row.longest_until = row.right_lost_at = None
    row.warning, row.end_code, row.end_reason = "", code, reason


def view_of(row: WorkspaceRow) -> WorkspaceView:
    """The row as plain data."""
    return WorkspaceView(
        id=WorkspaceId(row.id),
        person=PersonId(row.person),
        project=ProjectName(row.project),
        state=WorkspaceState(row.state),
        nonce=row.nonce,
        socket=row.socket,
        pid=row.pid,
        claim=row.claim,
        claim_until=row.claim_until,
        started_at=row.started_at,
        ends_at=row.ends_at,
        longest_until=row.longest_until,
        right_lost_at=row.right_lost_at,
        warning=row.warning,
        last_activity=row.last_activity,
        end_code=row.end_code,
        end_reason=row.end_reason,
        pid_birth=row.pid_birth,
    )
