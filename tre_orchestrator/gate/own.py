"""The gate's own addresses on the people's host: signing in and out, tickets, the banner's meter, its style.

A ticket needs the session's CSRF token in `X-Tre-Csrf` beside the same-origin proof that every change needs.
"""

from __future__ import annotations

import datetime as dt
import hmac
import json
from typing import Any

import aiohttp
from aiohttp import web

from tre_orchestrator.catalogue.names import ProjectName, is_name
from tre_orchestrator.errors import Invalid, NotFound, Refusal, Refused
from tre_orchestrator.gate import oauth, pages
from tre_orchestrator.gate.core import Core, SignInError
from tre_orchestrator.gate.headers import CSRF_HEADER, HUB_COOKIE_PREFIX, SESSION_COOKIE, cookie, cookies_of, own_cookie
from tre_orchestrator.gate.meter import MIB, MeterKey, why_capped
from tre_orchestrator.gate.store import MeterView
from tre_orchestrator.gate.target import Target
from tre_orchestrator.gate.upstream import read_body
from tre_orchestrator.governance.credentials import SESSION_LIFE, WebSession

_JSON_LIMIT = 4096
END_IS_NEAR = dt.timedelta(minutes=15)
_NOBODY = "You are not signed in, or your session has ended. Sign in again."


class OwnPages:
    """Answers what is asked of the gate itself."""

    def __init__(self, core: Core, hub: aiohttp.ClientSession) -> None:
        self._core = core
        self._hub = hub

    async def handle(self, request: web.BaseRequest, target: Target, who: WebSession | None) -> web.StreamResponse:
        """Answer; `who` is signed in, or nobody is."""
        match request.method, target.segments:
            case "GET", ("gate", "login"):
                return self._login(target)
            case "GET", ("gate", "callback"):
                return await self._callback(request, target, who)
            case (("GET" | "POST"), ("logout",)):
                return await self._logout(request, who)
            case "POST", ("gate", "ticket"):
                return await self._ticket(request, who)
            case "GET", ("gate", "meter"):
                return await self._meter(target, who)
            case "GET", ("gate", "static", name) if (file := pages.own_file(name)) is not None:
                return file
        raise NotFound("no-page", "There is no such page.")

    def _login(self, target: Target) -> web.StreamResponse:
        wanted = target.values("next")
        attempt = oauth.begin(wanted[0] if len(wanted) == 1 else "/", self._core.clock())
        answer = _see_other(oauth.authorize_path(attempt, self._core.settings.people_origin))
        life = int(oauth.STATE_LIFE.total_seconds())
        sealed = oauth.seal(self._core.keys.sign_in, attempt)
        answer.headers.add("Set-Cookie", own_cookie(oauth.STATE_COOKIE, sealed, strict=False, max_age=life))
        return answer

    async def _callback(self, request: web.BaseRequest, target: Target, who: WebSession | None) -> web.StreamResponse:
        state, code = target.values("state"), target.values("code")
        sealed = cookie(request.headers.getall("Cookie", []), oauth.STATE_COOKIE)
        now = self._core.clock()
        attempt = oauth.unseal(self._core.keys.sign_in, sealed, state[0] if len(state) == 1 else None, now)
        if len(code) != 1:
            raise Refused([Refusal("sign-in-refused", "The sign-in service did not let you in. Try again.")])
        found = await oauth.finish(self._hub, self._core.settings, self._core.keys.hub_token, code[0], attempt)
        value = await self._core.store.sign_in(found.person, mfa=found.mfa)
        if who is not None:
            await self._end(who)
        answer = _see_other(attempt.next)
        life = int(SESSION_LIFE.total_seconds())
        answer.headers.add("Set-Cookie", own_cookie(SESSION_COOKIE, value, strict=False, max_age=life))
        spent = [name for name, _value in cookies_of(request.headers.getall("Cookie", [])) if _is_spent(name)]
        for name in dict.fromkeys(spent):
            answer.headers.add("Set-Cookie", own_cookie(name, "", strict=False, max_age=0))
        return answer

    async def _logout(self, request: web.BaseRequest, who: WebSession | None) -> web.StreamResponse:
        if request.method == "GET" and request.headers.get("Sec-Fetch-Site") not in ("same-origin", "none"):
            answer = pages.sign_out_page(style="/gate/static/gate.css")
            answer.headers["Content-Security-Policy"] = pages.PAGE_POLICY
            return answer
        if who is not None:
            await self._end(who)
        gone = _see_other("/hub/logout")
        gone.headers.add("Set-Cookie", own_cookie(SESSION_COOKIE, "", strict=False, max_age=0))
        return gone

    async def _end(self, who: WebSession) -> None:
        await self._core.store.sign_out(who.id)
        self._core.rights.drop_session(who.id)

    async def _ticket(self, request: web.BaseRequest, who: WebSession | None) -> web.StreamResponse:
        if who is None:
            raise SignInError("sign-in", _NOBODY)
        given = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), who.csrf.encode()):
            raise Refused([Refusal("csrf", "This page is too old. Load it again and try once more.")])
        project = _project((await _json_object(request)).get("project"))
        workspace, ticket = await self._core.store.ticket(who, project)
        url = self._core.settings.workspace_origin(workspace) + "/.tre/enter"
        return _json({"url": url, "ticket": ticket})

    async def _meter(self, target: Target, who: WebSession | None) -> web.StreamResponse:
        if who is None:
            raise SignInError("sign-in", _NOBODY)
        wanted = target.values("project")
        project = _project(wanted[0] if len(wanted) == 1 else None)
        view = await self._core.store.meter_view(who.person, project)
        counted = max(view.bytes_today, self._core.meter.total(MeterKey(who.person, project)))
        return _json(
            {
                "bytes_today": counted,
                "soft": view.soft,
                "hard": view.hard,
                "ends_at": view.ends_at.isoformat() if view.ends_at else None,
                "warning": warning(view, counted, self._core.clock()),
            }
        )


def _is_spent(name: str) -> bool:
    """Whether a cookie was for signing in only: the gate's session is the one that lasts, the hub's ends here."""
    return name == oauth.STATE_COOKIE or name.startswith(HUB_COOKIE_PREFIX)


def warning(view: MeterView, counted: int, now: dt.datetime) -> str:
    """What the person should know now, the most urgent first; empty when there is nothing."""
    if refusal := why_capped(counted, view.hard):
        return refusal.sentence
    if view.warning:
        return view.warning
    if view.ends_at is not None and view.ends_at - now <= END_IS_NEAR:
        return f"This workspace ends at {view.ends_at:%H:%M} UTC. Save your work; files in home and /outputs stay."
    if counted >= view.soft:
        share = f"{counted // MIB} of {view.hard // MIB} MiB"
        return f"You have taken {share} to your browser today. At the limit the workspace closes until midnight UTC."
    return ""


async def _json_object(request: web.BaseRequest) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise Invalid("json", "This takes a JSON object.", status=415)
    try:
        found = json.loads(await read_body(request, _JSON_LIMIT))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Invalid("json", "This takes a JSON object.")
    return found


def _project(value: object) -> ProjectName:
    if not isinstance(value, str) or not is_name(value):
        raise Invalid("project", "Name the project.")
    return ProjectName(value)


def _see_other(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": path, "Cache-Control": "no-store"})


def _json(value: dict[str, Any]) -> web.Response:
    body = json.dumps(value).encode()
    return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})
