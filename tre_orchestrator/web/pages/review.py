"""Checkers' pages: the queue across projects, and one request with everything a decision needs."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tre_orchestrator.airlock import comments, release, reviews
from tre_orchestrator.airlock.queues import of_project, queue
from tre_orchestrator.airlock.reading import view
from tre_orchestrator.airlock.states import State
from tre_orchestrator.airlock.visibility import Side
from tre_orchestrator.airlock.votes import Vote
from tre_orchestrator.errors import Invalid, NotFound, TreError
from tre_orchestrator.governance.load import load_project
from tre_orchestrator.web.factor import factor_given
from tre_orchestrator.web.notices import go
from tre_orchestrator.web.pages.files import file_views
from tre_orchestrator.web.render import page, tag_only
from tre_orchestrator.web.site import site_of
from tre_orchestrator.web.timeline import timeline
from tre_orchestrator.web.visitors import Checker, Form, Posted, Signed, Visitor

router = APIRouter(prefix="/queue", dependencies=[Depends(factor_given)])
_ACTS = {
    "review": "review-in",
    "return": "returned",
    "reject": "rejected",
    "claim": "claimed",
    "recheck": "rechecked",
    "revoke": "release-revoked",
    "comment": "commented",
}


@router.get("")
def queue_page(request: Request, who: Checker) -> HTMLResponse:
    """What this checker can act on."""
    site = site_of(request)
    project = request.query_params.get("project", "")
    with site.db.read() as session:
        every = queue(session, who.id, site.clock())
    lines = [line for line in every if not project or line.project == project]
    tag = "|".join(f"{line.id}{line.state}{line.reviews_in}{line.claimed_by}" for line in lines)
    projects = sorted({line.project for line in every})
    return page(request, "queue.html", lines=lines, project=project, projects=projects, watch=tag)


@router.get("/{project}/{request_id}")
def review_page(request: Request, project: str, request_id: int, who: Signed) -> Response:
    """One request, for a checker; its author and members are taken to their own page."""
    return _show(request, project, request_id, who)


@router.post("/{project}/{request_id}/votes")
def vote(request: Request, project: str, request_id: int, who: Signed, form: Posted) -> Response:
    """Vote on one file."""
    site = site_of(request)
    path, file_id = form.exact("path"), form.number("file") or 0
    try:
        if form.text("vote") not in set(Vote):
            raise Invalid("vote", f"Choose a vote on '{path}': approve, or request changes.")
        with site.db.write() as session:
            reviews.cast_vote(
                session,
                project,
                request_id,
                path,
                who.id,
                Vote(form.text("vote")),
                form.text("reason"),
                version=form.number("version") or 0,
                now=site.clock(),
            )
    except NotFound:
        raise
    except TreError as error:
        return _show(request, project, request_id, who, problem=error, form=form)
    return RedirectResponse(f"/queue/{project}/{request_id}?done=voted#file-{file_id}", status_code=303)


@router.post("/{project}/{request_id}/{act}")
def act_on(request: Request, project: str, request_id: int, act: str, who: Signed, form: Posted) -> Response:
    """The checkers' other buttons."""
    site = site_of(request)
    if act not in _ACTS:
        raise NotFound("no-page", "There is no such page, or you may not see it.")
    place = (project, request_id, who.id)
    version, reason, now = form.number("version") or 0, form.text("reason"), site.clock()
    try:
        with site.db.write() as session:
            match act:
                case "review":
                    reviews.submit_review(session, *place, now, version=version)
                case "return":
                    reviews.return_(session, *place, reason, now, version=version)
                case "reject":
                    reviews.reject(session, *place, reason, now, version=version)
                case "claim":
                    reviews.claim(session, *place, now, version=version)
                case "recheck":
                    reviews.recheck(session, *place, now, version=version)
                case "revoke":
                    release.revoke(session, *place, reason, now, version=version)
                case "comment":
                    path, public = form.exact("path"), form.ticked("public")
                    comments.comment(session, *place, form.text("text"), now, path=path, public=public)
    except NotFound:
        raise
    except TreError as error:
        return _show(request, project, request_id, who, problem=error, form=form)
    return go(f"/queue/{project}/{request_id}", _ACTS[act])


def _show(
    request: Request,
    project: str,
    request_id: int,
    who: Visitor,
    *,
    problem: TreError | None = None,
    form: Form | None = None,
) -> Response:
    """The request as it is now; after a refusal with its reason and what was typed."""
    site = site_of(request)
    now = site.clock()
    with site.db.read() as session:
        seen = view(session, project, request_id, who.id, now)
        if seen.side is not Side.checker:
            if problem is not None:
                raise problem
            return RedirectResponse(f"/projects/{project}/requests/{request_id}", status_code=303)
        tag = f"{seen.state}|{seen.version}|{seen.reviews_in}|{len(seen.comments)}"
        if problem is None and (answer := tag_only(request, tag)):
            return answer
        spec = load_project(session, project).spec
        earlier = [
            line
            for line in of_project(session, project, who.id, now)
            if line.state is State.released and line.id != seen.id
        ]
        shown = file_views(session, site, seen, who, request.query_params.get("file", ""))
    return page(
        request,
        "review.html",
        problem=problem,
        seen=seen,
        spec=spec,
        previews=shown,
        earlier=earlier,
        events=timeline(seen),
        posted={name: form.text(name) for name in form.data} if form else {},
        watch=tag,
        trail=[{"text": "Queue", "href": "/queue"}, {"text": seen.title or f"Request {seen.id}"}],
    )
