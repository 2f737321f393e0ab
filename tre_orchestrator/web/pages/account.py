"""Who I am here: my roles, my password, where I am signed in, and my tokens for `tre`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from tre_orchestrator.errors import Invalid, NotFound, TreError
from tre_orchestrator.governance.credentials import (
    TOKEN_HOURS,
    api_tokens,
    close_session,
    issue_api_token,
    revoke_api_token,
    sessions_of_person,
)
from tre_orchestrator.governance.passwords import (
    LENGTH_MIN,
    check_password,
    has_password,
    set_first_password,
    set_meanwhile,
    set_password,
)
from tre_orchestrator.ledger.append import person as actor
from tre_orchestrator.web.notices import go
from tre_orchestrator.web.render import page
from tre_orchestrator.web.site import site_of
from tre_orchestrator.web.visitors import Posted, Signed, Visitor

router = APIRouter(prefix="/account")
_FIELDS = {
    "password-length": "password",
    "password-name": "password",
    "password-differs": "again",
    "password-set-before": "current",
    "wrong-login": "current",
    "too-many-attempts": "current",
    "token-life": "hours",
}
"""Which field a problem is about."""


@router.get("")
def account_page(request: Request, who: Signed) -> HTMLResponse:
    """The page."""
    return _show(request, who)


@router.post("/tokens")
def make_token(request: Request, who: Signed, form: Posted) -> HTMLResponse:
    """A new API token, shown on this one answer and never again."""
    site = site_of(request)
    try:
        with site.db.write() as session:
            token = issue_api_token(session, who.id, site.clock(), hours=form.number("hours") or TOKEN_HOURS)
    except TreError as error:
        return _show(request, who, problem=error)
    return _show(request, who, token=token)


@router.post("/tokens/{token_id}/revocation")
def revoke_token(request: Request, token_id: str, who: Signed, form: Posted) -> Response:
    """End one of my tokens."""
    site = site_of(request)
    with site.db.write() as session:
        revoke_api_token(session, who.id, token_id, site.clock())
    return go("/account", "token-revoked")


@router.post("/password")
def change_password(request: Request, who: Signed, form: Posted) -> Response:
    """Set my password, or change it with the old one; every other session of mine ends."""
    site = site_of(request)
    now = site.clock()
    try:
        if form.exact("password") != form.exact("again"):
            raise Invalid("password-differs", "The two new passwords differ. Type the same one twice.")
        with site.db.read() as session:
            known = has_password(session, who.id)
        if known and "current" not in form.data:
            raise set_meanwhile()
        if known:
            address = request.headers.get("X-Forwarded-For", "")
            check_password(site.db, who.id, form.exact("current"), now, address=address)
        with site.db.write() as session:
            set_it = set_password if known else set_first_password
            set_it(session, who.id, form.exact("password"), actor(who.id), now)
            for one in sessions_of_person(session, who.id, now):
                if one.id != who.identity.session_id:
                    close_session(session, one.id, now)
    except TreError as error:
        return _show(request, who, problem=error)
    return go("/account", "password-set")


@router.post("/sessions/{session_id}/end")
def end_session(request: Request, session_id: str, who: Signed, form: Posted) -> Response:
    """Sign one of my other browsers out; `others` ends them all."""
    site = site_of(request)
    with site.db.write() as session:
        mine = [one.id for one in sessions_of_person(session, who.id, site.clock())]
        chosen = [one for one in mine if one != who.identity.session_id and session_id in (one, "others")]
        if not chosen and session_id != "others":
            raise NotFound("no-session", "You have no such session. It may have ended before.")
        for one in chosen:
            close_session(session, one, site.clock())
    return go("/account", "sessions-closed" if session_id == "others" else "session-closed")


def _show(request: Request, who: Visitor, *, problem: TreError | None = None, token: str = "") -> HTMLResponse:
    site = site_of(request)
    now = site.clock()
    with site.db.read() as session:
        sessions = sessions_of_person(session, who.id, now)
        tokens = api_tokens(session, who.id, now)
        known = has_password(session, who.id)
    return page(
        request,
        "account.html",
        problem=problem,
        fields=_FIELDS,
        who=who,
        sessions=sessions,
        tokens=tokens,
        token=token,
        hours=TOKEN_HOURS,
        has_password=known,
        passwords_here=site.settings.oidc is None,
        password_length=LENGTH_MIN,
    )
