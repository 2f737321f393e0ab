"""Requests for programs: draft, submit, vote, decide, fetch the bundle. Every answer is the request as its caller may
see it; a write names the version it was made on, and a stale one gets 409.
"""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse, StreamingResponse

from tre_orchestrator.airlock import comments, release, requests, reviews
from tre_orchestrator.airlock.drafts import look_into
from tre_orchestrator.airlock.forms import DraftForm
from tre_orchestrator.airlock.queues import mine, of_project, queue
from tre_orchestrator.airlock.reading import view
from tre_orchestrator.airlock.votes import Vote
from tre_orchestrator.web.api.plain import reply
from tre_orchestrator.web.factor import factor_given
from tre_orchestrator.web.pages.requests import bundle_response, own_workspace
from tre_orchestrator.web.sight import seen_project
from tre_orchestrator.web.site import site_of
from tre_orchestrator.web.visitors import Checker, Signed, Writer

router = APIRouter(prefix="/api", dependencies=[Depends(factor_given)])
_PROJECT = "/projects/{project}/requests"
_ONE = _PROJECT + "/{request_id}"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewRequest(_Strict):
    """A draft from a folder (what a notebook prepared there is taken over) or from a whole form."""

    folder: str = ""
    form: DraftForm | None = None


class OnVersion(_Strict):
    """The version of the request that the caller looked at."""

    version: int


class FormOnVersion(OnVersion):
    """The new form."""

    form: DraftForm


class ReasonOnVersion(OnVersion):
    """Why."""

    reason: str = ""


class VoteOnFile(ReasonOnVersion):
    """A vote on one file."""

    path: str
    vote: Vote


class Comment(_Strict):
    """A remark on the request or one file of it."""

    text: str
    path: str = ""
    public: bool = False


@router.get("/requests")
def my_requests(request: Request, who: Signed) -> JSONResponse:
    """The caller's own requests, newest first."""
    site = site_of(request)
    with site.db.read() as session:
        return reply(mine(session, who.id, site.clock()))


@router.get("/queue")
def checkers_queue(request: Request, who: Checker) -> JSONResponse:
    """What the caller can act on as a checker."""
    site = site_of(request)
    with site.db.read() as session:
        return reply(queue(session, who.id, site.clock()))


@router.get(_PROJECT)
def project_requests(request: Request, project: str, who: Signed) -> JSONResponse:
    """The project's requests that the caller may see."""
    site = site_of(request)
    with site.db.read() as session:
        name = seen_project(session, project, who).metadata.name
        return reply(of_project(session, name, who.id, site.clock()))


@router.post(_PROJECT)
def create(request: Request, project: str, who: Writer, body: NewRequest) -> JSONResponse:
    """A new draft."""
    site = site_of(request)
    form = body.form
    if form is None:
        form = look_into(site.courier, own_workspace(site, project, who), body.folder).form
    with site.db.write() as session:
        seen_project(session, project, who)
        return reply(requests.create_draft(session, project, who.id, form, site.clock()), 201)


@router.get(_ONE)
def show(request: Request, project: str, request_id: int, who: Signed) -> JSONResponse:
    """One request."""
    site = site_of(request)
    with site.db.read() as session:
        return reply(view(session, project, request_id, who.id, site.clock()))


@router.post(_ONE + "/form")
def save_form(request: Request, project: str, request_id: int, who: Writer, body: FormOnVersion) -> JSONResponse:
    """Replace the form."""
    site = site_of(request)
    with site.db.write() as session:
        now, version = site.clock(), body.version
        return reply(requests.update_draft(session, project, request_id, who.id, body.form, now, version=version))


@router.post(_ONE + "/submission")
def submit(request: Request, project: str, request_id: int, who: Writer, body: OnVersion) -> JSONResponse:
    """Copy the folder and hand the request in."""
    site = site_of(request)
    handed_in = requests.submit(
        site.db,
        site.settings,
        site.store,
        site.courier,
        project,
        request_id,
        who.id,
        site.clock(),
        version=body.version,
        workspace=own_workspace(site, project, who),
        mfa=who.identity.mfa,
    )
    return reply(handed_in)


@router.post(_ONE + "/contest")
def contest(request: Request, project: str, request_id: int, who: Writer, body: ReasonOnVersion) -> JSONResponse:
    """Ask for review although a check stopped a file."""
    site = site_of(request)
    with site.db.write() as session:
        now, version = site.clock(), body.version
        return reply(requests.contest(session, project, request_id, who.id, body.reason, now, version=version))


@router.post(_ONE + "/withdrawal")
def withdraw(request: Request, project: str, request_id: int, who: Writer, body: OnVersion) -> JSONResponse:
    """Take the request back for good."""
    site = site_of(request)
    with site.db.write() as session:
        return reply(requests.withdraw(session, project, request_id, who.id, site.clock(), version=body.version))


@router.post(_ONE + "/votes")
def vote(request: Request, project: str, request_id: int, who: Writer, body: VoteOnFile) -> JSONResponse:
    """Vote on one file."""
    site = site_of(request)
    with site.db.write() as session:
        seen = reviews.cast_vote(
            session,
            project,
            request_id,
            body.path,
            who.id,
            body.vote,
            body.reason,
            version=body.version,
            now=site.clock(),
        )
        return reply(seen, 201)


@router.post(_ONE + "/review")
def submit_review(request: Request, project: str, request_id: int, who: Writer, body: OnVersion) -> JSONResponse:
    """Hand in the review of this turn."""
    site = site_of(request)
    with site.db.write() as session:
        return reply(reviews.submit_review(session, project, request_id, who.id, site.clock(), version=body.version))


@router.post(_ONE + "/claim")
def claim(request: Request, project: str, request_id: int, who: Writer, body: OnVersion) -> JSONResponse:
    """Tell other checkers that you are on it."""
    site = site_of(request)
    with site.db.write() as session:
        return reply(reviews.claim(session, project, request_id, who.id, site.clock(), version=body.version))


@router.post(_ONE + "/return")
def give_back(request: Request, project: str, request_id: int, who: Writer, body: ReasonOnVersion) -> JSONResponse:
    """Give the request back with what has to change."""
    site = site_of(request)
    with site.db.write() as session:
        now, version = site.clock(), body.version
        return reply(reviews.return_(session, project, request_id, who.id, body.reason, now, version=version))


@router.post(_ONE + "/rejection")
def reject(request: Request, project: str, request_id: int, who: Writer, body: ReasonOnVersion) -> JSONResponse:
    """End the request: this must not leave."""
    site = site_of(request)
    with site.db.write() as session:
        now, version = site.clock(), body.version
        return reply(reviews.reject(session, project, request_id, who.id, body.reason, now, version=version))


@router.post(_ONE + "/recheck")
def recheck(request: Request, project: str, request_id: int, who: Writer, body: OnVersion) -> JSONResponse:
    """Check again under today's policy."""
    site = site_of(request)
    with site.db.write() as session:
        return reply(reviews.recheck(session, project, request_id, who.id, site.clock(), version=body.version))


@router.post(_ONE + "/revocation")
def revoke(request: Request, project: str, request_id: int, who: Writer, body: ReasonOnVersion) -> JSONResponse:
    """End a release."""
    site = site_of(request)
    with site.db.write() as session:
        now, version = site.clock(), body.version
        return reply(release.revoke(session, project, request_id, who.id, body.reason, now, version=version))


@router.post(_ONE + "/comments")
def comment(request: Request, project: str, request_id: int, who: Writer, body: Comment) -> JSONResponse:
    """Say something about the request."""
    site = site_of(request)
    with site.db.write() as session:
        seen = comments.comment(
            session, project, request_id, who.id, body.text, site.clock(), path=body.path, public=body.public
        )
        return reply(seen, 201)


@router.get(_ONE + "/bundle")
def bundle(request: Request, project: str, request_id: int, who: Writer) -> StreamingResponse:
    """The released bundle, for its author. Reading it is recorded, so a browser's session must send its token too."""
    return bundle_response(site_of(request), project, request_id, who.id)
