"""Start and end of workspaces: what the hub, the controller, the gate and the pages call.

`start` decides in the same transaction that records its intent, so a right lost a moment ago starts nothing (D2). Of
two starts at once one does the work and the other one gets its workspace. `end` returns when the workspace is
verified to be gone. What a crash leaves open between intent and outcome is settled by `reconcile`.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable

from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.names import PersonId, ProjectName, WorkspaceId
from tre_orchestrator.errors import Refusal, Refused, Unavailable
from tre_orchestrator.governance.facts import decide_now
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces import rows
from tre_orchestrator.workspaces.backend import Backend, Handle, Progress, silent
from tre_orchestrator.workspaces.ending import ASKED, EndReason, end, gone, is_abandoned, reconcile, settle_start
from tre_orchestrator.workspaces.rows import WorkspaceView, by_id, in_state, workspace_of
from tre_orchestrator.workspaces.starting import Starter
from tre_orchestrator.workspaces.tables import WorkspaceState

__all__ = [
    "ASKED",
    "EndReason",
    "WorkspaceView",
    "by_id",
    "end",
    "in_state",
    "reconcile",
    "start",
    "why_not_usable",
    "workspace_of",
]

JOIN_SECONDS = 120.0
"""How long a second start waits for the first one."""


def start(
    db: Database,
    settings: Settings,
    backend: Backend,
    project: ProjectName,
    person: PersonId,
    now: dt.datetime,
    progress: Progress = silent,
    *,
    mfa: bool = False,
) -> Handle:
    """Start `person`'s workspace in `project`, or return the one that runs.

    `mfa` says whether the session that asks proved a second factor.
    Raises `Refused` with every reason, or the backend's own error; the row is stopped again then and keeps the reason.
    """
    moment = _clock_from(now)
    deadline = now + dt.timedelta(seconds=JOIN_SECONDS)
    progress("Checking that you may work in this project", 2)
    while True:
        with db.read() as session:
            decision = decide_now(session, settings, project, person, moment(), mfa=mfa)
            view = workspace_of(session, person, project)
        if not decision.allowed:
            raise Refused(decision.refusals)
        if view is None or view.state is WorkspaceState.stopped:
            with db.write() as session:
                row = rows.get_or_make(session, person, project)
                claim = rows.claim(row, moment()) if row.state == WorkspaceState.stopped else ""
                view = rows.view_of(row)
            if claim:
                starter = Starter(db, settings, backend, project, person, view.id, claim, mfa, moment, progress)
                return starter.run()
        elif view.state is WorkspaceState.running:
            status = backend.poll(view.id)
            if status.running:
                progress("Your workspace is running", 100)
                return view.handle
            end(db, settings, backend, view.id, gone(status.reason), moment())
        elif is_abandoned(view, moment()):
            settle_start(db, backend, view.id, moment())
        elif moment() > deadline:
            raise Unavailable("workspace-busy", f"Your workspace is still {view.state}. Try again in a minute.")
        else:
            progress("Waiting: your workspace is " + view.state.value, 3)
            time.sleep(0.2)


def why_not_usable(session: Session, settings: Settings, workspace: WorkspaceId, now: dt.datetime) -> Refusal | None:
    """Why nobody may reach this workspace now, or None. The gate asks this of every open workspace (D2).

    It looks at the rights of this moment, not at what the controller has already done about them.
    """
    view = by_id(session, workspace)
    if view is None or view.state is not WorkspaceState.running:
        why = view.end_reason if view else ""
        return Refusal("workspace-not-running", why or "This workspace is not running. Start it from its project.")
    if view.ends_at is not None and now >= view.ends_at:
        return Refusal("workspace-over", view.warning or "This workspace has run as long as it may. Start it again.")
    decision = decide_now(session, settings, view.project, view.person, now, mfa=None)
    return None if decision.may_keep_running else decision.refusals[0]


def _clock_from(now: dt.datetime) -> Callable[[], dt.datetime]:
    """The moments after `now`, by the monotonic clock."""
    began = time.monotonic()
    return lambda: now + dt.timedelta(seconds=time.monotonic() - began)
