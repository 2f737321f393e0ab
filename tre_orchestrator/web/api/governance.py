"""Catalogue, approvals, grants and decisions for programs: the same functions as the pages, with the person's token."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse

from tre_orchestrator.catalogue.digest import Version, policy_digest
from tre_orchestrator.catalogue.models import Role
from tre_orchestrator.catalogue.names import DatasetName, OrganisationName, PersonId, ProjectName, Sha256
from tre_orchestrator.catalogue.read import parse_documents
from tre_orchestrator.errors import Refusal, Refused
from tre_orchestrator.governance.apply import apply
from tre_orchestrator.governance.approvals import approve, refuse
from tre_orchestrator.governance.copies import decide_copies, open_holds
from tre_orchestrator.governance.facts import decide_now, project_status
from tre_orchestrator.governance.grants import grant, revoke
from tre_orchestrator.ledger.append import person as actor
from tre_orchestrator.web.api.plain import reply
from tre_orchestrator.web.pages.datasets import uses
from tre_orchestrator.web.sight import seen_project, seen_projects
from tre_orchestrator.web.site import site_of
from tre_orchestrator.web.visitors import Controller, Signed, Writer

router = APIRouter(prefix="/api")
_DOCUMENTS_MAX = 2000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Answer(_Strict):
    """An approval: in which role, of which project by its digest, under which controls by theirs."""

    role: Role
    digest: str
    controls: str

    @property
    def seen(self) -> Version:
        """The version that the caller looked at."""
        return Version(Sha256(self.digest), Sha256(self.controls))


class RefusedAnswer(Answer):
    """A refusal: also why."""

    reason: str


class Terms(_Strict):
    """A grant's terms; `digest` is of the project as the caller looked at it."""

    version: str
    project: str
    digest: str
    organisation: str
    until: dt.date
    grace_seconds: int = 0
    conditions: str = ""


class Reason(_Strict):
    """Why."""

    reason: str


class Choice(_Strict):
    """What becomes of copies: delete, or release-hold."""

    decision: str


@router.post("/catalogue")
def apply_catalogue(
    request: Request, who: Writer, documents: Annotated[list[Any], Body(max_length=_DOCUMENTS_MAX)]
) -> JSONResponse:
    """Declare objects: all of them, or none and every reason why."""
    site = site_of(request)
    objects = parse_documents(documents)
    with site.db.write() as session:
        return reply(apply(session, objects, actor(who.id), site.clock()))


@router.get("/projects")
def projects(request: Request, who: Signed) -> JSONResponse:
    """The projects the caller may look at."""
    with site_of(request).db.read() as session:
        return reply(
            [
                {
                    "name": project.metadata.name,
                    "title": project.spec.title,
                    "tier": project.spec.tier,
                    "start": project.spec.start,
                    "end": project.spec.end,
                }
                for project in seen_projects(session, who)
            ]
        )


@router.get("/projects/{project}")
def project_now(request: Request, project: str, who: Signed) -> JSONResponse:
    """A project and where it stands."""
    site = site_of(request)
    with site.db.read() as session:
        declared = seen_project(session, project, who)
        status = project_status(session, site.settings, ProjectName(declared.metadata.name), site.clock())
    return reply(
        {
            "project": declared,
            "digest": status.digest,
            "controls": status.controls,
            "ready": status.ready,
            "refusals": status.refusals,
            "edits": status.edits,
            "approvals": {
                role: {"person": one.person, "approved": one.approved, "at": one.at, "reason": one.reason}
                if one
                else None
                for role, one in status.approvals.items()
            },
            "grants": status.grants,
        }
    )


@router.get("/projects/{project}/decision")
def decision(request: Request, project: str, who: Signed, person: str = "") -> JSONResponse:
    """May a person work in this project now, and if not, every reason. Others than oneself: ops and approvers only."""
    site = site_of(request)
    about = PersonId(person or who.id)
    if about != who.id and not (who.is_(Role.ops) or who.is_(Role.approver)):
        sentence = "You may ask about yourself only; ops and approvers may ask about anybody."
        raise Refused([Refusal("not-about-others", sentence)])
    mfa = who.identity.mfa if about == who.id else None
    with site.db.read() as session:
        name = ProjectName(seen_project(session, project, who).metadata.name)
        found = decide_now(session, site.settings, name, about, site.clock(), mfa=mfa)
    return reply(
        {
            "project": name,
            "person": about,
            "allowed": found.allowed,
            "refusals": found.refusals,
            "until": found.until,
            "ends_because": found.ends_because,
            "digest": found.digest,
            "controls": policy_digest(found.tier_policy),
            "grace_seconds": found.grace_seconds,
            "datasets": [
                {"name": one.name, "version": one.version, "manifest": one.manifest} for one in found.datasets
            ],
        }
    )


@router.post("/projects/{project}/approvals")
def approve_project(request: Request, project: str, who: Writer, body: Answer) -> JSONResponse:
    """Approve exactly the version with these digests."""
    site = site_of(request)
    with site.db.write() as session:
        name = ProjectName(seen_project(session, project, who).metadata.name)
        approve(session, name, body.role, body.seen, who.id, site.clock())
    return reply({"project": name, "digest": body.digest, "approved": True}, 201)


@router.post("/projects/{project}/refusals")
def refuse_project(request: Request, project: str, who: Writer, body: RefusedAnswer) -> JSONResponse:
    """Refuse this version, saying why."""
    site = site_of(request)
    with site.db.write() as session:
        name = ProjectName(seen_project(session, project, who).metadata.name)
        refuse(session, name, body.role, body.seen, who.id, body.reason, site.clock())
    return reply({"project": name, "digest": body.digest, "approved": False}, 201)


@router.get("/datasets")
def my_datasets(request: Request, who: Controller) -> JSONResponse:
    """For a controller: every project that asks for the organisation's data, its live grant, and held copies."""
    site = site_of(request)
    with site.db.read() as session:
        return reply(
            {
                "uses": uses(session, site, who, site.clock()),
                "copies": open_holds(session, organisations=who.organisations),
            }
        )


@router.post("/datasets/{dataset}/grants")
def give_grant(request: Request, dataset: str, who: Writer, body: Terms) -> JSONResponse:
    """Let a project use a dataset version until a day."""
    site = site_of(request)
    with site.db.write() as session:
        given = grant(
            session,
            DatasetName(dataset),
            body.version,
            ProjectName(body.project),
            OrganisationName(body.organisation),
            who.id,
            site.clock(),
            seen=Sha256(body.digest),
            until=body.until,
            grace_seconds=body.grace_seconds,
            conditions=body.conditions,
        )
    return reply(given, 201)


@router.post("/grants/{grant_id}/revocation")
def revoke_grant(request: Request, grant_id: str, who: Writer, body: Reason) -> JSONResponse:
    """Take a grant back now."""
    site = site_of(request)
    with site.db.write() as session:
        return reply(revoke(session, grant_id, who.id, body.reason, site.clock()))


@router.post("/copies/{hold}/decision")
def decide_on_copies(request: Request, hold: str, who: Writer, body: Choice) -> JSONResponse:
    """Say what becomes of copies that a project made before its right ended."""
    site = site_of(request)
    with site.db.write() as session:
        return reply(decide_copies(session, hold, body.decision, who.id, site.clock()))
