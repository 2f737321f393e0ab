"""The first page: for each part that a person has, what is theirs and what waits for them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.responses import HTMLResponse

from tre_orchestrator.airlock.queues import mine, queue
from tre_orchestrator.catalogue.models import Project, Role
from tre_orchestrator.catalogue.names import ProjectName
from tre_orchestrator.governance.facts import decide_now
from tre_orchestrator.governance.load import projects_of
from tre_orchestrator.governance.model import Decision
from tre_orchestrator.web.pages.approvals import waiting_for
from tre_orchestrator.web.pages.datasets import attention
from tre_orchestrator.web.render import page
from tre_orchestrator.web.site import Site, site_of
from tre_orchestrator.web.visitors import Signed, Visitor
from tre_orchestrator.workspaces.lifecycle import WorkspaceView, workspace_of

router = APIRouter()
_RECENT = 5


@dataclass(frozen=True, slots=True)
class ProjectCard:
    """A member's project: whether they may work in it now, and their workspace."""

    project: Project
    decision: Decision
    workspace: WorkspaceView | None


def cards(session: Session, site: Site, who: Visitor, now: dt.datetime) -> list[ProjectCard]:
    """The person's own projects, those they can work in first."""
    found = [
        ProjectCard(
            project,
            decide_now(session, site.settings, ProjectName(project.metadata.name), who.id, now, mfa=who.identity.mfa),
            workspace_of(session, who.id, ProjectName(project.metadata.name)),
        )
        for project in projects_of(session, who.id)
    ]
    return sorted(found, key=lambda card: not card.decision.allowed)


@router.get("/")
def home(request: Request, who: Signed) -> HTMLResponse:
    """The person's first page."""
    site = site_of(request)
    now = site.clock()
    with site.db.read() as session:
        own = cards(session, site, who, now)
        requests = mine(session, who.id, now)[:_RECENT]
        waiting = queue(session, who.id, now) if who.is_(Role.checker) else ()
        approvals = waiting_for(session, site, who, now) if who.is_(Role.approver) else []
        data = attention(session, site, who, now) if who.organisations else None
    processes = site.machine.health(site.settings) if who.is_(Role.ops) else []
    return page(
        request,
        "home.html",
        cards=own,
        requests=requests,
        queue=waiting,
        approvals=approvals,
        data=data,
        processes=processes,
    )
