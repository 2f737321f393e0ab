"""Who the caller is, and what the ledger signed last."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse

from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.errors import NotFound
from tre_orchestrator.governance.invitations import invite as invite_person
from tre_orchestrator.governance.invitations import reset as reset_person
from tre_orchestrator.governance.load import load_person
from tre_orchestrator.ledger.checkpoints import latest_checkpoint
from tre_orchestrator.web.api.plain import reply
from tre_orchestrator.web.site import site_of
from tre_orchestrator.web.visitors import Ops, Signed, checked_write

router = APIRouter(prefix="/api")


@router.get("/me")
def me(who: Signed) -> JSONResponse:
    """The caller as the catalogue knows them."""
    spec = who.person.spec
    return reply(
        {
            "person": who.id,
            "full_name": spec.full_name,
            "organisation": spec.organisation,
            "roles": spec.roles,
            "controller_of": spec.controller_of,
            "accreditation": spec.accreditation,
            "mfa": who.identity.mfa,
            "via": who.identity.via,
        }
    )


@router.get("/ledger/checkpoint")
def checkpoint(request: Request, who: Signed) -> JSONResponse:
    """The newest signed checkpoint."""
    with site_of(request).db.read() as session:
        found = latest_checkpoint(session)
    if found is None:
        raise NotFound("no-checkpoint", "No checkpoint was made yet. The controller makes one soon after an entry.")
    return reply({"size": found.size, "root": found.root.hex(), "at": found.at, "text": found.text})


@router.post("/people/{person}/invitation", dependencies=[Depends(checked_write)])
def invite(request: Request, person: str, who: Ops) -> JSONResponse:
    """A one-time link for somebody who cannot sign in yet; the ledger records who made it."""
    site = site_of(request)
    with site.db.write() as session:
        name = PersonId(load_person(session, person).metadata.name)
        token = invite_person(session, name, who.id, site.clock())
    return reply({"link": site.settings.sign_in_link(token)}, 201)


@router.post("/people/{person}/reset", dependencies=[Depends(checked_write)])
def reset(request: Request, person: str, who: Ops) -> JSONResponse:
    """End a person's password and sessions; a one-time link for them. The first of two operators gets no link (202)."""
    site = site_of(request)
    with site.db.write() as session:
        name = PersonId(load_person(session, person).metadata.name)
        token = reset_person(session, name, who.id, site.clock())
    if token is None:
        return reply({"link": None}, 202)
    return reply({"link": site.settings.sign_in_link(token)}, 201)
