"""The people's host: portal and hub behind one front door, and the gate's own few addresses.

The gate says who asks, by a signed header that nobody else can set; it takes every `X-Tre-*` header, cookie and token
of the browser away first. A change needs the page's own origin, or a person's API token on `/api/`. Of the hub, only
what signing in needs is open.
"""

from __future__ import annotations

import re
from urllib.parse import urlencode

import aiohttp
import yarl
from aiohttp import web

from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.errors import Refusal, TreError, Unavailable, refuse_if
from tre_orchestrator.gate import pages
from tre_orchestrator.gate.core import Core, SignInError
from tre_orchestrator.gate.headers import (
    SESSION_COOKIE,
    WEB_COOKIE_PREFIX,
    cookie,
    cookies_for_hub,
    cookies_for_web,
    from_people,
    hub_cookie,
    people_headers,
    to_people,
)
from tre_orchestrator.gate.own import OwnPages
from tre_orchestrator.gate.policy import why_not_hub
from tre_orchestrator.gate.target import Target
from tre_orchestrator.gate.upstream import read_body, session_to
from tre_orchestrator.gate.writes import SAFE_METHODS, fetch_of, why_not_write
from tre_orchestrator.governance.credentials import TOKEN_PREFIX, WebSession
from tre_orchestrator.governance.identity import HEADER, identity, sign_identity

METHODS = SAFE_METHODS | {"POST", "PUT", "PATCH", "DELETE"}
OPEN_PATHS = frozenset({"static", "verify", "accessibility", "favicon.ico", "robots.txt"})
"""First path segments of the portal that need no signing in: its style, and how outsiders verify a bundle."""
STYLE = "/gate/static/gate.css"
_HUB_BODY = 65_536
_WEB_BODY = 4 * 1024 * 1024 + 65_536
"""A little above what the web application takes, so that it says no in its own words."""
_BODY_SECONDS = 30.0
_BEARER = re.compile(rf"Bearer ({TOKEN_PREFIX}[A-Za-z0-9_-]{{20,200}})")


class PeopleSide:
    """Answers requests at the people's host."""

    def __init__(self, core: Core) -> None:
        self._core = core
        run = core.settings.run_dir
        self._hub = session_to(run / "hub.sock")
        self._web = session_to(run / "web.sock", limit=256)
        self._own = OwnPages(core, self._hub)

    async def close(self) -> None:
        """Close the connections to hub and web."""
        await self._hub.close()
        await self._web.close()

    async def handle(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        """Answer one request; every refusal is an answer too."""
        try:
            return await self._handle(request, target)
        except TreError as error:
            self._core.metrics.refused.labels("people", error.code).inc()
            return self._refusal(request, target, error)

    async def _handle(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        if request.method not in METHODS:
            raise TreError("method", "This method is not taken here.", status=405)
        first = target.segments[0]
        if first == "hub":
            refuse_if(why_not_hub(request.method, target))
            refuse_if(self._why_not_write(request))
            self._core.metrics.requests.labels("people", "hub").inc()
            return await self._to_hub(request, target)
        if first == "api" and "Authorization" in request.headers:
            self._core.metrics.requests.labels("people", "api-token").inc()
            return await self._to_web(request, target, self._signed_token(await self._token_holder(request)))
        refuse_if(self._why_not_write(request))
        value = cookie(request.headers.getall("Cookie", []), SESSION_COOKIE)
        used = request.method not in SAFE_METHODS or request.headers.get("Sec-Fetch-Mode") == "navigate"
        who = await self._core.store.session(value, used=used) if value else None
        if first in ("gate", "logout"):
            self._core.metrics.requests.labels("people", "gate").inc()
            answer = await self._own.handle(request, target, who)
            return self._with_headers(answer)
        if who is None and first not in OPEN_PATHS:
            raise SignInError("sign-in", "You are not signed in, or your session has ended. Sign in again.")
        self._core.metrics.requests.labels("people", "web").inc()
        return await self._to_web(request, target, self._signed_session(who) if who else None)

    def _why_not_write(self, request: web.BaseRequest) -> Refusal | None:
        return why_not_write(fetch_of(request.method, request.headers), self._core.settings.people_origin)

    async def _token_holder(self, request: web.BaseRequest) -> PersonId:
        values = request.headers.getall("Authorization")
        match = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
        holder = await self._core.store.token_holder(match[1]) if match else None
        if holder is None:
            raise SignInError("token", "This token is not valid, or not any more. Make a new one on your account page.")
        return holder

    def _signed_token(self, person: PersonId) -> str:
        who = identity(person, "", "", mfa=False, via="token", now=self._core.clock())
        return sign_identity(self._core.keys.identity, who)

    def _signed_session(self, who: WebSession) -> str:
        statement = identity(who.person, who.id, who.csrf, mfa=who.mfa, via="session", now=self._core.clock())
        return sign_identity(self._core.keys.identity, statement)

    async def _to_hub(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        return await self._forward(
            request, target, self._hub, _HUB_BODY, cookies_for_hub(request.headers.getall("Cookie", [])), None
        )

    async def _to_web(self, request: web.BaseRequest, target: Target, signed: str | None) -> web.StreamResponse:
        return await self._forward(
            request, target, self._web, _WEB_BODY, cookies_for_web(request.headers.getall("Cookie", [])), signed
        )

    async def _forward(
        self,
        request: web.BaseRequest,
        target: Target,
        upstream: aiohttp.ClientSession,
        limit: int,
        cookies: str,
        signed: str | None,
    ) -> web.StreamResponse:
        settings = self._core.settings
        headers = to_people(
            request.headers.items(),
            host=settings.site + settings.port_suffix,
            peer=request.remote or "",
            scheme=settings.scheme,
            cookies=cookies,
        )
        if signed is not None:
            headers.append((HEADER, signed))
        url = yarl.URL("http://localhost" + target.forwarded(), encoded=True)
        body = None
        if request.body_exists:  # read whole, before it takes one of the few connections
            with self._core.addresses.body(request.remote or ""):
                body = await read_body(request, limit, seconds=_BODY_SECONDS)
        try:
            async with upstream.request(
                request.method, url, headers=headers, data=body, allow_redirects=False
            ) as answer:
                return await self._answer(request, answer, from_hub=upstream is self._hub)
        except (aiohttp.ClientError, OSError) as error:
            if request.transport is None or request.transport.is_closing():
                raise
            if request.writer.output_size > 0:  # a second answer would stand inside the first one
                request.transport.abort()
                raise
            raise Unavailable(
                "starting", "This part of the TRE does not answer. It may be starting: try again in a moment."
            ) from error

    async def _answer(
        self, request: web.BaseRequest, answer: aiohttp.ClientResponse, *, from_hub: bool
    ) -> web.StreamResponse:
        out = web.StreamResponse(status=answer.status, reason=answer.reason)
        for name, value in from_people(answer.headers.items()):
            out.headers.add(name, value)
        for line in answer.headers.getall("Set-Cookie", []):
            kept = hub_cookie(line) if from_hub else line if line.startswith(WEB_COOKIE_PREFIX) else None
            if kept:
                out.headers.add("Set-Cookie", kept)
        self._with_headers(out)
        if from_hub:
            out.headers["Cache-Control"] = answer.headers.get("Cache-Control", "no-store")
            out.headers.add("Content-Security-Policy", pages.PAGE_POLICY)
        if "Content-Length" in answer.headers:
            out.content_length = answer.content_length
        await out.prepare(request)
        async for chunk in answer.content.iter_any():
            await out.write(chunk)
        return out

    def _with_headers(self, answer: web.StreamResponse) -> web.StreamResponse:
        for name, value in people_headers(https=self._core.settings.scheme == "https"):
            answer.headers.add(name, value)
        return answer

    def _refusal(self, request: web.BaseRequest, target: Target, error: TreError) -> web.StreamResponse:
        answer: web.StreamResponse
        page = request.method in SAFE_METHODS and pages.wants_page(request.headers) and target.segments[0] != "api"
        if page and isinstance(error, SignInError):
            query = urlencode({"next": target.forwarded()})
            answer = web.Response(status=303, headers={"Location": f"/gate/login?{query}", "Cache-Control": "no-store"})
        elif pages.wants_page(request.headers) and target.segments[0] != "api":
            link = ("/gate/login", "Sign in") if error.status == 401 else ("/", "Go to the first page")
            if target.segments == ("gate", "callback"):
                link = ("/hub/logout", "Sign in again")
            answer = pages.error_page(error, style=STYLE, link=link)
            answer.headers["Content-Security-Policy"] = pages.PAGE_POLICY
        else:
            answer = pages.problem(error)
        answer.headers["Cache-Control"] = "no-store"
        return self._with_headers(answer)
