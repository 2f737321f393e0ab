"""A lost right closes the gate within two seconds, open connections included; one that cannot be asked is lost."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import update

from tests.gate.build import GateWorld, until
from tests.gate.test_websocket import echo, opened
from tests.governance.build import ANA, BEN, ERIN, person, profile, project
from tre_orchestrator.errors import Refusal, Refused, Unavailable
from tre_orchestrator.gate.meter import MeterKey
from tre_orchestrator.gate.rights import Right, Rights
from tre_orchestrator.gate.tickets import Frame
from tre_orchestrator.governance import credentials
from tre_orchestrator.governance.grants import live_grants, revoke
from tre_orchestrator.governance.tables import GrantRow
from tre_orchestrator.workspaces.tables import WorkspaceRow


def inactive(gated: GateWorld) -> None:
    gated.world.apply(person("ana-silva", "analyst", active=False))


def accreditation_over(gated: GateWorld) -> None:
    gated.world.apply(person("ana-silva", "analyst", accredited="2026-11-22"))


def membership_over(gated: GateWorld) -> None:
    gated.world.apply(project(members=[{"person": "ana-silva", "until": "2026-11-22"}]))


def not_a_member(gated: GateWorld) -> None:
    gated.world.apply(project(members=[{"person": "ben-okafor"}]))


def project_edited(gated: GateWorld) -> None:
    gated.world.apply(project(purpose="Something else"))


def grant_revoked(gated: GateWorld) -> None:
    with gated.world.db.write() as session:
        (row,) = session.query(GrantRow).all()
        revoke(session, row.id, ERIN, "No longer wanted", gated.clock())


def grant_over(gated: GateWorld) -> None:
    with gated.world.db.write() as session:
        session.execute(update(GrantRow).values(until=dt.date(2026, 11, 22)))


def signed_out_everywhere(gated: GateWorld) -> None:
    with gated.world.db.write() as session:
        credentials.close_all_sessions(session, ANA, gated.clock())


def workspace_ended(gated: GateWorld) -> None:
    with gated.world.db.write() as session:
        session.execute(update(WorkspaceRow).values(state="ending", end_reason="It was ended."))


def life_over(gated: GateWorld) -> None:
    with gated.world.db.write() as session:
        session.execute(update(WorkspaceRow).values(ends_at=gated.clock()))


LOSSES: list[Callable[[GateWorld], None]] = [
    inactive,
    accreditation_over,
    membership_over,
    not_a_member,
    project_edited,
    grant_revoked,
    grant_over,
    signed_out_everywhere,
    workspace_ended,
    life_over,
]


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
async def test_p1_d2_a_lost_right_closes_open_sockets_and_the_next_request(
    gated: GateWorld, lose: Callable[[GateWorld], None]
) -> None:
    gated.workspace.answer = echo
    cookie = await gated.open()
    async with opened(gated, cookie) as socket:
        await socket.send_str("still here")
        assert await socket.receive_str() == "still here"
        await asyncio.to_thread(lose, gated)
        message = await asyncio.wait_for(socket.receive(), 2)
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.ERROR)
    answer = await gated.lab("GET", "/api/kernels", cookie)
    assert answer.status in (401, 403)
    assert len(gated.workspace.asked) == 1


async def test_with_everything_in_place_nothing_closes(gated: GateWorld) -> None:
    """The control: the watcher alone ends nothing."""
    gated.workspace.answer = echo
    async with opened(gated, await gated.open()) as socket:
        for _ in range(5):
            await gated.gate.core.rights.confirm()
        await socket.send_str("still here")
        assert await socket.receive_str() == "still here"


async def test_signing_out_ends_the_frame_at_once(gated: GateWorld) -> None:
    gated.workspace.answer = echo
    session = gated.sign_in()
    ticket = (await gated.ticket(session)).json["ticket"]
    entered = await gated.enter(ticket)
    cookie = entered.headers["Set-Cookie"].split(";")[0].partition("=")[2]
    async with opened(gated, cookie) as socket:
        out = await gated.portal("POST", "/logout", session)
        assert (out.status, out.headers["Location"]) == (303, "/hub/logout")
        await asyncio.wait_for(socket.receive(), 2)
    assert (await gated.lab("GET", "/api/kernels", cookie)).status == 401
    assert (await gated.portal("GET", "/api/me", session)).status == 401


async def test_p1_a_person_made_invalid_loses_the_portal_with_the_next_request(gated: GateWorld) -> None:
    session = gated.sign_in(BEN)
    assert (await gated.portal("GET", "/api/x", session)).status == 200
    await asyncio.to_thread(gated.world.apply, person("ben-okafor", "analyst", active=False))
    assert (await gated.portal("GET", "/api/x", session)).status == 401


async def test_p1_mfa_where_the_tier_asks(gated: GateWorld) -> None:
    """A session without a second factor gets no ticket to a tier that asks for one, one with it does."""

    def ask_for_mfa() -> None:
        gated.world.apply(profile(**{"1": {"mfa": True}}))
        gated.world.approve()

    await asyncio.to_thread(ask_for_mfa)
    without = await gated.ticket(gated.sign_in(mfa=False))
    assert (without.status, without.code) == (403, "mfa-needed")
    assert (await gated.ticket(gated.sign_in(mfa=True))).status == 200


FRAME = Frame("k", "a" * 16, "00", ANA, "s", dt.datetime(2027, 1, 1, tzinfo=dt.UTC))  # type: ignore[arg-type]


def right() -> Right:
    return Right(FRAME, MeterKey(ANA, "heart"), Path("/x"), 1, 2, False, None)  # type: ignore[arg-type]


class Reader:
    """Answers as it is told to."""

    def __init__(self) -> None:
        self.answer: Right | Refusal | Exception = right()
        self.hang: asyncio.Event | None = None
        self.calls = 0

    async def __call__(self, asked: list[tuple[Frame, Right | None]]) -> list[Right | Refusal]:
        self.calls += 1
        if self.hang is not None:
            await self.hang.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer for _ in asked]


class Ticks:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def rights_with(reader: Reader, ticks: Ticks) -> Rights:
    return Rights(reader, lease_seconds=60, interval_seconds=0.01, monotonic=ticks)


DOWN = Unavailable("database", "It cannot be reached.")


async def test_p4_a_right_that_cannot_be_confirmed_is_lost_after_the_lease() -> None:
    reader, ticks = Reader(), Ticks()
    rights = rights_with(reader, ticks)
    closed: list[Refusal] = []
    await rights.of(FRAME)
    rights.attach(FRAME.key, closed.append)
    reader.answer = DOWN
    ticks.now += 59
    await rights.confirm()
    rights.expire()
    assert await rights.of(FRAME) == right()
    assert closed == []
    ticks.now += 2
    rights.expire()
    assert [refusal.code for refusal in closed] == ["right-unknown"]
    with pytest.raises(Unavailable):
        await rights.of(FRAME)
    assert not rights.attach(FRAME.key, closed.append)


async def test_p4_without_the_watcher_a_request_itself_finds_the_lease_over() -> None:
    reader, ticks = Reader(), Ticks()
    rights = rights_with(reader, ticks)
    await rights.of(FRAME)
    ticks.now += 61
    with pytest.raises(Refused):
        await rights.of(FRAME)


async def test_p4_a_reader_that_hangs_does_not_keep_rights_alive() -> None:
    reader, ticks = Reader(), Ticks()
    rights = rights_with(reader, ticks)
    closed: list[Refusal] = []
    await rights.of(FRAME)
    rights.attach(FRAME.key, closed.append)
    reader.hang = asyncio.Event()
    watching = asyncio.create_task(rights.watch())
    await until(lambda: reader.calls == 2)
    ticks.now += 61
    await until(lambda: bool(closed))
    watching.cancel()


async def test_a_right_nobody_uses_is_not_watched_for_ever() -> None:
    reader, ticks = Reader(), Ticks()
    rights = rights_with(reader, ticks)
    await rights.of(FRAME)
    ticks.now += 30
    await rights.confirm()
    assert len(rights.in_use()) == 1
    for _ in range(4):
        ticks.now += 30
        await rights.confirm()
    assert rights.in_use() == []


async def test_one_bad_reader_answer_does_not_stop_the_watch() -> None:
    reader, ticks = Reader(), Ticks()
    rights = rights_with(reader, ticks)
    await rights.of(FRAME)
    reader.answer = ZeroDivisionError()
    watching = asyncio.create_task(rights.watch())
    await until(lambda: reader.calls >= 4)
    reader.answer = Refusal("gone", "Gone.")
    await until(lambda: rights.lost == 1)
    watching.cancel()


async def test_d2_a_revoked_grant_is_not_live_any_more(gated: GateWorld) -> None:
    """The control of the losses above: the grant was live before."""
    with gated.world.db.read() as session:
        assert live_grants(session, gated.clock())
