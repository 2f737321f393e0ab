"""Signing in by the hub: the gate is one OAuth client of it (authorization code with PKCE, RFC 7636).

What must survive the round trip stands in a signed, short-lived `__Host-` cookie of the browser that began it, so an
answer meant for another browser is refused, and a restart of the gate forgets nobody.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass
from urllib.parse import urlencode

import aiohttp

from tre_orchestrator.catalogue.names import PersonId, is_name
from tre_orchestrator.errors import Refusal, Refused, Unavailable
from tre_orchestrator.gate.target import Target, parse
from tre_orchestrator.settings import Settings

STATE_COOKIE = "__Host-tre-signin"
STATE_LIFE = dt.timedelta(minutes=15)
CLIENT_ID = "service-gate"
CALLBACK = "/gate/callback"


@dataclass(frozen=True, slots=True)
class SignIn:
    """One attempt to sign in: what came out of this browser, and where it wants to go after."""

    state: str
    verifier: str
    next: str
    expires: float


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who the hub says it is, and whether a second factor was proven."""

    person: PersonId
    mfa: bool


def begin(next_path: str, now: dt.datetime) -> SignIn:
    """A fresh attempt."""
    until = (now + STATE_LIFE).timestamp()
    return SignIn(secrets.token_urlsafe(24), secrets.token_urlsafe(48), safe_next(next_path), until)


def safe_next(path: str) -> str:
    """A path on this host to go to after signing in; anything odd becomes the first page."""
    target = parse(path)
    if not isinstance(target, Target) or target.segments[0] in ("gate", "hub", "logout"):
        return "/"
    return target.forwarded()


def authorize_path(attempt: SignIn, people_origin: str) -> str:
    """Where the browser goes to sign in at the hub."""
    digest = hashlib.sha256(attempt.verifier.encode()).digest()
    query = {
        "client_id": CLIENT_ID,
        "redirect_uri": people_origin + CALLBACK,
        "response_type": "code",
        "state": attempt.state,
        "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
        "code_challenge_method": "S256",
    }
    return f"/hub/api/oauth2/authorize?{urlencode(query)}"


def seal(key: bytes, attempt: SignIn) -> str:
    """The attempt as a cookie's value."""
    body = base64.urlsafe_b64encode(json.dumps(asdict(attempt), separators=(",", ":")).encode()).decode().rstrip("=")
    return f"{body}.{_mac(key, body)}"


def unseal(key: bytes, cookie: str | None, state: str | None, now: dt.datetime) -> SignIn:
    """The attempt that this browser began with `state`; raises `Refused` when it did not, or too long ago."""
    body, _dot, mac = (cookie or "").partition(".")
    if not state or not hmac.compare_digest(_mac(key, body).encode(), mac.encode("utf-8", "replace")):
        raise _again()
    try:
        attempt = SignIn(**json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))
    except (binascii.Error, ValueError, TypeError) as error:
        raise _again() from error
    if not hmac.compare_digest(attempt.state.encode(), state.encode("utf-8", "replace")):
        raise _again()
    if now.timestamp() >= attempt.expires:
        raise _again()
    return attempt


async def finish(
    hub: aiohttp.ClientSession, settings: Settings, client_token: str, code: str, attempt: SignIn
) -> SignedIn:
    """Exchange the code for the person at the hub; raises when the hub does not confirm one."""
    form = {
        "client_id": CLIENT_ID,
        "client_secret": client_token,
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": attempt.verifier,
        "redirect_uri": settings.people_origin + CALLBACK,
    }
    token = (await _json(hub, "POST", "/hub/api/oauth2/token", form=form)).get("access_token")
    if not isinstance(token, str):
        raise _again()
    who = await _json(hub, "GET", "/hub/api/user", token=token)
    name = who.get("name")
    if who.get("kind") != "user" or not isinstance(name, str) or not is_name(name):
        raise _again()
    mfa = False
    if settings.oidc is not None:
        record = await _json(hub, "GET", f"/hub/api/tre/sign-ins/{who.get('session_id')}", token=client_token)
        mfa = record.get("person") == name and record.get("mfa") is True
    return SignedIn(PersonId(name), mfa)


async def _json(
    hub: aiohttp.ClientSession, method: str, path: str, *, token: str = "", form: dict[str, str] | None = None
) -> dict[str, object]:
    headers = {"Authorization": f"token {token}"} if token else {}
    try:
        async with hub.request(method, f"http://localhost{path}", data=form, headers=headers) as answer:
            body = await answer.read()
            if answer.status in (400, 401, 403, 404):
                raise _again()
            if answer.status != 200:
                raise Unavailable("hub", "Signing in does not work at the moment. Try again in a minute.")
            found = json.loads(body)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise Unavailable("hub", "Signing in does not work at the moment. Try again in a minute.") from error
    return found if isinstance(found, dict) else {}


def _mac(key: bytes, body: str) -> str:
    return hmac.new(key, b"tre-signin/1\n" + body.encode("utf-8", "replace"), "sha256").hexdigest()


def _again() -> Refused:
    return Refused([Refusal("sign-in-again", "Signing in was not finished in time or in this browser. Start again.")])
