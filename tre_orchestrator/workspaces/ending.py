"""The end of a workspace, and what a crash left half done: intent, act, verified, recorded.

Nothing here adopts a half-started workspace: it is stopped and the person starts again. Every function may be called
twice; the second call finds nothing left to do.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import structlog

from tre_orchestrator.catalogue.names import WorkspaceId
from tre_orchestrator.errors import TreError, Unavailable
from tre_orchestrator.ledger.append import Actor, append, person, software
from tre_orchestrator.ledger.canonical import Json
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces import rows
from tre_orchestrator.workspaces.backend import Backend
from tre_orchestrator.workspaces.birth import is_process_gone
from tre_orchestrator.workspaces.rows import WorkspaceView
from tre_orchestrator.workspaces.tables import WorkspaceState

_STOP_TRIES = 3
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class EndReason:
    """Why a workspace ends: a stable code for the ledger, a sentence for the person."""

    code: str
    sentence: str


ASKED = EndReason("asked", "You stopped this workspace.")
INTERRUPTED = EndReason("start-interrupted", "The last start was interrupted before it was ready. Start it again.")


def subject_of(project: str) -> str:
    """What the ledger's entries about workspaces are about: the project; the workspace is a fact of the entry."""
    return f"project/{project}"


def end(
    db: Database,
    settings: Settings,
    backend: Backend,
    workspace: WorkspaceId,
    reason: EndReason,
    now: dt.datetime,
    *,
    actor: Actor | None = None,
) -> None:
    """End a workspace; returns when it is verified to be gone and that is recorded. A stopped one is left alone.

    `actor` is who wants it; none: its person when the reason is `ASKED`, else the controller.

    Raises `Unavailable` when it cannot be ended; the row stays `ending`, the gate stays closed, and the next call
    goes on from there.
    """
    with db.write() as session:
        row = rows.locked(session, workspace)
        if row.state == WorkspaceState.stopped:
            return
        before = rows.view_of(row)
        if row.state != WorkspaceState.ending:
            rows.mark_ending(row, reason.code, reason.sentence)
            facts = {"workspace": workspace, "reason": reason.code}
            append(
                session,
                "workspace.end.intended",
                actor or (person(row.person) if reason == ASKED else software("controller")),
                subject_of(row.project),
                facts,
                now=now,
            )
        code, sentence = row.end_code, row.end_reason
    _stop_for_sure(backend, before)
    (settings.workspaces_dir / workspace / "plan.json").unlink(missing_ok=True)
    with db.write() as session:
        row = rows.locked(session, workspace)
        if row.state != WorkspaceState.ending:
            return
        ran = int((now - before.started_at).total_seconds()) if before.started_at else 0
        after: dict[str, Json] = {"workspace": workspace, "reason": code, "verified": True, "ran_seconds": max(0, ran)}
        append(session, "workspace.ended", software("controller"), subject_of(row.project), after, now=now)
        rows.mark_stopped(row, code, sentence)
    _log.info("workspace.ended", workspace=workspace, reason=code)


def settle_start(db: Database, backend: Backend, workspace: WorkspaceId, now: dt.datetime) -> None:
    """Stop a start that nobody is working on any more (its process died between intent and outcome)."""
    with db.read() as session:
        view = rows.by_id(session, workspace)
    if view is None or not is_abandoned(view, now):
        return
    _stop_for_sure(backend, view)
    with db.write() as session:
        row = rows.locked(session, workspace)
        if row.claim != view.claim or row.state != WorkspaceState.starting:
            return
        if row.nonce:  # its intent stands in the ledger
            facts = {"workspace": workspace, "reason": INTERRUPTED.code}
            append(session, "workspace.start.failed", software("controller"), subject_of(row.project), facts, now=now)
        rows.mark_stopped(row, INTERRUPTED.code, INTERRUPTED.sentence)
    _log.warning("workspace.start.interrupted", workspace=workspace)


def is_abandoned(view: WorkspaceView, now: dt.datetime) -> bool:
    """Whether this is a start that nobody was heard of lately."""
    return view.state is WorkspaceState.starting and (view.claim_until is None or view.claim_until <= now)


def reconcile(db: Database, settings: Settings, backend: Backend, now: dt.datetime) -> list[str]:
    """Make rows and running workspaces agree again; returns what was done, in words for the log.

    One that cannot be settled now does not keep the others from it: it is tried again at the next call.
    """
    with db.read() as session:
        views = {view.id: view for view in rows.in_state(session, *WorkspaceState)}
    runs = {handle.workspace: handle for handle in backend.running()}
    done: list[str] = []
    for view in views.values():
        handle = runs.get(view.id)
        lost = handle is None or handle.nonce != view.nonce
        try:
            if is_abandoned(view, now):
                settle_start(db, backend, view.id, now)
                done.append(f"{view.id}: an interrupted start was stopped")
            elif view.state is WorkspaceState.ending:
                end(db, settings, backend, view.id, EndReason(view.end_code, view.end_reason), now)
                done.append(f"{view.id}: an interrupted end was finished")
            elif view.state is WorkspaceState.running and lost:
                end(db, settings, backend, view.id, gone(backend.poll(view.id).reason), now)
                done.append(f"{view.id}: it had ended by itself")
        except TreError as error:
            _log.error("workspace.reconcile", workspace=view.id, code=error.code, reason=error.sentence)
    for workspace in runs:
        known = views.get(workspace)
        is_unknown = known is None or known.state is WorkspaceState.stopped
        if is_unknown and _end_orphan(db, backend, workspace, now):
            done.append(f"{workspace}: it ran without a record and was stopped")
    return done


def gone(reason: str | None) -> EndReason:
    """The end of a workspace that nobody of us ended."""
    return EndReason("gone", f"It ended by itself: {reason or 'the reason is not known'}. Start it again.")


def _end_orphan(db: Database, backend: Backend, workspace: WorkspaceId, now: dt.datetime) -> bool:
    """Stop what runs although no row knows of it: after a database was restored from a backup, say."""
    with db.read() as session:
        view = rows.by_id(session, workspace)
    if view is not None and view.state is not WorkspaceState.stopped:
        return False
    backend.stop(workspace)
    with db.write() as session:
        facts: dict[str, Json] = {
            "workspace": workspace,
            "reason": "orphan",
            "verified": not backend.poll(workspace).running,
        }
        append(session, "workspace.ended", software("controller"), f"workspace/{workspace}", facts, now=now)
    _log.warning("workspace.orphan", workspace=workspace)
    return True


def _stop_for_sure(backend: Backend, view: WorkspaceView) -> None:
    """Stop, then look: the backend says gone, and the process it named is gone."""
    for _ in range(_STOP_TRIES):
        backend.stop(view.id)
        if not backend.poll(view.id).running and is_process_gone(view.pid, view.pid_birth):
            return
    raise Unavailable(
        "still-running",
        "The workspace could not be ended yet. Its gate is closed; ending it is tried again every second.",
    )
