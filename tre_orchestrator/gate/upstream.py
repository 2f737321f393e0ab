"""Connections of the gate to what lies behind it, all over unix sockets: hub, web, and each workspace apart.

A pool never mixes two workspaces, so a workspace that answers out of turn can only confuse itself. Bodies of
requests are read whole, within a size and a time, before they take a connection; answers stream with back-pressure.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from aiohttp import web

from tre_orchestrator.errors import Invalid

CONNECTIONS = 64
BODY_SECONDS = 120.0
"""How long a body may take to come."""
_READ_BUFFER = 262_144
_HEADER_FIELD = 16_384


def session_to(socket: Path, *, limit: int = CONNECTIONS) -> aiohttp.ClientSession:
    """A client whose every request goes to `socket`; no cookies kept, nothing decompressed, nothing added."""
    return aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(path=str(socket), limit=limit),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        read_bufsize=_READ_BUFFER,
        max_field_size=_HEADER_FIELD,
    )


class Pools:
    """One client per workspace's listener; `keep` closes those that nobody has a right to any more."""

    def __init__(self) -> None:
        self._sessions: dict[Path, aiohttp.ClientSession] = {}

    def to(self, socket: Path) -> aiohttp.ClientSession:
        """The client for this listener."""
        found = self._sessions.get(socket)
        if found is None:
            found = self._sessions[socket] = session_to(socket)
        return found

    async def keep(self, sockets: set[Path]) -> None:
        """Close every client but those for `sockets`."""
        for socket in set(self._sessions) - sockets:
            await self._sessions.pop(socket).close()

    async def close(self) -> None:
        """Close them all."""
        await self.keep(set())


async def read_body(request: web.BaseRequest, limit: int, *, seconds: float = BODY_SECONDS) -> bytes:
    """The whole body, of at most `limit` bytes; raises `Invalid` beyond, and when it takes too long to come."""
    if not request.body_exists:
        return b""
    if request.content_length is not None and request.content_length > limit:
        raise _too_long(limit)
    try:
        async with asyncio.timeout(seconds):
            return b"".join([chunk async for chunk in _limited(request, limit)])
    except TimeoutError as error:
        raise Invalid("too-slow", "This request did not come to its end in time. Try again.", status=408) from error


async def _limited(request: web.BaseRequest, limit: int) -> AsyncIterator[bytes]:
    total = 0
    async for chunk in request.content.iter_any():
        total += len(chunk)
        if total > limit:
            raise _too_long(limit)
        yield chunk


def _too_long(limit: int) -> Invalid:
    return Invalid("too-long", f"This request is longer than the {limit // 1024} KiB that are taken here.", status=413)
