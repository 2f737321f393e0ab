"""One WebSocket between a browser and a workspace: both handshakes are ours, the frames pass as bytes.

Back-pressure both ways: a side that reads slowly pauses the other one, so memory stays bounded. Every byte towards the
browser is counted before it is written. `cut` ends both sides at once, with nothing more delivered.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from tre_orchestrator.errors import Invalid, NotFound, Refusal, Refused, Unavailable

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_HEAD_LIMIT = 16_384
_HANDSHAKE_SECONDS = 60.0
_WRITE_HIGH = 1_048_576
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_PROTOCOLS = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}(?:, ?[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}){0,7}")
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})(?: [^\r\n]*)?")
ACTIVITY_BYTES = 64
"""A smaller chunk is a ping or a pong, not somebody's work."""


def why_not_upgrade(headers: Mapping[str, str]) -> Refusal | None:
    """Why this is no proper opening of a WebSocket (RFC 6455, 4.2.1), or None."""
    asked = headers.get("Upgrade", "").strip().lower() == "websocket"
    connection = {part.strip().lower() for part in headers.get("Connection", "").split(",")}
    protocols = headers.get("Sec-WebSocket-Protocol")
    if (
        asked
        and "upgrade" in connection
        and headers.get("Sec-WebSocket-Version") == "13"
        and _KEY.fullmatch(headers.get("Sec-WebSocket-Key", ""))
        and (protocols is None or _PROTOCOLS.fullmatch(protocols))
    ):
        return None
    return Refusal("not-websocket", "This address is for a WebSocket.")


class Relay:
    """The pump between one browser connection and one workspace connection."""

    def __init__(
        self,
        request: web.BaseRequest,
        count: Callable[[int], bool],
        *,
        said: Callable[[], None],
        answered: Callable[[], None],
    ) -> None:
        """`said` is called when the browser says something, `answered` when the workspace does."""
        self._request = request
        self._count = count
        self._said = said
        self._answered = answered
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self.reason: Refusal | None = None
        self._browser: asyncio.Transport | None = None
        self._upstream: asyncio.Transport | None = None
        self._draining: asyncio.Task[None] | None = None
        self._response: web.StreamResponse | None = None

    async def run(self, socket: Path, target: str, inner_token: str) -> web.StreamResponse:
        """Open both sides and pump until one of them, or `cut`, ends it."""
        upstream = _Upstream(self)
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                await self._loop.create_unix_connection(lambda: upstream, str(socket))
                protocol = await upstream.handshake(target, inner_token, self._offered())
        except (OSError, TimeoutError) as error:
            upstream.abort()
            raise Unavailable("workspace-silent", "The workspace does not answer. It may be very busy.") from error
        except BaseException:
            upstream.abort()
            raise
        if self.reason is not None:  # the right was lost meanwhile: nothing of the workspace goes out any more
            upstream.abort()
            raise Refused([self.reason])
        try:
            return await self._pump(upstream, protocol)
        finally:
            if self._draining is not None:
                self._draining.cancel()
            upstream.abort()
            if self._browser is not None and self.reason is None:
                self._browser.close()

    def cut(self, why: Refusal) -> None:
        """End it now: what is still buffered for the browser is thrown away."""
        self.reason = why
        for transport in (self._browser, self._upstream):
            if transport is not None:
                transport.abort()
        self.finish()

    def finish(self) -> None:
        """One side is over."""
        if not self.done.done():
            self.done.set_result(None)

    def to_browser(self, data: bytes) -> None:
        """Bytes from the workspace, in the order they came."""
        if self._browser is None or self._browser.is_closing():
            return
        if not self._count(len(data)):
            return
        if len(data) > ACTIVITY_BYTES:
            self._answered()
        self._browser.write(data)
        if self._request.protocol.writing_paused and self._draining is None and self._upstream is not None:
            self._upstream.pause_reading()
            self._draining = self._loop.create_task(self._drain())

    def to_workspace(self, data: bytes) -> None:
        """Bytes from the browser."""
        if self._upstream is None or self._upstream.is_closing():
            return
        if len(data) > ACTIVITY_BYTES:
            self._said()
        self._upstream.write(data)

    def pause_browser(self) -> None:
        """The workspace reads slowly."""
        if self._browser is not None and not self._browser.is_closing():
            self._browser.pause_reading()

    def resume_browser(self) -> None:
        """The workspace reads again."""
        if self._browser is not None and not self._browser.is_closing():
            self._browser.resume_reading()

    def _offered(self) -> str | None:
        return self._request.headers.get("Sec-WebSocket-Protocol")

    async def _pump(self, upstream: _Upstream, protocol: str | None) -> web.StreamResponse:
        key = self._request.headers["Sec-WebSocket-Key"]
        headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept_of(key)}
        if protocol:
            headers["Sec-WebSocket-Protocol"] = protocol
        self._response = web.StreamResponse(status=101, headers=headers)
        self._response.force_close()
        await self._response.prepare(self._request)
        browser = self._request.transport
        if browser is None:
            raise ConnectionResetError
        browser.set_write_buffer_limits(high=_WRITE_HIGH)
        self._browser, self._upstream = browser, upstream.transport
        upstream.start()
        # aiohttp hands every later byte of this connection to an object with these two methods
        self._request.protocol.set_parser(cast(Any, _FromBrowser(self)))
        await self.done
        return self._response

    async def _drain(self) -> None:
        if self._response is not None and (writer := self._response._payload_writer) is not None:
            try:
                await writer.drain()
            except ConnectionError:
                self.finish()
        self._draining = None
        if self._upstream is not None and not self._upstream.is_closing():
            self._upstream.resume_reading()


class _FromBrowser:
    """Takes what the browser sends after the handshake, in the place where aiohttp would parse frames."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._relay.to_workspace(data)
        return False, b""

    def feed_eof(self) -> None:
        self._relay.finish()


class _Upstream(asyncio.Protocol):
    """The workspace's side: our handshake first, then bytes."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.transport: asyncio.Transport | None = None
        self._head = b""
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._started = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=_WRITE_HIGH)

    def data_received(self, data: bytes) -> None:
        if self._started:
            self._relay.to_browser(data)
            return
        self._head += data
        if b"\r\n\r\n" in self._head or len(self._head) > _HEAD_LIMIT:
            if self.transport is not None:
                self.transport.pause_reading()
            if not self._answer.done():
                self._answer.set_result(self._head)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answer.done():
            self._answer.set_exception(ConnectionResetError())
        self._relay.finish()

    def pause_writing(self) -> None:
        self._relay.pause_browser()

    def resume_writing(self) -> None:
        self._relay.resume_browser()

    async def handshake(self, target: str, inner_token: str, offered: str | None) -> str | None:
        """Ask the workspace for a WebSocket; returns the sub-protocol it chose."""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {target} HTTP/1.1",
            "Host: localhost",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            f"Authorization: token {inner_token}",
        ]
        if offered:
            lines.append(f"Sec-WebSocket-Protocol: {offered}")
        if self.transport is None:
            raise ConnectionResetError
        self.transport.write("\r\n".join([*lines, "", ""]).encode("ascii"))
        head, _end, self._head = (await self._answer).partition(b"\r\n\r\n")
        return chosen_protocol(head, key, offered)

    def start(self) -> None:
        """Begin to pump, with what came right after the handshake."""
        self._started = True
        early, self._head = self._head, b""
        if early:
            self._relay.to_browser(early)
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def abort(self) -> None:
        """Drop the connection."""
        if self.transport is not None:
            self.transport.abort()
        if self._answer.done() and not self._answer.cancelled():
            self._answer.exception()


def chosen_protocol(head: bytes, key: str, offered: str | None) -> str | None:
    """The sub-protocol in the workspace's answer to our handshake; raises when it is not a proper yes."""
    first, *lines = head.split(b"\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise Unavailable("workspace-odd", "The workspace did not answer as a notebook server does.", status=502)
    if status[1] == b"404":
        raise NotFound("kernel-gone", "This kernel is not running any more.")
    if status[1] != b"101":
        raise Invalid("workspace-refused", "The workspace did not open this connection.", status=502)
    headers = {
        name.strip().lower(): value.strip()
        for name, colon, value in (line.decode("latin-1").partition(":") for line in lines)
        if colon
    }
    chosen = headers.get("sec-websocket-protocol")
    wanted = [part.strip() for part in offered.split(",")] if offered else []
    if headers.get("sec-websocket-accept") != accept_of(key) or "sec-websocket-extensions" in headers:
        raise Unavailable("workspace-odd", "The workspace answered the handshake wrongly.", status=502)
    if chosen is not None and chosen not in wanted:
        raise Unavailable("workspace-odd", "The workspace chose a protocol nobody offered.", status=502)
    return chosen


def accept_of(key: str) -> str:
    """The answer to a handshake's key (RFC 6455, 1.3)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
