"""One workspace's host: its frame is opened by a ticket, every request is judged, every byte out is counted.

In this order: where the request comes from, whose frame it is, whether the right still lives, whether the way is open,
whether today's bytes are not used up. Only then is the workspace asked, with the inner token and nothing of the
browser's. What comes back is of the kind the rule allows, under the gate's own headers, or it does not pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import parse_qs

import aiohttp
import structlog
import yarl
from aiohttp import web

from tre_orchestrator.catalogue.names import WorkspaceId
from tre_orchestrator.errors import Invalid, NotFound, Refusal, Refused, TreError, Unavailable, refuse_if
from tre_orchestrator.gate import contents, pages
from tre_orchestrator.gate.core import Core, SignInError
from tre_orchestrator.gate.headers import (
    FRAME_COOKIE,
    cookie,
    location_from_workspace,
    own_cookie,
    to_workspace,
    workspace_headers,
)
from tre_orchestrator.gate.meter import why_capped
from tre_orchestrator.gate.policy import Reply, Rule, rule_for
from tre_orchestrator.gate.rights import LOST, Right
from tre_orchestrator.gate.target import Target
from tre_orchestrator.gate.tickets import FRAME_LIFE, Frame, key_of
from tre_orchestrator.gate.upstream import read_body
from tre_orchestrator.gate.websocket import Relay, why_not_upgrade
from tre_orchestrator.gate.writes import fetch_of, why_not_enter, why_not_in_workspace, why_not_socket
from tre_orchestrator.workspaces.plan import inner_token

log = structlog.get_logger()
ENTER = "/.tre/enter"
STYLE = "/.tre/gate.css"
_TICKET_FORM_LIMIT = 4096
_JUDGE_IN_THREAD = 262_144
_WHOLE = 65_536
"""An answer up to this size is read whole and sent in one piece; a longer one streams."""
_NEVER_FORWARDED = frozenset({"token"})
_KINDS = {Reply.page: "text/html", Reply.json: "application/json", Reply.contents: "application/json"}


class WorkspaceSide:
    """Answers requests at workspaces' hosts."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def handle(self, request: web.BaseRequest, workspace: WorkspaceId, target: Target) -> web.StreamResponse:
        """Answer one request; every refusal is an answer too."""
        try:
            return await self._handle(request, workspace, target)
        except TreError as error:
            self._core.metrics.refused.labels("workspace", error.code).inc()
            return self._refusal(request, error)

    async def _handle(self, request: web.BaseRequest, workspace: WorkspaceId, target: Target) -> web.StreamResponse:
        origin = self._core.settings.workspace_origin(workspace)
        fetch = fetch_of(request.method, request.headers)
        if target.path == ENTER:
            refuse_if(why_not_enter(fetch, self._core.settings.people_origin))
            return await self._enter(request, workspace)
        if target.path == STYLE and request.method == "GET":
            return self._with_headers(pages.own_file("gate.css"), cache="public, max-age=300")
        rule = rule_for(request.method, target)
        if isinstance(rule, Refusal):
            refuse_if(why_not_in_workspace(fetch, origin, page=False))
            await self._right(request, workspace)
            raise Refused([rule])
        if rule.reply is Reply.socket:
            refuse_if(why_not_socket(fetch, origin) or why_not_upgrade(request.headers))
        else:
            refuse_if(why_not_in_workspace(fetch, origin, page=rule.reply is Reply.page))
        right = await self._right(request, workspace)
        self._core.metrics.requests.labels("workspace", rule.name).inc()
        if rule.reply not in _KINDS and rule.reply is not Reply.socket:
            return await self._file(request, rule, target)
        refuse_if(self._capped(right))
        if rule.reply is Reply.socket:
            return await self._socket(request, right, target)
        return await self._ask(request, right, rule, target)

    async def _enter(self, request: web.BaseRequest, workspace: WorkspaceId) -> web.StreamResponse:
        form = parse_qs((await read_body(request, _TICKET_FORM_LIMIT)).decode("ascii", "replace"), strict_parsing=False)
        tokens = form.get("ticket", [])
        if len(tokens) != 1:
            raise Invalid("ticket-missing", "This way in is not complete. Open the workspace from its project.")
        value, frame = await self._core.store.enter(tokens[0], workspace)
        await self._core.rights.of(frame)
        answer = web.Response(status=303, headers={"Location": "/lab"})
        life = int(FRAME_LIFE.total_seconds())
        answer.headers["Set-Cookie"] = own_cookie(FRAME_COOKIE, value, strict=True, max_age=life)
        return self._with_headers(answer)

    async def _right(self, request: web.BaseRequest, workspace: WorkspaceId) -> Right:
        value = cookie(request.headers.getall("Cookie", []), FRAME_COOKIE)
        frame = await self._frame(value) if value else None
        if frame is None or frame.workspace != workspace:
            raise SignInError(
                "no-frame", "This page is not open any more. Sign in, and open the workspace from its project."
            )
        return await self._core.rights.of(frame)

    async def _frame(self, value: str) -> Frame | None:
        return self._core.rights.known(key_of(value)) or await self._core.store.frame(value)

    def _capped(self, right: Right) -> Refusal | None:
        return why_capped(self._core.meter.total(right.meter), right.hard)

    async def _file(self, request: web.BaseRequest, rule: Rule, target: Target) -> web.StreamResponse:
        match = rule.pattern.fullmatch(target.text)
        found = self._core.files().find(rule.reply, match["file"]) if match else None
        if found is None:
            raise NotFound("no-file", "There is no such file in this environment.")
        answer = web.FileResponse(found.path)
        answer.headers["Content-Type"] = found.kind
        return self._with_headers(answer, cache=found.cache)

    async def _socket(self, request: web.BaseRequest, right: Right, target: Target) -> web.StreamResponse:
        key = right.frame.key

        passed = 0

        def count(size: int) -> bool:
            nonlocal passed
            passed += size
            refusal = self._core.meter_out(right, size)
            if refusal is not None:
                relay.cut(refusal)
            return refusal is None

        store = self._core.store
        relay = Relay(
            request,
            count,
            said=lambda: store.note_person(right.frame),
            answered=lambda: store.note_busy(right.frame),
        )
        if not self._core.rights.attach(key, relay.cut):
            raise Refused([LOST])
        try:
            return await relay.run(right.socket, target.forwarded(_NEVER_FORWARDED), self._inner_token(right))
        finally:
            self._core.rights.detach(key, relay.cut)
            _audit(right, "socket", 101, passed)

    async def _ask(self, request: web.BaseRequest, right: Right, rule: Rule, target: Target) -> web.StreamResponse:
        if "Content-Encoding" in request.headers:
            raise Invalid("encoded-body", "A compressed request is not taken here.", status=415)
        body = await read_body(request, contents.MAX_BODY)
        if rule.reply is Reply.contents:
            refuse_if(await _judged(len(body), lambda: contents.why_not_save(request.method, body)))
        if request.method != "GET":
            self._core.store.note_person(right.frame)
        url = yarl.URL("http://localhost" + target.forwarded(_NEVER_FORWARDED), encoded=True)
        headers = to_workspace(request.headers, self._inner_token(right))
        out = _Outgoing(self._core, request, right)
        if not self._core.rights.attach(right.frame.key, out.close):
            raise Refused([LOST])
        try:
            pool = self._core.pools.to(right.socket)
            async with pool.request(
                request.method, url, headers=headers, data=body or None, allow_redirects=False
            ) as answer:
                sent = await self._answer(out, rule, answer)
            if request.method != "GET" or rule.reply is Reply.contents:
                _audit(right, f"{request.method} {rule.name}", sent.status, out.passed)
            return sent
        except (aiohttp.ClientError, OSError) as error:
            if request.transport is None or request.transport.is_closing():
                raise
            if request.writer.output_size > 0:  # a second answer would stand inside the first one
                request.transport.abort()
                raise
            raise Unavailable(
                "workspace-silent", "The workspace does not answer. It may be very busy, or have ended."
            ) from error
        finally:
            self._core.rights.detach(right.frame.key, out.close)

    async def _answer(self, out: _Outgoing, rule: Rule, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        given = web.StreamResponse(status=answer.status, reason="")
        if location := location_from_workspace(answer.headers.get("Location")):
            out.count(len(location))
            given.headers["Location"] = location
        self._with_headers(given, scripts=out.right.scripts_in_output)
        if answer.status in (204, 304) or 300 <= answer.status < 400:
            given.content_length = 0
            await given.prepare(out.request)
            return given
        kind = _KINDS[rule.reply]
        if answer.content_type != kind or "Content-Encoding" in answer.headers:
            status = answer.status if answer.status >= 400 else 502
            raise TreError("workspace-odd", "The workspace gave an answer that is not taken here.", status=status)
        given.headers["Content-Type"] = f"{kind}; charset=utf-8"
        if rule.reply is Reply.contents and out.request.method == "GET":
            return await out.whole(await _contents(answer), given)
        if answer.content_length is not None:
            if answer.content_length <= _WHOLE:
                return await out.whole(await answer.read(), given)
            given.content_length = answer.content_length
        await given.prepare(out.request)
        async for chunk in answer.content.iter_any():
            out.count(len(chunk))
            await given.write(chunk)
        return given

    def _inner_token(self, right: Right) -> str:
        return inner_token(self._core.keys.inner, right.frame.workspace, right.frame.nonce)

    def _with_headers(
        self, answer: web.StreamResponse | None, *, scripts: bool = False, cache: str = "no-store"
    ) -> web.StreamResponse:
        if answer is None:
            raise NotFound("no-file", "There is no such file.")
        forced: Mapping[str, str] = workspace_headers(
            self._core.settings.people_origin, scripts_in_output=scripts, cache=cache
        )
        for name, value in forced.items():
            answer.headers[name] = value
        return answer

    def _refusal(self, request: web.BaseRequest, error: TreError) -> web.StreamResponse:
        page = pages.wants_page(request.headers)
        return self._with_headers(pages.error_page(error, style=STYLE) if page else pages.problem(error))


class _Outgoing:
    """What goes out on one request: counted before it goes, and ended at once when the right is lost."""

    def __init__(self, core: Core, request: web.BaseRequest, right: Right) -> None:
        self._core = core
        self.request = request
        self.right = right
        self.passed = 0

    def count(self, size: int) -> None:
        """Count bytes; over the cap the connection ends instead."""
        self.passed += size
        if refusal := self._core.meter_out(self.right, size):
            self.close(refusal)
            raise Refused([refusal])

    def close(self, _why: Refusal) -> None:
        """End the connection; what is still buffered is thrown away."""
        if self.request.transport is not None:
            self.request.transport.abort()

    async def whole(self, body: bytes, given: web.StreamResponse) -> web.StreamResponse:
        """Send head and body in one piece."""
        self.count(len(body))
        answer = web.Response(status=given.status, headers=given.headers, body=body)
        await answer.prepare(self.request)
        await answer.write_eof()
        return answer


async def _contents(answer: aiohttp.ClientResponse) -> bytes:
    """The body of an answer of the contents API; raises `Refused` when it may not be shown."""
    parts, total = [], 0
    async for chunk in answer.content.iter_any():
        total += len(chunk)
        if total > contents.MAX_NOTEBOOK:
            answer.close()
            raise Refused([contents.too_big()])
        parts.append(chunk)
    body = b"".join(parts)
    if answer.status < 400:
        refuse_if(await _judged(total, lambda: contents.why_not_read(body)))
    return body


def _audit(right: Right, what: str, status: int, size: int) -> None:
    """Who did what, and how much came out. Never a path: names of files may tell what is in the data (R3)."""
    meter = right.meter
    log.info("gate.passed", person=meter.person, project=meter.project, what=what, status=status, bytes=size)


async def _judged(size: int, rule: contents.Judge) -> Refusal | None:
    """Ask a rule about a body; a large one in a thread, so that others need not wait for its parsing."""
    if size > _JUDGE_IN_THREAD:
        return await asyncio.to_thread(rule)
    return rule()
