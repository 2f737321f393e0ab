"""Controllers' pages: their data, who can use it now, what waits for them; grant, revoke, decide on copies."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.responses import HTMLResponse, Response

from tre_orchestrator.catalogue.models import Dataset
from tre_orchestrator.catalogue.names import DatasetName, OrganisationName, ProjectName, Sha256, is_name
from tre_orchestrator.errors import Invalid, NotFound, TreError
from tre_orchestrator.governance.copies import CopyHold, decide_copies, open_holds
from tre_orchestrator.governance.datasets import manifests_of
from tre_orchestrator.governance.facts import project_status
from tre_orchestrator.governance.grants import grant, grants_of_dataset, is_live, revoke
from tre_orchestrator.governance.load import find, list_datasets, list_projects
from tre_orchestrator.governance.model import Grant
from tre_orchestrator.governance.people import controls_for
from tre_orchestrator.web.notices import go
from tre_orchestrator.web.render import page, parse_day
from tre_orchestrator.web.site import Site, site_of
from tre_orchestrator.web.visitors import Controller, Posted, Visitor

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Use:
    """A project that asks for a version of a dataset, and this organisation's grant of it, if any.

    `digest` is of the project; `edited` says that it is another one than the grant was given to.
    """

    dataset: str
    title: str
    version: str
    project: str
    project_title: str
    tier: int
    purpose: str
    organisation: str
    digest: Sha256
    live: Grant | None
    can_start: bool

    @property
    def edited(self) -> bool:
        """Whether the project was edited after its controller looked at it and granted."""
        return self.live is not None and self.live.project_digest not in ("", self.digest)

    @property
    def waits(self) -> bool:
        """Whether the controller has something to decide."""
        return self.live is None or self.edited


@dataclass(frozen=True, slots=True)
class Attention:
    """What waits for a controller."""

    waiting: list[Use]
    holds: list[CopyHold]


def uses(session: Session, site: Site, who: Visitor, now: dt.datetime) -> list[Use]:
    """Every project that asks for data of this person's organisations."""
    mine = {dataset.metadata.name: dataset for dataset in _my_datasets(session, who)}
    found = []
    for project in list_projects(session):
        if not any(use.name in mine for use in project.spec.datasets):
            continue
        status = project_status(session, site.settings, ProjectName(project.metadata.name), now)
        found += [
            Use(
                dataset=part.dataset,
                title=mine[part.dataset].spec.title,
                version=part.version,
                project=project.metadata.name,
                project_title=project.spec.title,
                tier=project.spec.tier,
                purpose=project.spec.purpose,
                organisation=part.organisation,
                digest=status.digest,
                live=part.grant if part.live else None,
                can_start=status.ready,
            )
            for part in status.grants
            if part.dataset in mine and controls_for(who.person, part.organisation)
        ]
    return found


def attention(session: Session, site: Site, who: Visitor, now: dt.datetime) -> Attention:
    """What waits for this controller now."""
    waiting = [use for use in uses(session, site, who, now) if use.waits]
    holds = [hold for hold in open_holds(session, organisations=who.organisations) if hold.decision is None]
    return Attention(waiting, holds)


@router.get("/datasets")
def datasets_page(request: Request, who: Controller) -> HTMLResponse:
    """My datasets, and what waits for me."""
    site = site_of(request)
    now = site.clock()
    with site.db.read() as session:
        datasets = _my_datasets(session, who)
        found = uses(session, site, who, now)
        holds = open_holds(session, organisations=who.organisations)
    tag = "|".join(
        [*(f"{use.project}:{use.digest}:{use.live.id if use.live else ''}" for use in found), *(h.id for h in holds)]
    )
    return page(request, "datasets.html", datasets=datasets, uses=found, holds=holds, watch=tag)


@router.get("/datasets/{dataset}")
def dataset_page(request: Request, dataset: str, who: Controller) -> HTMLResponse:
    """One dataset: versions, grants, waiting projects, held copies."""
    return _show(request, dataset, who)


@router.post("/datasets/{dataset}/grants")
def grant_form(request: Request, dataset: str, who: Controller, form: Posted) -> Response:
    """Grant a project the use of a version."""
    site = site_of(request)
    try:
        until = parse_day(form.text("until"))
        if until is None:
            raise Invalid("grant-until", "Last day: choose a date, such as 2027-03-31.")
        grace = form.number("grace")
        if grace is None:
            raise Invalid("grant-grace", "Grace: write a whole number of minutes, 0 for none.")
        with site.db.write() as session:
            _my_dataset(session, dataset, who)
            grant(
                session,
                DatasetName(dataset),
                form.text("version"),
                ProjectName(form.text("project")),
                OrganisationName(form.text("organisation")),
                who.id,
                site.clock(),
                seen=Sha256(form.text("digest")),
                until=until,
                grace_seconds=grace * 60,
                conditions=form.text("conditions"),
            )
    except TreError as error:
        return _show(request, dataset, who, problem=error, posted={name: form.text(name) for name in form.data})
    return go(f"/datasets/{dataset}", "granted")


@router.get("/datasets/{dataset}/grants/{grant_id}")
def revoke_page(request: Request, dataset: str, grant_id: str, who: Controller) -> HTMLResponse:
    """Asks once before a grant is taken back, naming the effect."""
    return _confirm(request, dataset, grant_id, who)


@router.post("/datasets/{dataset}/grants/{grant_id}")
def revoke_form(request: Request, dataset: str, grant_id: str, who: Controller, form: Posted) -> Response:
    """Take a grant back."""
    site = site_of(request)
    try:
        with site.db.write() as session:
            _my_grant(session, dataset, grant_id, who)
            revoke(session, grant_id, who.id, form.text("reason"), site.clock())
    except NotFound:
        raise
    except TreError as error:
        return _confirm(request, dataset, grant_id, who, problem=error)
    return go(f"/datasets/{dataset}", "revoked")


@router.post("/datasets/{dataset}/copies/{hold}")
def copies_form(request: Request, dataset: str, hold: str, who: Controller, form: Posted) -> Response:
    """Say what becomes of held copies."""
    site = site_of(request)
    decision = form.text("decision")
    try:
        with site.db.write() as session:
            _my_dataset(session, dataset, who)
            decide_copies(session, hold, decision, who.id, site.clock())
    except TreError as error:
        return _show(request, dataset, who, problem=error)
    return go(f"/datasets/{dataset}", f"copies-{decision}")


def _show(
    request: Request,
    dataset: str,
    who: Visitor,
    *,
    problem: TreError | None = None,
    posted: dict[str, str] | None = None,
) -> HTMLResponse:
    site = site_of(request)
    now = site.clock()
    with site.db.read() as session:
        found = _my_dataset(session, dataset, who)
        name = DatasetName(dataset)
        grants = [one for one in grants_of_dataset(session, name) if controls_for(who.person, one.organisation)]
        asked = [use for use in uses(session, site, who, now) if use.dataset == dataset]
        held = open_holds(session, organisations=who.organisations)
        manifests = {manifest.version: manifest for manifest in manifests_of(session, name)}
    return page(
        request,
        "dataset.html",
        problem=problem,
        dataset=found,
        spec=found.spec,
        live=[one for one in grants if is_live(one, now)],
        ended=[one for one in grants if not is_live(one, now)],
        uses=asked,
        holds=[hold for hold in held if hold.dataset == dataset],
        manifests=manifests,
        posted=posted or {},
        default_until=(now + dt.timedelta(days=180)).date(),
        trail=[{"text": "Datasets", "href": "/datasets"}, {"text": found.spec.title}],
    )


def _confirm(
    request: Request, dataset: str, grant_id: str, who: Visitor, *, problem: TreError | None = None
) -> HTMLResponse:
    with site_of(request).db.read() as session:
        found = _my_dataset(session, dataset, who)
        chosen = _my_grant(session, dataset, grant_id, who)
    return page(
        request,
        "revoke.html",
        problem=problem,
        dataset=found,
        grant=chosen,
        is_live=is_live(chosen, site_of(request).clock()),
        trail=[
            {"text": "Datasets", "href": "/datasets"},
            {"text": found.spec.title, "href": f"/datasets/{dataset}"},
            {"text": "Revoke"},
        ],
    )


def _my_datasets(session: Session, who: Visitor) -> list[Dataset]:
    return [one for one in list_datasets(session) if set(one.spec.controllers) & set(who.organisations)]


def _my_dataset(session: Session, name: str, who: Visitor) -> Dataset:
    found = find(session, Dataset, name) if is_name(name) else None
    if found is None or not set(found.spec.controllers) & set(who.organisations):
        raise NotFound("no-dataset", "There is no such dataset among those of your organisation.")
    return found


def _my_grant(session: Session, dataset: str, grant_id: str, who: Visitor) -> Grant:
    _my_dataset(session, dataset, who)
    for one in grants_of_dataset(session, DatasetName(dataset)):
        if one.id == grant_id and controls_for(who.person, one.organisation):
            return one
    raise NotFound("no-grant", "There is no such grant among those of your organisation.")
