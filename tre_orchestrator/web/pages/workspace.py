"""The page around a workspace: start it, watch it start, frame Lab, stop it, say why it ended.

The page never reaches into the workspace: a ticket from the gate opens the frame, the workspace's own host answers it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from tre_orchestrator.catalogue.models import Project
from tre_orchestrator.catalogue.names import PersonId, ProjectName
from tre_orchestrator.errors import NotFound, Refused, TreError
from tre_orchestrator.governance.facts import decide_now
from tre_orchestrator.governance.model import Decision
from tre_orchestrator.governance.people import membership
from tre_orchestrator.web.notices import go
from tre_orchestrator.web.render import page
from tre_orchestrator.web.security import FRAMES_KEY
from tre_orchestrator.web.sight import seen_project
from tre_orchestrator.web.site import Site, site_of
from tre_orchestrator.web.streams import Streams
from tre_orchestrator.web.visitors import Posted, Signed, Visitor
from tre_orchestrator.workspaces.lifecycle import WorkspaceView, workspace_of
from tre_orchestrator.workspaces.tables import WorkspaceState

_ASKED = "starting"
"""Marks the page after a start was asked for: the hub may need a moment before the workspace says so itself."""
router = APIRouter(prefix="/projects/{project}/workspace")


@router.get("")
def workspace_page(request: Request, project: str, who: Signed) -> Response:
    """Lab in its frame when the workspace runs, its progress while it starts, else why not or how to start."""
    site = site_of(request)
    now = site.clock()
    declared, decision, workspace = _mine(site, project, who, now)
    state = workspace.state if workspace else WorkspaceState.stopped
    values: dict[str, Any] = {
        "project": declared,
        "spec": declared.spec,
        "decision": decision,
        "workspace": workspace,
        "trail": [
            {"text": "Home", "href": "/"},
            {"text": declared.spec.title, "href": f"/projects/{declared.metadata.name}"},
            {"text": "Workspace"},
        ],
    }
    usable = decision.allowed or (decision.may_keep_running and state is WorkspaceState.running)
    if not usable:
        refused = Refused(decision.refusals)
        return page(request, "workspace_closed.html", problem=refused, problem_title="This is closed to you", **values)
    if state is WorkspaceState.running:
        request.scope[FRAMES_KEY] = site.workspace_hosts
        return page(request, "workspace_lab.html", **values)
    asked_just_now = _ASKED in request.query_params and state is WorkspaceState.stopped
    if state is WorkspaceState.starting or asked_just_now:
        return page(request, "workspace_starting.html", **values)
    return page(request, "workspace_stopped.html", watch=state, **values)


@router.post("/start")
def start(request: Request, project: str, who: Signed, form: Posted) -> RedirectResponse:
    """Ask the hub for the workspace; raises `Refused` with every reason, as `decide` says it."""
    site = site_of(request)
    declared, decision, _ = _mine(site, project, who, site.clock())
    if not decision.allowed:
        raise Refused(decision.refusals)
    name = ProjectName(declared.metadata.name)
    site.hub.ensure_user(who.id)
    site.hub.start_server(who.id, name, mfa=who.identity.mfa)
    return RedirectResponse(f"/projects/{name}/workspace?{_ASKED}", status_code=303)


@router.post("/stop")
def stop(request: Request, project: str, who: Signed, form: Posted) -> RedirectResponse:
    """End the person's own workspace."""
    site = site_of(request)
    declared, _, _ = _mine(site, project, who, site.clock())
    name = ProjectName(declared.metadata.name)
    site.hub.stop_server(who.id, name)
    return go(f"/projects/{name}", "workspace-ended")


@router.get("/progress")
def progress(request: Request, project: str, who: Signed) -> StreamingResponse:
    """The start's steps as server-sent events; the last one is `ready` or `failed`."""
    site = site_of(request)
    declared, _, _ = _mine(site, project, who, site.clock())
    events = site.hub.progress(who.id, ProjectName(declared.metadata.name))
    streams: Streams = request.app.state.streams
    told = _stream(streams, who.id, events)
    return StreamingResponse(told, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.get("/state")
def state_now(request: Request, project: str, who: Signed) -> JSONResponse:
    """For the open page: whether it still runs, until when, and if not, why."""
    site = site_of(request)
    _, decision, workspace = _mine(site, project, who, site.clock())
    running = workspace is not None and workspace.state is WorkspaceState.running
    usable = running and (decision.allowed or decision.may_keep_running)
    if decision.refusals and not usable:
        why = " ".join(refusal.sentence for refusal in decision.refusals)
    else:
        why = "" if usable else (workspace.end_reason if workspace else "")
    facts = {
        "state": workspace.state.value if workspace else WorkspaceState.stopped.value,
        "usable": usable,
        "ends_at": workspace.ends_at.isoformat() if workspace and workspace.ends_at else None,
        "warning": workspace.warning if workspace else "",
        "why": why,
    }
    return JSONResponse(facts)


def _mine(site: Site, project: str, who: Visitor, now: dt.datetime) -> tuple[Project, Decision, WorkspaceView | None]:
    """The person's own project, their right to it now, and their workspace; raises `NotFound` for non-members."""
    with site.db.read() as session:
        declared = seen_project(session, project, who)
        if membership(declared, who.id) is None:
            raise NotFound("no-workspace", "You have no workspace in this project: you are not a member of it.")
        name = ProjectName(declared.metadata.name)
        decision = decide_now(session, site.settings, name, who.id, now, mfa=who.identity.mfa)
        return declared, decision, workspace_of(session, who.id, name)


async def _stream(streams: Streams, person: PersonId, events: AsyncIterator[dict[str, object]]) -> AsyncIterator[str]:
    """Events for the browser. A failure on the way is an event too, so that the page can say it.

    Of too many streams of one person the newest ends after a word, and its page loads itself again in a moment.
    """
    try:
        with streams.one(person):
            async for event in events:
                yield _event(event)
    except TreError as error:
        if error.status == 429:
            yield _event({"message": error.sentence})
            return
        yield _event({"failed": True, "progress": 100, "message": error.sentence})


def _event(event: dict[str, object]) -> str:
    kept = {key: event[key] for key in ("progress", "message", "ready", "failed") if key in event}
    return f"data: {json.dumps(kept)}\n\n"
