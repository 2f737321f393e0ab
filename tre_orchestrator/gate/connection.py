"""One TCP connection of the gate, and what a head may look like before anything else looks at the request.

A head is counted from its first byte for the address it comes from, until its request is over. One that is too long,
or one too many for its address, ends its connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web

from tre_orchestrator.errors import Refusal, TreError
from tre_orchestrator.gate import pages
from tre_orchestrator.gate.addresses import Addresses
from tre_orchestrator.gate.headers import people_headers

log = structlog.get_logger()
COOKIES_LIMIT = 1_048_576
"""Longest header taken, in bytes. A hostile workspace's page may set 180 cookies of 4 KiB for the people's host, which
are ignored there; refusing them would lock the person out."""
COOKIES_MAX = 1000
_OTHERS_LIMIT = 65_536
_HEAD_LIMIT = COOKIES_LIMIT + 8 * _OTHERS_LIMIT
"""More than all that a browser sends before its request is looked at, the beginning of a body included."""


def why_odd_request(request: web.BaseRequest) -> Refusal | None:
    """Why this request's shape is refused, or None (RFC 9112, 3.2 and 6.1)."""
    headers = request.headers
    odd = (
        request.version != (1, 1)
        or len(headers.getall("Host", [])) != 1
        or len(headers.getall("Content-Length", [])) > 1
        or ("Transfer-Encoding" in headers and "Content-Length" in headers)
        or headers.getall("Transfer-Encoding", ["chunked"]) != ["chunked"]
        or request.method in ("CONNECT", "TRACE", "TRACK")
        or "Expect" in headers
        or sum(value.count(";") for value in headers.getall("Cookie", [])) > COOKIES_MAX
        or sum(len(name) + len(value) for name, value in request.raw_headers if name.lower() != b"cookie")
        > _OTHERS_LIMIT
    )
    return Refusal("odd-request", "This request was refused: its form is not one that browsers send.") if odd else None


class Connection(web.RequestHandler):
    """One connection. A request that cannot even be read is refused without repeating any of it (R3)."""

    __slots__ = ("_address", "_addresses", "_head")

    def __init__(self, manager: web.Server, addresses: Addresses, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._addresses = addresses
        self._address = ""
        self._head = 0

    def connection_made(self, transport: Any) -> None:
        """Somebody connected."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""

    def data_received(self, data: bytes) -> None:
        """Bytes came; those before a request is looked at are its head."""
        if not (self._request_in_progress or self._messages or self._upgraded):
            self._head += len(data)
            within = self._addresses.hold_head(self._address, len(data))
            if not within or self._head > _HEAD_LIMIT:
                log.warning("gate.head-refused", held=self._addresses.heads(self._address), length=self._head)
                self.request_over()
                if self.transport is not None:
                    self.transport.abort()
                return
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is over."""
        self.request_over()
        super().connection_lost(exc)

    def request_over(self) -> None:
        """Nothing of the last head is held any more."""
        if self._head:
            self._addresses.drop_head(self._address, self._head)
            self._head = 0

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what could not be read or handled."""
        if status < 500:
            log.warning("gate.unreadable", error=type(exc).__name__)
        else:
            log.error("gate.failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError
        if status < 500:
            error = TreError("odd-request", "This request was refused: it cannot be read.", status=status)
        else:
            error = TreError("gate-failed", "The gate failed on this request. Try again.", status=status)
        answer = pages.problem(error)
        for name, value in people_headers(https=False):
            answer.headers[name] = value
        answer.force_close()
        return answer


class Server(web.Server):
    """Takes connections."""

    def __init__(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], addresses: Addresses, **kwargs: Any
    ) -> None:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            try:
                return await handler(request)
            finally:
                if isinstance(request.protocol, Connection):
                    request.protocol.request_over()

        super().__init__(handle, **kwargs)
        self._addresses = addresses

    def __call__(self) -> Connection:
        """A new connection."""
        return Connection(self, self._addresses, loop=self._loop, **self._kwargs)
