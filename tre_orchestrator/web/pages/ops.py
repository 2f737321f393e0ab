"""Operations: how the processes do, whether the lock was proven, what runs, and the ledger's last word to take away."""

from __future__ import annotations

import datetime as dt

from fastapi import APIRouter, Request
from sqlalchemy import select
from starlette.responses import HTMLResponse, Response

from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.errors import NotFound, TreError
from tre_orchestrator.governance.invitations import invite as invite_person
from tre_orchestrator.governance.invitations import reset as reset_person
from tre_orchestrator.governance.load import list_people, load_person
from tre_orchestrator.ledger.checkpoints import latest_checkpoint
from tre_orchestrator.ledger.read import size
from tre_orchestrator.web.render import page
from tre_orchestrator.web.site import site_of
from tre_orchestrator.web.visitors import Ops, Posted, Visitor
from tre_orchestrator.workspaces.lifecycle import in_state
from tre_orchestrator.workspaces.tables import ProofRow, WorkspaceState

router = APIRouter(prefix="/ops")
_PROOFS = 10
_FIELDS = {
    "has-password": "person",  # pragma: allowlist secret
    "signed-in-before": "person",
    "own-reset": "reset-person",
}
"""Which field a problem is about."""


@router.get("")
def ops_page(request: Request, who: Ops) -> HTMLResponse:
    """Everything at a glance."""
    return _show(request, who)


@router.post("/invitations")
def invite(request: Request, who: Ops, form: Posted) -> HTMLResponse:
    """A one-time link for somebody who cannot sign in yet; shown once, stored as a hash, recorded in the ledger."""
    site = site_of(request)
    try:
        with site.db.write() as session:
            person = load_person(session, form.text("person"))
            name = PersonId(person.metadata.name)
            token = invite_person(session, name, who.id, site.clock())
    except TreError as error:
        return _show(request, who, problem=error)
    link = site.settings.sign_in_link(token)
    return _show(request, who, invitation=(name, link))


@router.post("/resets")
def reset(request: Request, who: Ops, form: Posted) -> HTMLResponse:
    """For somebody who lost their password: the second operator who asks ends it, and is shown a one-time link."""
    site = site_of(request)
    try:
        with site.db.write() as session:
            name = PersonId(load_person(session, form.text("person")).metadata.name)
            token = reset_person(session, name, who.id, site.clock())
    except TreError as error:
        return _show(request, who, problem=error)
    if token is None:
        return _show(request, who, asked=name)
    return _show(request, who, invitation=(name, site.settings.sign_in_link(token)))


@router.get("/checkpoint")
def checkpoint(request: Request, who: Ops) -> Response:
    """The newest signed checkpoint, as a file to keep elsewhere."""
    with site_of(request).db.read() as session:
        found = latest_checkpoint(session)
    if found is None:
        raise NotFound("no-checkpoint", "No checkpoint was made yet. The controller makes one soon after an entry.")
    name = f'attachment; filename="checkpoint-{found.size}.txt"'
    return Response(found.text, media_type="text/plain; charset=utf-8", headers={"Content-Disposition": name})


def _moment(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        return None


def _show(
    request: Request,
    who: Visitor,
    *,
    problem: TreError | None = None,
    invitation: tuple[str, str] | None = None,
    asked: str | None = None,
) -> HTMLResponse:
    site = site_of(request)
    with site.db.read() as session:
        running = in_state(session, WorkspaceState.starting, WorkspaceState.running, WorkspaceState.ending)
        proofs = list(session.scalars(select(ProofRow).order_by(ProofRow.id.desc()).limit(_PROOFS)))
        entries = size(session)
        last = latest_checkpoint(session)
        people = list_people(session)
    health = site.machine.health(site.settings)
    records = {record.process: record for record in site.machine.records(site.settings)}
    tag = "|".join(
        [
            *(f"{one.process}{one.ok}" for one in health),
            *(f"{one.id}{one.state}" for one in running),
            *(str(record.restarts) for record in records.values()),
            str(proofs[0].id if proofs else 0),
        ]
    )
    return page(
        request,
        "ops.html",
        problem=problem,
        fields=_FIELDS,
        health=health,
        records=records,
        started={name: _moment(record.started_at) for name, record in records.items()},
        running=running,
        proofs=proofs,
        entries=entries,
        checkpoint=last,
        people=people,
        invitation=invitation,
        asked=asked,
        watch=None if invitation or asked else tag,
    )
