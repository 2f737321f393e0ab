"""Parts of the gate apart: meter, tickets, signing in, and what stops its process."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.gate.build import GateWorld, free_port
from tests.governance.build import ANA
from tre_orchestrator.catalogue.names import ProjectName, WorkspaceId
from tre_orchestrator.errors import Refused, Unavailable
from tre_orchestrator.gate import oauth, tickets
from tre_orchestrator.gate.core import Core, read_keys
from tre_orchestrator.gate.meter import MIB, Meter, MeterKey, is_crossing, read_bytes, why_capped, write_bytes
from tre_orchestrator.gate.own import warning
from tre_orchestrator.gate.store import MeterView
from tre_orchestrator.gate.tables import FrameRow, TicketRow
from tre_orchestrator.governance.secrets import HUB_GATE, IDENTITY, INNER, create_all_secrets
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ops.health import health_of, metrics
from tre_orchestrator.settings import Settings

KEY = MeterKey(ANA, ProjectName("heart"))
DAY = dt.date(2026, 11, 23)
WORKSPACE = WorkspaceId("a" * 16)


def written(db: Database, meter: Meter) -> None:
    """One flush, as the gate does it."""
    pending = meter.take_pending()
    with db.write() as session:
        write_bytes(session, pending)
        totals = {key: read_bytes(session, key, day) for key, day in pending}
    meter.confirm(pending, totals)


def test_bytes_are_counted_once_however_often_they_are_flushed(db: Database) -> None:
    meter = Meter(lambda: DAY)
    assert meter.add(KEY, 10) == 10
    written(db, meter)
    assert (meter.total(KEY), meter.take_pending()) == (10, {})
    meter.add(KEY, 5)
    written(db, meter)
    written(db, meter)
    assert meter.total(KEY) == 15
    with db.read() as session:
        assert read_bytes(session, KEY, DAY) == 15


def test_two_gates_share_one_cap(db: Database) -> None:
    one, other = Meter(lambda: DAY), Meter(lambda: DAY)
    one.add(KEY, 10)
    other.add(KEY, 7)
    written(db, one)
    written(db, other)
    one.add(KEY, 1)
    written(db, one)
    assert one.total(KEY) == 18


def test_bytes_that_pass_while_a_flush_is_under_way_are_kept(db: Database) -> None:
    meter = Meter(lambda: DAY)
    meter.add(KEY, 10)
    pending = meter.take_pending()
    meter.add(KEY, 4)
    meter.confirm(pending, {KEY: 10})
    assert (meter.total(KEY), meter.take_pending()) == (14, {(KEY, DAY): 4})


def test_a_new_day_starts_at_nothing_and_the_old_days_rest_is_still_written(db: Database) -> None:
    today = [DAY]
    meter = Meter(lambda: today[0])
    meter.add(KEY, 10)
    today[0] = DAY + dt.timedelta(days=1)
    assert meter.total(KEY) == 0
    meter.add(KEY, 3)
    written(db, meter)
    with db.read() as session:
        assert (read_bytes(session, KEY, DAY), read_bytes(session, KEY, today[0])) == (10, 3)


def test_a_stale_reading_never_lowers_the_count() -> None:
    meter = Meter(lambda: DAY)
    meter.confirm({}, {KEY: 100})
    meter.confirm({}, {KEY: 90})
    assert meter.total(KEY) == 100


@pytest.mark.parametrize(("total", "capped"), [(0, False), (99, False), (100, True), (10**12, True)])
def test_the_cap_closes_at_its_number(total: int, capped: bool) -> None:
    assert (why_capped(total, 100) is not None) == capped


VIEW = MeterView(0, 100 * MIB, 500 * MIB, None, "")


@pytest.mark.parametrize(
    ("view", "counted", "words"),
    [
        (VIEW, 0, ""),
        (VIEW, 100 * MIB - 1, ""),
        (VIEW, 100 * MIB, "100 of 500 MiB"),
        (VIEW, 500 * MIB, "used up"),
        (replace(VIEW, warning="A grant was revoked."), 100 * MIB, "A grant was revoked."),
        (replace(VIEW, ends_at=dt.datetime(2026, 11, 23, 9, 15, tzinfo=dt.UTC)), 0, "ends at 09:15 UTC"),
        (replace(VIEW, ends_at=dt.datetime(2026, 11, 23, 9, 16, tzinfo=dt.UTC)), 0, ""),
    ],
)
def test_the_banner_warns_of_what_comes_first(view: MeterView, counted: int, words: str, now: dt.datetime) -> None:
    told = warning(view, counted, now)
    assert words in told
    assert bool(told) == bool(words)


@pytest.mark.parametrize(
    ("total", "size", "crossing"), [(99, 10, False), (100, 1, True), (150, 60, True), (150, 10, False)]
)
def test_the_soft_limit_is_told_once(total: int, size: int, crossing: bool) -> None:
    assert is_crossing(total, size, 100) == crossing


def test_tickets_and_frames_are_stored_as_hashes_and_forgotten(db: Database, now: dt.datetime) -> None:
    with db.write() as session:
        token = tickets.issue(session, WORKSPACE, "00", ANA, "s1", now)
    with db.write() as session:
        opened = tickets.redeem(session, token, WORKSPACE, now)
        assert opened is not None
        cookie, frame = opened
    with db.read() as session:
        stored = [row.token_hash for row in (*session.query(TicketRow), *session.query(FrameRow))]
        assert len(stored) == 2
        assert not {token, cookie} & set(stored)
        assert tickets.frame_of(session, cookie, now) == frame
        assert tickets.frame_of(session, token, now) is None
        assert tickets.frame_of(session, cookie, now + tickets.FRAME_LIFE) is None
    with db.write() as session:
        tickets.forget_expired(session, now + tickets.TICKET_LIFE)
        assert (session.query(TicketRow).count(), session.query(FrameRow).count()) == (0, 1)
        tickets.close_frames(session, "s1")
        assert session.query(FrameRow).count() == 0


def test_a_sign_in_is_finished_in_the_browser_that_began_it(now: dt.datetime) -> None:
    key = b"k" * 32
    attempt = oauth.begin("/projects/heart", now)
    sealed = oauth.seal(key, attempt)
    assert oauth.unseal(key, sealed, attempt.state, now) == attempt
    other = oauth.begin("/", now)
    wrong = [
        (sealed, other.state, now),
        (None, attempt.state, now),
        ("", attempt.state, now),
        (sealed, None, now),
        (sealed, "", now),
        (sealed[:-1] + ("0" if sealed[-1] != "0" else "1"), attempt.state, now),
        (oauth.seal(b"x" * 32, attempt), attempt.state, now),
        (sealed, attempt.state, now + oauth.STATE_LIFE),
        ("ä.ö", attempt.state, now),
    ]
    for cookie, state, moment in wrong:
        with pytest.raises(Refused):
            oauth.unseal(key, cookie, state, moment)


def test_the_way_to_the_hub_carries_a_challenge_and_not_its_secret(now: dt.datetime) -> None:
    attempt = oauth.begin("/", now)
    path = oauth.authorize_path(attempt, "http://tre.localhost:8000")
    assert attempt.verifier not in path
    assert "code_challenge_method=S256" in path
    assert "redirect_uri=http%3A%2F%2Ftre.localhost%3A8000%2Fgate%2Fcallback" in path


@pytest.mark.parametrize("missing", [IDENTITY, INNER, HUB_GATE])
@pytest.mark.parametrize("how", ["missing", "open", "short"])
def test_p5_there_is_no_gate_without_its_secrets(state_dir: Path, missing: str, how: str) -> None:
    create_all_secrets(state_dir / "keys")
    path = state_dir / "keys" / missing
    if how == "missing":
        path.unlink()
    elif how == "open":
        path.chmod(0o644)
    else:
        path.write_bytes(b"default")
    with pytest.raises(Unavailable) as refused:
        read_keys(state_dir / "keys")
    assert str(path) in refused.value.sentence


def start_gate(state_dir: Path, port: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tre_orchestrator.gate"],
        env={**os.environ, "TRE_STATE_DIR": str(state_dir), "TRE_LISTEN_PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_p5_a_missing_secret_stops_the_process_with_a_sentence(state_dir: Path) -> None:
    done = start_gate(state_dir, free_port())
    assert done.returncode == 1
    assert "is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_said_in_words(state_dir: Path) -> None:
    create_all_secrets(state_dir / "keys")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = start_gate(state_dir, port)
    assert (done.returncode, f"listens on 127.0.0.1:{port} already" in done.stderr) == (1, True)


async def test_health_and_metrics_answer_on_the_gates_own_socket(gated: GateWorld) -> None:
    cookie = await gated.open()
    await gated.lab("GET", "/api/kernels", cookie)
    await gated.lab("GET", "/files/x", cookie)
    health = await asyncio.to_thread(health_of, gated.settings, "gate")
    assert health.ok
    shown = await asyncio.to_thread(metrics, gated.settings, "gate")
    assert 'tre_gate_requests_total{host="workspace",rule="version"}' not in shown
    assert 'tre_gate_requests_total{host="workspace",rule="kernels"} 1.0' in shown
    assert 'tre_gate_refused_total{code="closed-download",host="workspace"} 1.0' in shown
    assert "tre_gate_workspace_bytes_total 2.0" in shown
    for private in (cookie, ANA, "heart", gated.workspace_id):
        assert private not in shown
    assert (gated.settings.run_dir / "gate.sock").stat().st_mode & 0o077 == 0


def test_r3_secrets_are_not_in_what_is_printed(state_dir: Path, db: Database, now: dt.datetime) -> None:
    create_all_secrets(state_dir / "keys")
    core = Core(Settings(state_dir=state_dir), db, lambda: now)
    shown = repr(core.keys)
    assert core.keys.hub_token not in shown
    assert repr(core.keys.inner) not in shown
    core.store.close()
