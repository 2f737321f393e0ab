"""Approvers' pages: which projects wait, what changed since the last approval, the answer to exactly this version."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.responses import HTMLResponse, Response

from tre_orchestrator.catalogue.digest import Version, version_of
from tre_orchestrator.catalogue.models import Project, Role, TierPolicy
from tre_orchestrator.catalogue.names import ProjectName, Sha256
from tre_orchestrator.errors import NotFound, Refusal, TreError
from tre_orchestrator.governance.approvals import answers_given, approve, refuse, why_not_answer
from tre_orchestrator.governance.facts import ProjectStatus, project_status
from tre_orchestrator.governance.load import list_projects
from tre_orchestrator.web.notices import go
from tre_orchestrator.web.render import page
from tre_orchestrator.web.sight import seen_project
from tre_orchestrator.web.site import Site, site_of
from tre_orchestrator.web.visitors import Posted, Signed, Visitor

router = APIRouter(prefix="/approvals")


@dataclass(frozen=True, slots=True)
class Part:
    """A role that this person may answer in: why not now, if so."""

    role: Role
    why_not: Refusal | None


def parts_of(
    session: Session, project: Project, policy: TierPolicy | None, who: Visitor, now: dt.datetime
) -> list[Part]:
    """The roles this tier asks for that the person holds."""
    if policy is None:
        return []
    given = answers_given(session, ProjectName(project.metadata.name), version_of(project, policy))
    return [
        Part(role, why_not_answer(project, policy, role, who.person, given, now))
        for role in policy.approvals
        if who.is_(role)
    ]


def statuses(session: Session, site: Site, now: dt.datetime) -> list[ProjectStatus]:
    """Where every project stands."""
    return [
        project_status(session, site.settings, ProjectName(project.metadata.name), now)
        for project in list_projects(session)
    ]


def waiting_for(session: Session, site: Site, who: Visitor, now: dt.datetime) -> list[ProjectStatus]:
    """The projects on which this person could answer now and nobody in that role has."""
    return [status for status in statuses(session, site, now) if _waits(session, status, who, now)]


def _waits(session: Session, status: ProjectStatus, who: Visitor, now: dt.datetime) -> bool:
    parts = parts_of(session, status.project, status.tier_policy, who, now)
    return any(part.why_not is None and status.approvals.get(part.role) is None for part in parts)


@router.get("")
def approvals_page(request: Request, who: Signed) -> HTMLResponse:
    """Every project, those that wait for this person first."""
    _refuse_outsiders(who)
    site = site_of(request)
    now = site.clock()
    with site.db.read() as session:
        every = statuses(session, site, now)
        waiting = [status for status in every if _waits(session, status, who, now)]
    names = {status.project.metadata.name for status in waiting}
    others = [status for status in every if status.project.metadata.name not in names]
    tag = "|".join(f"{status.project.metadata.name}:{status.digest}:{status.controls}" for status in waiting)
    return page(request, "approvals.html", waiting=waiting, others=others, watch=tag)


@router.get("/{project}")
def approval_page(request: Request, project: str, who: Signed) -> HTMLResponse:
    """One project, as it would be approved."""
    return _show(request, project, who)


@router.post("/{project}")
def answer(request: Request, project: str, who: Signed, form: Posted) -> Response:
    """Approve or refuse the version that was shown. What changed meanwhile is shown again with 409."""
    _refuse_outsiders(who)
    site = site_of(request)
    now = site.clock()
    approved = form.text("answer") == "approve"
    try:
        role = Role(form.text("role"))
    except ValueError:
        raise NotFound("no-role", "There is no such role.") from None
    try:
        with site.db.write() as session:
            name = ProjectName(seen_project(session, project, who).metadata.name)
            seen = Version(Sha256(form.text("digest")), Sha256(form.text("controls")))
            if approved:
                approve(session, name, role, seen, who.id, now)
            else:
                refuse(session, name, role, seen, who.id, form.text("reason"), now)
    except TreError as error:
        return _show(request, project, who, problem=error, reason=form.text("reason"))
    return go(f"/projects/{name}", "approved" if approved else "refused")


def _show(
    request: Request, project: str, who: Visitor, *, problem: TreError | None = None, reason: str = ""
) -> HTMLResponse:
    _refuse_outsiders(who)
    site = site_of(request)
    now = site.clock()
    with site.db.read() as session:
        declared = seen_project(session, project, who)
        status = project_status(session, site.settings, ProjectName(declared.metadata.name), now)
        parts = parts_of(session, declared, status.tier_policy, who, now)
    return page(
        request,
        "approval.html",
        problem=problem,
        spec=declared.spec,
        status=status,
        answer_parts=parts,
        reason=reason,
        trail=[{"text": "Approvals", "href": "/approvals"}, {"text": declared.spec.title}],
    )


def _refuse_outsiders(who: Visitor) -> None:
    if not (who.is_(Role.approver) or who.is_(Role.ops)):
        raise NotFound("no-page", "There is no such page, or you may not see it.")
