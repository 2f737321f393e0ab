"""Slow bodies, large heads: whoever sends them hurts themselves only, and nobody else is kept from signing in."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from aiohttp import web

from tests.gate.build import GateWorld, until
from tests.gate.test_people_host import NAVIGATE
from tre_orchestrator.gate import people
from tre_orchestrator.gate.addresses import BODIES, HEADS_BYTES
from tre_orchestrator.gate.upstream import CONNECTIONS

HOST = "127.0.0.1"


def head(gated: GateWorld, *lines: str, method: str = "POST /hub/login") -> bytes:
    site = gated.settings.site + gated.settings.port_suffix
    fixed = [f"{method} HTTP/1.1", f"Host: {site}", f"Origin: {gated.people}", "Sec-Fetch-Site: same-origin"]
    return "\r\n".join([*fixed, *lines]).encode() + b"\r\n"


@contextlib.asynccontextmanager
async def held_open(gated: GateWorld, sent: bytes, count: int):  # type: ignore[no-untyped-def]
    """`count` connections that sent these bytes and say no more."""
    streams = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(HOST, gated.settings.listen_port)
            streams.append((reader, writer))
            with contextlib.suppress(ConnectionError):
                writer.write(sent)
                await writer.drain()
        yield streams
    finally:
        for _reader, writer in streams:
            writer.close()


async def test_slow_sign_in_forms_take_no_connection_to_the_hub(gated: GateWorld) -> None:
    slow = head(gated, "Content-Type: application/x-www-form-urlencoded", "Content-Length: 100") + b"\r\nusername="
    async with held_open(gated, slow, CONNECTIONS + 10) as streams:
        turned_away = [await asyncio.wait_for(reader.readline(), 2) for reader, _writer in streams[BODIES:]]
        assert {b" ".join(line.split()[:2]) for line in turned_away} == {b"HTTP/1.1 429"}
        page = await asyncio.wait_for(gated.ask("GET", "/hub/login", headers=NAVIGATE), 2)
        assert page.status == 200
    assert [request.method for request in gated.hub.asked] == ["GET"]


async def test_a_form_that_does_not_come_to_its_end_is_given_up(
    gated: GateWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "_BODY_SECONDS", 0.1)
    async with held_open(gated, head(gated, "Content-Length: 100") + b"\r\nusername=", 1) as [(reader, _writer)]:
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 2)
    assert gated.hub.asked == []


async def test_large_heads_are_held_up_to_a_limit_for_one_address(gated: GateWorld) -> None:
    size = 1_000_000
    large = head(gated, "Cookie: a=" + "x" * size)
    addresses = gated.gate.core.addresses
    async with held_open(gated, large, 40) as streams:
        await until(lambda: sum(reader.at_eof() or reader.exception() is not None for reader, _ in streams) >= 30)
        assert 0 < addresses.heads(HOST) <= HEADS_BYTES
    await until(lambda: addresses.heads(HOST) == 0)
    assert (await gated.ask("GET", "/hub/login", headers=NAVIGATE)).status == 200


async def test_what_a_request_held_is_given_back_when_it_is_answered(gated: GateWorld) -> None:
    waiting, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(_request: web.Request) -> web.StreamResponse:
        waiting.set()
        await go_on.wait()
        return web.Response(text="there")

    gated.hub.answer = slowly
    asking = asyncio.create_task(gated.ask("GET", "/hub/login", headers={**NAVIGATE, "Cookie": "a=" + "x" * 700_000}))
    await waiting.wait()
    assert gated.gate.core.addresses.heads(HOST) > 700_000
    go_on.set()
    assert (await asking).status == 200
    await until(lambda: gated.gate.core.addresses.heads(HOST) == 0)


@pytest.mark.parametrize(
    "lines",
    [
        ["X-Long: " + "x" * 70_000],
        [f"X-Many-{number}: {'x' * 4000}" for number in range(20)],
        ["Cookie: " + "a=;" * 5000],
    ],
    ids=["one long", "many", "crumbs"],
)
async def test_a_head_that_no_browser_sends_is_refused(gated: GateWorld, lines: list[str]) -> None:
    sent = head(gated, *lines, method="GET /hub/login") + b"\r\n"
    async with held_open(gated, sent, 1) as [(reader, _writer)]:
        assert b" 400 " in await asyncio.wait_for(reader.readline(), 2)
    assert gated.hub.asked == []


async def test_a_head_longer_than_any_browser_sends_ends_its_connection(gated: GateWorld) -> None:
    lines = [f"Cookie: a{number}={'x' * 500_000}" for number in range(5)]
    async with held_open(gated, head(gated, *lines), 1) as [(reader, _writer)]:
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 2) == b""
    await until(lambda: gated.gate.core.addresses.heads(HOST) == 0)
