"""Small jobs of the controller: sign the ledger, let grants run out, delete held copies, tell authors of outcomes.

Each function does what is due now and may be called again at any time.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable

import structlog
from sqlalchemy import select

from tre_orchestrator.airlock import queues
from tre_orchestrator.airlock.views import RequestLine
from tre_orchestrator.catalogue.names import WorkspaceId
from tre_orchestrator.controller.metrics import Metrics
from tre_orchestrator.errors import Unavailable
from tre_orchestrator.governance import copies, grants
from tre_orchestrator.ledger.checkpoints import make_checkpoint
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.keys import Signer
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces import rows
from tre_orchestrator.workspaces.backend import Eraser
from tre_orchestrator.workspaces.rows import WorkspaceView
from tre_orchestrator.workspaces.tables import WorkspaceRow, WorkspaceState

OUTCOMES = "requests.json"
_STOPPED = WorkspaceState.stopped.value
_log = structlog.get_logger()


def sign_ledger(db: Database, signer: Signer, metrics: Metrics, now: dt.datetime) -> None:
    """A checkpoint over the entries there are; none when nothing was added."""
    with db.write() as session:
        metrics.ledger_size.set(make_checkpoint(session, signer, now).size)


def expire_grants(db: Database, now: dt.datetime) -> None:
    """Record the end of grants whose last day is over, and hold the copies made under them."""
    with db.write() as session:
        for ended in grants.expire_due(session, now):
            _log.info("grant.expired", dataset=ended.dataset, project=ended.project)


def delete_copies(db: Database, eraser: Eraser, now: dt.datetime) -> None:
    """Delete what controllers decided to have deleted: homes, outputs and the shared folder of the project."""
    with db.read() as session:
        holds = copies.pending_deletions(session)
        members = {
            hold.project: list(session.scalars(select(WorkspaceRow).where(WorkspaceRow.project == hold.project)))
            for hold in holds
        }
        ids = {project: [WorkspaceId(row.id) for row in found] for project, found in members.items()}
        busy = {project for project, found in members.items() if any(row.state != _STOPPED for row in found)}
    for hold in holds:
        if hold.project in busy:
            continue
        for workspace in ids[hold.project]:
            eraser.erase(workspace, hold.project)
        with db.write() as session:
            copies.record_deleted(session, hold.id, now)
        _log.info("copies.deleted", project=hold.project, dataset=hold.dataset)
    if any(hold.project in busy for hold in holds):
        raise Unavailable("copies-in-use", "A workspace of the project still runs; its copies are deleted later.")


def tell_outcomes(db: Database, settings: Settings, now: dt.datetime) -> None:
    """Write each running workspace's author how their requests stand; `tre_airlock.status()` reads it."""
    with db.read() as session:
        views = rows.in_state(session, WorkspaceState.running)
        told = [(view, outcomes(view, queues.mine(session, view.person, now))) for view in views]
    for view, text in told:
        path = settings.workspaces_dir / view.id / "outcomes" / OUTCOMES
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            fresh = path.with_suffix(".new")
            fresh.write_text(text, encoding="utf-8")
            fresh.chmod(0o644)
            fresh.replace(path)


def outcomes(view: WorkspaceView, requests: Iterable[RequestLine]) -> str:
    """The author's own requests in this project as JSON: number, title, state in words."""
    mine = [
        {"number": line.id, "title": line.title, "state": line.state_label}
        for line in requests
        if line.project == view.project
    ]
    return json.dumps({"requests": mine}, ensure_ascii=False)
