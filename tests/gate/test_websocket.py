"""WebSockets through the gate: bytes arrive whole, slow readers hold back fast writers, lost rights end it at once."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from tests.gate.build import GateWorld, kernels, until
from tre_orchestrator.errors import TreError
from tre_orchestrator.gate.headers import FRAME_COOKIE
from tre_orchestrator.gate.websocket import accept_of, chosen_protocol

CHANNELS = "/api/kernels/8a4f4e1a/channels"
PROTOCOL = "v1.kernel.websocket.jupyter.org"


async def echo(request: web.Request) -> web.StreamResponse:
    """A kernel that says back what it hears."""
    socket = web.WebSocketResponse(protocols=[PROTOCOL], max_msg_size=0, compress=False)
    await socket.prepare(request)
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


@contextlib.asynccontextmanager
async def opened(gated: GateWorld, cookie: str, **headers: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    sent = {
        "Host": gated.settings.workspace_host(gated.workspace_id) + gated.settings.port_suffix,
        "Origin": gated.own,
        "Cookie": f"{FRAME_COOKIE}={cookie}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    url = f"ws://127.0.0.1:{gated.settings.listen_port}{CHANNELS}?session_id=1"
    async with gated.client.ws_connect(url, headers=sent, protocols=[PROTOCOL], max_msg_size=0) as socket:
        yield socket


async def test_messages_pass_both_ways_whole(gated: GateWorld) -> None:
    gated.workspace.answer = echo
    async with opened(gated, await gated.open()) as socket:
        assert socket.protocol == PROTOCOL
        for size in (0, 1, 125, 126, 65535, 65536, 3_000_000):
            sent = bytes(index % 251 for index in range(min(size, 1000))) * (size // 1000 if size > 1000 else 1)
            await socket.send_bytes(sent)
            assert await socket.receive_bytes() == sent
        await socket.send_str("ä ∑ text")
        assert await socket.receive_str() == "ä ∑ text"


async def test_the_workspace_gets_our_handshake_only(gated: GateWorld) -> None:
    gated.workspace.answer = echo
    async with opened(gated, await gated.open(), X_Evil="1", Sec_WebSocket_Extensions="permessage-deflate") as socket:
        await socket.send_str("x")
        await socket.receive_str()
    (asked,) = gated.workspace.asked
    assert asked.headers["Authorization"].startswith("token ")
    assert asked.raw_path == f"{CHANNELS}?session_id=1"
    assert not {"Cookie", "Origin", "X-Evil", "Sec-WebSocket-Extensions"} & set(asked.headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "PEOPLE"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Cookie": ""},
        {"Cookie": "__Host-ws=wrong"},
    ],
)
async def test_n3_no_other_page_opens_one(gated: GateWorld, headers: dict[str, str]) -> None:
    gated.workspace.answer = echo
    cookie = await gated.open()
    given = {name: gated.people if value == "PEOPLE" else value for name, value in headers.items()}
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with opened(gated, cookie, **given):
            pass
    assert refused.value.status in (401, 403)
    assert gated.workspace.asked == []


async def test_a_plain_request_opens_none(gated: GateWorld) -> None:
    answer = await gated.lab("GET", CHANNELS, await gated.open(), headers={"Origin": gated.own})
    assert answer.code == "not-websocket"


async def test_an_upgrade_elsewhere_is_an_ordinary_request(gated: GateWorld) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    answer = await gated.lab("GET", "/api/kernels", await gated.open(), headers={**upgrade, **key})
    assert answer.status == 200
    assert "Upgrade" not in gated.workspace.asked[0].headers


async def test_a_kernel_that_is_gone_is_said(gated: GateWorld) -> None:
    async def gone(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "Kernel does not exist"}, status=404)

    gated.workspace.answer = gone
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with opened(gated, await gated.open()):
            pass
    assert refused.value.status == 404


async def test_a_server_that_does_not_upgrade_gives_no_socket(gated: GateWorld) -> None:
    gated.workspace.answer = kernels
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with opened(gated, await gated.open()):
            pass
    assert refused.value.status == 502


KEY = "dGhlIHNhbXBsZSBub25jZQ=="
FINE = f"Upgrade: websocket\r\nSec-WebSocket-Accept: {accept_of(KEY)}"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"nonsense",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.0 101 Switching",
        b"HTTP/1.1 101 Switching Protocols",
        b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: wrong",
        f"HTTP/1.1 101 x\r\n{FINE}\r\nSec-WebSocket-Extensions: permessage-deflate".encode(),
        f"HTTP/1.1 101 x\r\n{FINE}\r\nSec-WebSocket-Protocol: evil\tname".encode(),
        f"HTTP/1.1 101 x\r\n{FINE}\r\nSec-WebSocket-Protocol: other".encode(),
    ],
)
def test_a_wrong_answer_to_the_handshake_is_refused(head: bytes) -> None:
    with pytest.raises(TreError):
        chosen_protocol(head, KEY, PROTOCOL)


def test_the_handshakes_answer_is_the_standards() -> None:
    assert accept_of(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert chosen_protocol(f"HTTP/1.1 101 x\r\n{FINE}".encode(), KEY, PROTOCOL) is None


async def test_back_pressure_a_browser_that_does_not_read_stops_the_workspace(gated: GateWorld) -> None:
    sent = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        with contextlib.suppress(ConnectionError):
            while sent < 200 << 20:
                await socket.send_bytes(bytes(1 << 20))
                sent += 1 << 20
        return socket

    gated.workspace.answer = flood
    cookie = await gated.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", gated.settings.listen_port, limit=65536)
    host = gated.settings.workspace_host(gated.workspace_id) + gated.settings.port_suffix
    lines = [
        f"GET {CHANNELS} HTTP/1.1",
        f"Host: {host}",
        f"Origin: {gated.own}",
        f"Cookie: {FRAME_COOKIE}={cookie}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {KEY}",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    assert b" 101 " in await reader.readline()
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.3)
    assert 0 < sent < 60 << 20, "kernel buffers and the gate's own small ones, not the whole flood"
    writer.transport.abort()


async def test_back_pressure_a_workspace_that_does_not_read_stops_the_browser(gated: GateWorld) -> None:
    asleep = asyncio.Event()

    async def deaf(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False, max_msg_size=0)
        await socket.prepare(request)
        await asleep.wait()
        return socket

    gated.workspace.answer = deaf
    sent = 0
    async with opened(gated, await gated.open()) as socket:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.5):
                while sent < 200 << 20:
                    await socket.send_bytes(bytes(1 << 20))
                    sent += 1 << 20
        assert 0 < sent < 60 << 20
        asleep.set()


async def test_either_end_closing_closes_the_other(gated: GateWorld) -> None:
    async def once(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        await socket.send_str("bye")
        await socket.close(code=1000)
        return socket

    gated.workspace.answer = once
    cookie = await gated.open()
    async with opened(gated, cookie) as socket:
        assert await socket.receive_str() == "bye"
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
    gated.workspace.answer = echo
    async with opened(gated, cookie) as socket:
        await until(lambda: gated.gate.core.rights.connections == 1)
    await until(lambda: gated.gate.core.rights.connections == 0)


async def test_bytes_of_a_socket_are_metered_and_the_cap_cuts_it(gated: GateWorld) -> None:
    gated.workspace.answer = echo
    right_key = None
    async with opened(gated, await gated.open()) as socket:
        await socket.send_bytes(bytes(100_000))
        await socket.receive_bytes()
        (right,) = gated.gate.core.rights.in_use()
        right_key = right.meter
        assert 100_000 <= gated.gate.core.meter.total(right_key) < 101_000
        gated.gate.core.meter.add(right_key, right.hard - 150_000)
        await socket.send_bytes(bytes(100_000))
        message = await socket.receive()
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE)
    cookie = await gated.open()
    answer = await gated.lab("GET", "/api/kernels", cookie)
    assert (answer.status, answer.code) == (403, "meter-full")


async def test_D2_a_right_lost_during_the_handshake_lets_nothing_through(gated: GateWorld) -> None:
    """A hostile workspace could hold its answer back until the right is gone, and then pour."""
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def late(request: web.Request) -> web.StreamResponse:
        asked.set()
        await may_answer.wait()
        return await echo(request)

    gated.workspace.answer = late
    cookie = await gated.open()

    async def connect() -> None:
        async with opened(gated, cookie):
            raise AssertionError("it was let in")

    connecting = asyncio.create_task(connect())
    await asyncio.wait_for(asked.wait(), 5)
    before = gated.gate.core.rights.lost
    gated.clock.now += dt.timedelta(days=400)
    await until(lambda: gated.gate.core.rights.lost > before)
    may_answer.set()
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await connecting
