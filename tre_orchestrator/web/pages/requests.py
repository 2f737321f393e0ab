"""An author's pages: my requests, a new one from a folder of /outputs, its form, its way through, its bundle."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from tre_orchestrator.airlock import comments, release, requests
from tre_orchestrator.airlock.drafts import look_into
from tre_orchestrator.airlock.forms import Destination, Statistic
from tre_orchestrator.airlock.queues import mine
from tre_orchestrator.airlock.reading import view
from tre_orchestrator.airlock.states import AUTHOR_OWNED
from tre_orchestrator.airlock.views import RequestView
from tre_orchestrator.airlock.visibility import Side
from tre_orchestrator.catalogue.names import PersonId, ProjectName, WorkspaceId
from tre_orchestrator.errors import NotFound, Refusal, Refused, Stale, TreError
from tre_orchestrator.governance.load import load_project
from tre_orchestrator.governance.people import membership
from tre_orchestrator.web.factor import factor_given
from tre_orchestrator.web.notices import go
from tre_orchestrator.web.pages.files import file_views
from tre_orchestrator.web.render import page, tag_only
from tre_orchestrator.web.request_form import form_files, form_of, posted_files, still_missing, values_of, values_posted
from tre_orchestrator.web.sight import seen_project
from tre_orchestrator.web.site import Site, site_of
from tre_orchestrator.web.timeline import timeline
from tre_orchestrator.web.visitors import Form, Posted, Signed, Visitor
from tre_orchestrator.workspaces.lifecycle import workspace_of

router = APIRouter(dependencies=[Depends(factor_given)])
_PROJECT = "/projects/{project}/requests"


@router.get("/requests")
def my_requests(request: Request, who: Signed) -> HTMLResponse:
    """Everything I asked for, newest first."""
    site = site_of(request)
    with site.db.read() as session:
        lines = mine(session, who.id, site.clock())
    tag = "|".join(f"{line.id}{line.state}" for line in lines)
    return page(request, "requests.html", requests=lines, watch=tag)


@router.get(_PROJECT + "/new")
def new_page(request: Request, project: str, who: Signed) -> HTMLResponse:
    """Asks for the folder."""
    return _new(request, project, who)


@router.post(_PROJECT)
def create(request: Request, project: str, who: Signed, form: Posted) -> Response:
    """Look into the folder, take over what a notebook wrote there, and keep a draft."""
    site = site_of(request)
    folder = form.text("folder")
    try:
        workspace = own_workspace(site, project, who)
        found = look_into(site.courier, workspace, folder)
        if not found.files:
            sentence = f"There are no files in '{folder or '/outputs'}'. Write your results there, then try again."
            raise Refused([Refusal("empty-folder", sentence)])
        with site.db.write() as session:
            made = requests.create_draft(session, project, who.id, found.form, site.clock())
    except NotFound as error:
        if error.code == "no-project":
            raise
        return _new(request, project, who, problem=error, folder=folder)
    except TreError as error:
        return _new(request, project, who, problem=error, folder=folder)
    return go(_address(project, made.id), "draft-made")


@router.get(_PROJECT + "/{request_id}")
def request_page(request: Request, project: str, request_id: int, who: Signed) -> Response:
    """The request as this person may see it; checkers are taken to their own page."""
    site = site_of(request)
    with site.db.read() as session:
        seen = view(session, project, request_id, who.id, site.clock())
    if seen.side is Side.checker:
        return RedirectResponse(f"/queue/{project}/{request_id}", status_code=303)
    return _show(request, seen, who)


@router.post(_PROJECT + "/{request_id}/form")
def save(request: Request, project: str, request_id: int, who: Signed, form: Posted) -> Response:
    """Keep the form, and hand the request in when that button was pressed."""
    site = site_of(request)
    now = site.clock()
    try:
        with site.db.write() as session:
            version = form.number("version") or 0
            before = view(session, project, request_id, who.id, now).form
            sent = form_of(form, before)
            seen = requests.update_draft(session, project, request_id, who.id, sent, now, version=version)
        if form.text("act") != "submit":
            return go(_address(project, request_id), "draft-saved")
        workspace = own_workspace(site, project, who)
        requests.submit(
            site.db,
            site.settings,
            site.store,
            site.courier,
            project,
            request_id,
            who.id,
            site.clock(),
            version=seen.version,
            workspace=workspace,
            mfa=who.identity.mfa,
        )
    except TreError as error:
        if isinstance(error, NotFound) and error.code != "no-folder":
            raise
        return _again(request, project, request_id, who, error, form)
    return go(_address(project, request_id), "submitted")


@router.post(_PROJECT + "/{request_id}/{act}")
def act_on(request: Request, project: str, request_id: int, act: str, who: Signed, form: Posted) -> Response:
    """The author's other buttons: contest, withdraw, comment; and a controller's revoke."""
    site = site_of(request)
    now = site.clock()
    version = form.number("version") or 0
    try:
        with site.db.write() as session:
            match act:
                case "contest":
                    words = form.text("justification")
                    requests.contest(session, project, request_id, who.id, words, now, version=version)
                case "withdraw":
                    requests.withdraw(session, project, request_id, who.id, now, version=version)
                case "comment":
                    comments.comment(session, project, request_id, who.id, form.text("text"), now)
                case "revoke":
                    release.revoke(session, project, request_id, who.id, form.text("reason"), now, version=version)
                case _:
                    raise NotFound("no-page", "There is no such page, or you may not see it.")
    except NotFound:
        raise
    except TreError as error:
        return _again(request, project, request_id, who, error, None)
    done = {"contest": "contested", "withdraw": "withdrawn", "comment": "commented", "revoke": "release-revoked"}
    return go(_address(project, request_id), done[act])


@router.post(_PROJECT + "/{request_id}/bundle/download")
def download(request: Request, project: str, request_id: int, who: Signed, form: Posted) -> Response:
    """The bundle, for its author; the fetch is in the ledger before the first byte leaves."""
    return bundle_response(site_of(request), project, request_id, who.id)


def bundle_response(site: Site, project: str, request_id: int, person: PersonId) -> StreamingResponse:
    """The released bundle as a file."""
    opened = release.open_release(site.db, site.store, project, request_id, person, site.clock())
    headers = {
        "Content-Disposition": f'attachment; filename="{opened.name}"',
        "Content-Length": str(opened.size),
        "Digest": f"sha-256={opened.sha256}",
    }
    return StreamingResponse(opened.chunks, media_type="application/zip", headers=headers)


def own_workspace(site: Site, project: str, who: Visitor) -> WorkspaceId:
    """The person's workspace in the project, whose outputs are looked into."""
    with site.db.read() as session:
        name = ProjectName(seen_project(session, project, who).metadata.name)
        found = workspace_of(session, who.id, name)
    if found is None:
        sentence = "You have had no workspace in this project yet. Start it and write your results to /outputs first."
        raise Refused([Refusal("no-workspace", sentence)])
    return found.id


def _new(
    request: Request, project: str, who: Visitor, *, problem: TreError | None = None, folder: str = ""
) -> HTMLResponse:
    site = site_of(request)
    with site.db.read() as session:
        declared = seen_project(session, project, who)
        if membership(declared, who.id) is None:
            raise NotFound("not-member", "Only members of the project can ask for its results to leave.")
        workspace = workspace_of(session, who.id, ProjectName(project))
    return page(
        request,
        "request_new.html",
        problem=problem,
        project=declared,
        workspace=workspace,
        folder=folder,
        trail=[
            {"text": "Home", "href": "/"},
            {"text": declared.spec.title, "href": f"/projects/{project}"},
            {"text": "New request"},
        ],
    )


def _again(
    request: Request, project: str, request_id: int, who: Visitor, error: TreError, form: Form | None
) -> HTMLResponse:
    """The page as the request is now, with the reason at its top and what was typed still in it."""
    site = site_of(request)
    with site.db.read() as session:
        seen = view(session, project, request_id, who.id, site.clock())
    return _show(request, seen, who, problem=error, form=None if isinstance(error, Stale) else form)


def _show(
    request: Request, seen: RequestView, who: Visitor, *, problem: TreError | None = None, form: Form | None = None
) -> HTMLResponse:
    tag = f"{seen.state}|{seen.version}|{len(seen.comments)}"
    if problem is None and (answer := tag_only(request, tag)):
        return answer
    site = site_of(request)
    with site.db.read() as session:
        project = load_project(session, seen.project)
        asked_for = request.query_params.get("file", "")
        shown = file_views(session, site, seen, who, asked_for) if seen.side is Side.author else {}
    listing, look_problem, draft_problem = seen.listing, "", ""
    if form is None and seen.side is Side.author and seen.state in AUTHOR_OWNED:
        listing, look_problem, draft_problem = _look(site, seen, who)
    files = posted_files(form) if form else form_files(seen.form, listing)
    values: dict[str, Any] = values_posted(form) if form else values_of(seen.form, files)
    title = seen.title or "Untitled request"
    return page(
        request,
        "request.html",
        problem=problem,
        seen=seen,
        spec=project.spec,
        files=files,
        values=values,
        lacking=still_missing(seen.form, listing) if seen.state in AUTHOR_OWNED else [],
        look_problem=look_problem,
        draft_problem=draft_problem,
        previews=shown,
        statistics=list(Statistic),
        destinations={one.value: one.label for one in Destination},
        events=timeline(seen),
        watch=tag,
        trail=[
            {"text": "Home", "href": "/"},
            {"text": project.spec.title, "href": f"/projects/{seen.project}"},
            {"text": title},
        ],
    )


def _look(site: Site, seen: RequestView, who: Visitor) -> tuple[tuple[tuple[str, int], ...], str, str]:
    """What lies in the draft's folder now, or why that cannot be said; and why its `request.yaml` was not used."""
    try:
        found = look_into(site.courier, own_workspace(site, seen.project, who), seen.form.folder)
    except TreError as error:
        return seen.listing, error.sentence, ""
    return found.files, "", found.problem


def _address(project: str, request_id: int) -> str:
    return f"/projects/{project}/requests/{request_id}"
