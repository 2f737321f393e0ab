"""What anybody may read: how to verify what left this TRE, with the key and the program for it, and accessibility."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tre_orchestrator.errors import NotFound
from tre_orchestrator.ledger import tre_verify
from tre_orchestrator.ledger.checkpoints import latest_checkpoint
from tre_orchestrator.web.render import page
from tre_orchestrator.web.site import site_of
from tre_orchestrator.web.visitors import Anyone

router = APIRouter()
_VERIFIER = Path(tre_verify.__file__)


@router.get("/verify")
def verify_page(request: Request, who: Anyone) -> HTMLResponse:
    """How to verify a bundle or an export of the ledger."""
    site = site_of(request)
    with site.db.read() as session:
        checkpoint = latest_checkpoint(session)
    return page(request, "verify.html", key=site.ledger_key, checkpoint=checkpoint)


@router.get("/verify/key.pem")
def key(request: Request) -> Response:
    """The public key."""
    return _file(site_of(request).ledger_key.pem, "key.pem", "application/x-pem-file")


@router.get("/verify/tre_verify.py")
def verifier(request: Request) -> Response:
    """The outsiders' verifier: one file."""
    return _file(_VERIFIER.read_text(encoding="utf-8"), "tre_verify.py", "text/x-python; charset=utf-8")


@router.get("/verify/checkpoint.txt")
def checkpoint_file(request: Request) -> Response:
    """The newest signed checkpoint: it says how many entries there are, and nothing about them."""
    with site_of(request).db.read() as session:
        found = latest_checkpoint(session)
    if found is None:
        raise NotFound("no-checkpoint", "No checkpoint was made yet. Come back in a minute.")
    return _file(found.text, "checkpoint.txt", "text/plain; charset=utf-8")


@router.get("/accessibility")
def accessibility(request: Request, who: Anyone) -> HTMLResponse:
    """The accessibility statement."""
    return page(request, "accessibility.html")


@router.get("/favicon.ico")
def favicon() -> Response:
    """The mark; some browsers ask here whatever the page says."""
    return RedirectResponse("/static/mark.svg", status_code=307)


def _file(text: str, name: str, media: str) -> Response:
    return Response(text, media_type=media, headers={"Content-Disposition": f'attachment; filename="{name}"'})
