"""However many frames and connections one browser opens: a lost right closes them all in time, and there is an end."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from tests.gate.build import GateWorld, gate_world, until
from tests.gate.test_rights import DOWN, FRAME, Reader, Ticks, grant_revoked, right, rights_with
from tests.gate.test_websocket import echo, opened
from tests.governance.build import ANA
from tre_orchestrator.errors import Refusal, Refused
from tre_orchestrator.gate import core, reading, tickets
from tre_orchestrator.gate.rights import CONNECTIONS_MAX, STALE_SECONDS
from tre_orchestrator.governance import credentials
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ops.health import ask
from tre_orchestrator.settings import Settings

SOCKETS_EACH = 10
CLOSED_WITHIN = 2.0


@pytest_asyncio.fixture
async def as_shipped(db: Database, state_dir: Path, now: dt.datetime) -> AsyncIterator[GateWorld]:
    """A gate that decides as often as it does by default."""
    interval = Settings.model_fields["right_interval_seconds"].default
    async with gate_world(db, state_dir, now, right_interval_seconds=interval) as found:
        yield found


async def test_d2_a_revocation_closes_every_socket_of_every_frame_within_two_seconds(as_shipped: GateWorld) -> None:
    as_shipped.workspace.answer = echo
    session = as_shipped.sign_in()
    async with contextlib.AsyncExitStack() as stack:
        sockets = []
        for _ in range(tickets.FRAMES_MAX):
            cookie = await frame(as_shipped, session)
            for _ in range(SOCKETS_EACH):
                sockets.append(await stack.enter_async_context(opened(as_shipped, cookie)))
        rights = as_shipped.gate.core.rights
        assert (len(rights.in_use()), rights.connections) == (tickets.FRAMES_MAX, len(sockets))
        await asyncio.to_thread(grant_revoked, as_shipped)
        revoked = time.monotonic()
        await asyncio.gather(*(asyncio.wait_for(socket.receive(), 10) for socket in sockets))
        assert time.monotonic() - revoked <= CLOSED_WITHIN


async def test_a_round_costs_what_the_workspaces_cost_not_what_the_frames_cost(
    gated: GateWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = gated.sign_in()
    for _ in range(10):
        assert (await gated.lab("GET", "/api/kernels", await frame(gated, session))).status == 200
    rights = gated.gate.core.rights
    asked = [(one.frame, one) for one in rights.in_use()]
    assert len(asked) == 10
    decided = []
    once = reading.why_not_usable
    monkeypatch.setattr(reading, "why_not_usable", lambda *args: decided.append(args[0]) or once(*args))
    with gated.world.db.read() as database:
        answers = reading.read_rights(database, gated.settings, asked, gated.clock())
    assert answers == [known for _frame, known in asked]
    assert decided.count(database) == 1, "the watcher beside it has a session of its own"


async def test_with_one_frame_too_many_the_oldest_one_ends(gated: GateWorld) -> None:
    session = gated.sign_in()
    cookies = []
    for _ in range(tickets.FRAMES_MAX):
        gated.clock.pass_by(seconds=1)
        cookies.append(await frame(gated, session))
        assert (await gated.lab("GET", "/api/kernels", cookies[-1])).status == 200
    gated.workspace.answer = echo
    async with opened(gated, cookies[0]) as oldest, opened(gated, cookies[1]) as second:
        gated.clock.pass_by(seconds=1)
        await frame(gated, session)
        await asyncio.wait_for(oldest.receive(), 2)
        await second.send_str("still here")
        assert await second.receive_str() == "still here"
    assert (await gated.lab("GET", "/api/kernels", cookies[0])).status == 401


async def test_one_frame_holds_so_many_connections_and_no_more() -> None:
    rights = rights_with(Reader(), Ticks())
    await rights.of(FRAME)
    for number in range(CONNECTIONS_MAX):
        assert rights.attach(FRAME.key, lambda _why, number=number: None)  # type: ignore[misc]
    with pytest.raises(Refused, match="connections open"):
        rights.attach(FRAME.key, lambda _why: None)


async def test_p4_without_the_watcher_open_connections_end_within_seconds() -> None:
    """The watcher is gone, nobody asks anything: the guard beside it ends them."""
    ticks = Ticks()
    rights = rights_with(Reader(), ticks)
    closed: list[Refusal] = []
    await rights.of(FRAME)
    rights.attach(FRAME.key, closed.append)
    guard = asyncio.create_task(rights.guard())
    ticks.now += STALE_SECONDS - 1
    await asyncio.sleep(0.6)
    assert closed == []
    ticks.now += 2
    await until(lambda: bool(closed))
    guard.cancel()
    with pytest.raises(Refused):
        await rights.of(FRAME)


async def test_p4_a_reader_that_fails_proves_nothing_and_one_whose_database_is_away_has_its_lease() -> None:
    for answer, survives in ((ZeroDivisionError(), False), (DOWN, True)):
        reader, ticks = Reader(), Ticks()
        rights = rights_with(reader, ticks)
        await rights.of(FRAME)
        reader.answer = answer
        ticks.now += STALE_SECONDS + 1
        with contextlib.suppress(ZeroDivisionError):
            await rights.confirm()
        rights.expire()
        assert bool(rights.in_use()) is survives
        if survives:
            assert await rights.of(FRAME) == right()


async def test_p4_a_gate_whose_rights_are_not_read_closes_and_says_so_in_its_health(
    gated: GateWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated.workspace.answer = echo
    cookie = await gated.open()
    async with opened(gated, cookie) as socket:
        assert (await asyncio.to_thread(ask, gated.settings, "gate", "/health"))[0] == 200

        async def broken() -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(gated.gate.core.rights, "confirm", broken)
        message = await asyncio.wait_for(socket.receive(), STALE_SECONDS + 3)
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.ERROR)
    status, body = await asyncio.to_thread(ask, gated.settings, "gate", "/health")
    assert status == 503
    assert b"Rights were last read" in body
    assert (await gated.lab("GET", "/api/kernels", cookie)).status == 403
    monkeypatch.undo()
    await gated.gate.core.rights.confirm()
    assert (await asyncio.to_thread(ask, gated.settings, "gate", "/health"))[0] == 200


async def test_a_meter_that_is_not_written_shows_in_the_health(
    gated: GateWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "BOOKS_SECONDS", -1.0)
    status, body = await asyncio.to_thread(ask, gated.settings, "gate", "/health")
    assert (status, b"written down" in body) == (503, True)


async def test_what_the_workspace_says_keeps_it_busy_and_what_the_browser_says_keeps_the_session(
    gated: GateWorld,
) -> None:
    """Output alone is nobody's presence: a session ends after its idle time however much a cell prints."""
    gated.workspace.answer = talk
    session = gated.sign_in()
    cookie = await frame(gated, session)
    began = gated.clock()
    async with opened(gated, cookie) as socket:
        gated.clock.pass_by(minutes=90)
        await socket.send_str("go")
        for _ in range(3):
            await asyncio.wait_for(socket.receive(), 2)
        await gated.gate.core.store.flush(at_end=True)
    assert seen_at(gated) == began, "a word as short as a ping is nobody"
    gated.workspace.answer = echo
    async with opened(gated, cookie) as socket:
        await socket.send_str("x" * 200)
        await socket.receive()
        await gated.gate.core.store.flush(at_end=True)
    assert seen_at(gated) == gated.clock()


async def talk(request: web.Request) -> web.StreamResponse:
    """A kernel that prints when it hears anything."""
    socket = web.WebSocketResponse(protocols=["v1.kernel.websocket.jupyter.org"], compress=False)
    await socket.prepare(request)
    await socket.receive()
    for _ in range(3):
        await socket.send_str("output " * 100)
    await socket.receive()
    return socket


def seen_at(gated: GateWorld) -> dt.datetime:
    with gated.world.db.read() as session:
        (found,) = credentials.sessions_of_person(session, ANA, gated.clock())
    return found.seen_at


async def frame(gated: GateWorld, session: str) -> str:
    """A frame's cookie, of one more page of the same session."""
    entered = await gated.enter((await gated.ticket(session)).json["ticket"])
    assert entered.status == 303, entered.body
    return str(entered.headers["Set-Cookie"].split(";")[0].partition("=")[2])
