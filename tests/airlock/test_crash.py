"""A4: the process is killed (SIGKILL) at every commit, sync and rename in turn; nothing is lost, nothing is doubled."""

from __future__ import annotations

import datetime as dt
import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from tests.airlock.build import CHLOE, CLEAN, DAN, FORM, SMALL, Airlock, InProcess
from tests.governance.build import ANA
from tre_orchestrator.airlock.release import open_release
from tre_orchestrator.airlock.states import LEASE, State
from tre_orchestrator.airlock.tables import DownloadRow, FindingRow, ReleaseRow, RequestRow, ReviewRow, VoteRow
from tre_orchestrator.airlock.views import RequestView
from tre_orchestrator.airlock.work import sweep
from tre_orchestrator.errors import Unavailable
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.read import entries

FILES = {"a.csv": CLEAN, "b.csv": SMALL.replace(b",3", b",30"), "c.txt": b"It converged."}
LATER = LEASE + dt.timedelta(minutes=1)
MOST = 200


def _killed_at(air: Airlock, instant: int, act: Callable[[Airlock], object]) -> bool:
    """Run `act` in a child that dies at its `instant`-th chance; True when it died, False when it came to its end."""
    url = air.db.engine.url.render_as_string(hide_password=False)
    air.db.dispose()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _die_at(instant)
            act(replace(air, db=Database(url)))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def _die_at(instant: int) -> None:
    left = [instant]

    def chance(*_: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Session, "before_commit", chance)
    event.listen(Session, "after_commit", chance)
    for owner, name in ((os, "fsync"), (Path, "replace")):
        setattr(owner, name, _with_chance(getattr(owner, name), chance))


def _with_chance(real: Callable[..., object], chance: Callable[[], None]) -> Callable[..., object]:
    def wrapped(*given: Any) -> object:
        chance()
        done = real(*given)
        chance()
        return done

    return wrapped


def _kinds(air: Airlock, request: RequestView) -> Counter[str]:
    with air.db.read() as session:
        found = entries(session, subject=f"request/heart/{request.id}", limit=1000)
        return Counter(entry.kind for entry in found)


def _settle(air: Airlock) -> Airlock:
    """Let another process take over, after the lease of the dead one ran out."""
    later = replace(air, now=air.now + LATER)
    while later.advance():
        pass
    return later


def _for_every_instant(air: Airlock, once: Callable[[Airlock, int], tuple[bool, Airlock]]) -> int:
    for instant in range(MOST):
        died, air = once(air, instant)
        if not died:
            return instant
    raise AssertionError(f"more than {MOST} instants")


@pytest.mark.slow
def test_A4_killed_anywhere_between_submission_and_review(air: Airlock) -> None:
    def once(air: Airlock, instant: int) -> tuple[bool, Airlock]:
        draft = air.draft(FORM)

        def act(child: Airlock) -> None:
            child.submit(draft, FILES)
            child.advance()

        died = _killed_at(air, instant, act)
        later = _settle(air)
        found = later.view(draft)
        if found.state is State.draft:
            later.submit(draft, FILES)
            later = _settle(later)
            found = later.view(draft)
        assert found.state is State.awaiting_review, (instant, found.state, found.problem)
        kinds = _kinds(later, draft)
        assert (kinds["request.closed"], kinds["request.checked"]) == (1, 1), (instant, kinds)
        assert kinds["request.submitted"] == 1 + kinds["request.intake-failed"], (instant, kinds)
        assert [file.path for file in found.files] == ["a.csv", "b.csv", "c.txt"]
        with later.db.read() as session:
            ids = [file.id for file in found.files]
            assert session.query(FindingRow).filter(FindingRow.file_id.in_(ids)).count() == 1
        return died, later

    assert _for_every_instant(air, once) > 10


@pytest.mark.slow
def test_A4_killed_anywhere_between_approval_and_release(air: Airlock) -> None:
    def once(air: Airlock, instant: int) -> tuple[bool, Airlock]:
        request = air.approved(FILES | {"b.csv": CLEAN, "c.txt": b"x"}, FORM)
        died = _killed_at(air, instant, lambda child: child.advance())
        later = _settle(air)
        found = later.view(request)
        assert found.state is State.released, (instant, found.state, found.problem)
        kinds = _kinds(later, request)
        assert (kinds["release.approved"], kinds["release.made"], kinds["release.failed"]) == (1, 1, 0), (
            instant,
            kinds,
        )
        opened = open_release(later.db, later.store, "heart", request.id, ANA, later.now)
        assert sum(len(chunk) for chunk in opened.chunks) == opened.size
        return died, later

    assert _for_every_instant(air, once) > 10


@pytest.mark.slow
def test_A4_killed_anywhere_while_the_quorums_last_review_comes_in(air: Airlock) -> None:
    def once(air: Airlock, instant: int) -> tuple[bool, Airlock]:
        request = air.awaiting()
        air.review(request, CHLOE)

        def act(child: Airlock) -> None:
            child.review(request, DAN)

        died = _killed_at(air, instant, act)
        if air.view(request).state is not State.approved:
            air.review(request, DAN)
        found = air.view(request)
        assert found.state is State.approved, instant
        kinds = _kinds(air, request)
        assert kinds["vote.cast"] == kinds["review.submitted"] == 2, (instant, kinds)
        assert kinds["votes.revealed"] == kinds["release.approved"] == 1, (instant, kinds)
        with air.db.read() as session:
            assert session.query(VoteRow).filter_by(request_id=request.id).count() == 2
            assert session.query(ReviewRow).filter_by(request_id=request.id).count() == 2
        return died, replace(air, now=air.now + dt.timedelta(seconds=1))

    assert _for_every_instant(air, once) >= 4


@pytest.mark.slow
def test_A4_killed_anywhere_while_a_bundle_is_opened(air: Airlock) -> None:
    request = air.released()

    def once(air: Airlock, instant: int) -> tuple[bool, Airlock]:
        def act(child: Airlock) -> None:
            open_release(child.db, child.store, "heart", request.id, ANA, child.now)

        died = _killed_at(air, instant, act)
        with air.db.read() as session:
            fetched = session.query(DownloadRow).filter_by(request_id=request.id).count()
            assert session.query(ReleaseRow).count() == 1
        assert _kinds(air, request)["release.fetched"] == fetched, instant
        return died, air

    assert _for_every_instant(air, once) >= 2


def test_A4_what_a_dead_copy_left_is_swept_and_what_is_needed_stays(air: Airlock) -> None:
    request = air.released({"a.csv": CLEAN, "b.csv": CLEAN.replace(b"120", b"130")})
    with air.db.read() as session:
        row = session.get_one(RequestRow, request.id)
        air.store.put(row.id, air.store.unwrap(row.id, row.wrapped_key), [b"orphan"])
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=2)
    assert sweep(air.db, air.store, later) == 1
    opened = open_release(air.db, air.store, "heart", request.id, ANA, air.now)
    assert sum(len(chunk) for chunk in opened.chunks) == opened.size
    assert sweep(air.db, air.store, later) == 0


def test_two_workers_at_once_do_the_work_once(air: Airlock) -> None:
    draft = air.submit(air.draft(), FILES)

    class Meanwhile:
        def scan(self, path: str, chunks: Any, rules: Any) -> Any:
            assert air.advance() == 0
            return InProcess().scan(path, chunks, rules)

    assert air.advance(Meanwhile()) == 1
    assert air.view(draft).state is State.awaiting_review
    assert _kinds(air, draft)["request.checked"] == 1


def test_a_worker_that_comes_back_after_its_lease_changes_nothing(air: Airlock) -> None:
    draft = air.submit(air.draft(), FILES)
    late = air.at(minutes=10)

    class Sleeper:
        woken = False

        def scan(self, path: str, chunks: Any, rules: Any) -> Any:
            if not self.woken:
                self.woken = True
                assert late.advance() == 1
            return InProcess().scan(path, chunks, rules)

    air.advance(Sleeper())
    found = air.view(draft)
    assert found.state is State.awaiting_review
    assert _kinds(air, draft)["request.checked"] == 1
    assert [len(file.findings) for file in found.files] == [0, 0, 1]


def test_a_check_that_cannot_run_is_tried_again_and_at_last_left_to_humans_never_passed(air: Airlock) -> None:
    class Broken:
        def scan(self, path: str, chunks: Any, rules: Any) -> Any:
            raise Unavailable("no-check-sandbox", "No sandbox here.")

    draft = air.submit(air.draft(), {"a.csv": CLEAN})
    air.advance(Broken())
    delayed = air.view(draft)
    assert (delayed.state, delayed.problem != "") == (State.checking, True)
    assert air.advance(Broken()) == 0
    for day in range(1, 6):
        air.at(days=day).advance(Broken())
    found = air.view(draft)
    assert found.state is State.awaiting_review
    assert [file.verdict for file in found.files] == ["review"]
    assert [finding.rule for finding in found.files[0].findings] == ["unparsed"]


def test_one_failing_request_does_not_stop_the_others(air: Airlock) -> None:
    first, second = (air.submit(air.draft(), {name: CLEAN}) for name in ("bad.csv", "good.csv"))

    class Picky:
        def scan(self, path: str, chunks: Any, rules: Any) -> Any:
            if path == "bad.csv":
                raise RuntimeError("a bug")
            return InProcess().scan(path, chunks, rules)

    air.advance(Picky())
    assert air.view(first).state is State.checking
    assert air.view(second).state is State.awaiting_review


def test_a_release_that_fails_is_tried_again_with_growing_pauses(air: Airlock) -> None:
    request = air.approved()
    blobs = air.settings.store_dir / "blobs"
    away = air.settings.store_dir / "away"
    blobs.rename(away)
    air.advance()
    failed = air.view(request)
    assert failed.state is State.release_failed
    assert "missing" in failed.problem
    assert air.at(seconds=1).advance() == 0
    away.rename(blobs)
    air.at(minutes=1).advance()
    assert air.view(request).state is State.released


def test_timeouts_withdraw_and_expire(air: Airlock) -> None:
    draft, blocked, returned, released = air.draft(), air.blocked(), air.returned(), air.released()
    air.at(days=29).advance()
    assert air.view(returned).state is State.returned
    air.at(days=31).advance()
    states = {name: air.view(one).state for name, one in locals().items() if isinstance(one, RequestView)}
    assert states == {
        "draft": State.draft,
        "blocked": State.withdrawn,
        "returned": State.withdrawn,
        "released": State.expired,
    }
    air.at(days=91).advance()
    assert air.view(draft).state is State.withdrawn


def test_a_request_that_waits_for_checkers_too_long_is_shown_as_late(air: Airlock) -> None:
    request = air.awaiting()
    assert not air.view(request, CHLOE).late
    assert air.at(days=3).view(request, CHLOE).late
