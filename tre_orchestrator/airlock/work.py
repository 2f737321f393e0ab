"""What the airlock does by itself: check files, build releases, take over what a crash left, apply timeouts.

Work that must survive is a row: a process claims it with a lease, does the slow part outside any transaction, and
writes the result only if the lease is still its own. Killed at any instant, nothing is lost (the lease runs out and the
next one starts from the last commit) and nothing is done twice. One failing request never stops the others: it is
tried again later and shows that it is delayed.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from sqlalchemy import or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from tre_orchestrator.airlock import release
from tre_orchestrator.airlock.access import find_request, move, subject
from tre_orchestrator.airlock.approval import check_again
from tre_orchestrator.airlock.checking import FileScanner, check_files
from tre_orchestrator.airlock.leases import Claim, claim_next, failed, held
from tre_orchestrator.airlock.policy import Policy, from_stored, policy_now
from tre_orchestrator.airlock.requests import give_back_unfinished
from tre_orchestrator.airlock.runner import Scanner
from tre_orchestrator.airlock.states import TIMEOUTS, VOTING, Guard, Overdue, State, Who
from tre_orchestrator.airlock.store import Store
from tre_orchestrator.airlock.tables import FileRow, ReleaseRow, RequestRow
from tre_orchestrator.errors import TreError
from tre_orchestrator.ledger.append import append, software
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.keys import load_or_create_signer
from tre_orchestrator.settings import Settings

_log = structlog.get_logger()

REQUESTS_PER_STEP = 4
FILES_PER_STEP = 16
"""How much one `advance` does at most, so that its caller's loop stays lively."""
ORPHAN_AGE = dt.timedelta(days=1)
"""An unnamed blob that is older belongs to no copy that still runs."""
_UNFINISHED = "The copy of the folder did not finish. Submit it again."


def advance(
    db: Database, settings: Settings, store: Store, now: dt.datetime, *, scanner: FileScanner | None = None
) -> int:
    """Do a bounded amount of due work; returns how many requests it worked on. Call it again and again."""
    done = sum(_each(db, now, due, act) for due, act in _CHORES)
    began, at_start = time.monotonic(), now
    for _ in range(REQUESTS_PER_STEP):
        now = at_start + dt.timedelta(seconds=time.monotonic() - began)  # each lease begins when its work does
        claim = claim_next(db, now)
        if claim is None:
            break
        done += 1
        try:
            _work_on(db, settings, store, scanner or Scanner(), claim, now)
        except Exception as error:  # noqa: BLE001 - one request's failure must not stop the others
            _log.warning("airlock.step-failed", request=claim.id, project=claim.project, error=_name(error))
            failed(db, claim, error, now)
    return done


def sweep(db: Database, store: Store, now: dt.datetime) -> int:
    """Remove from the store what no row names and no copy can still be writing; how many files. Hourly is plenty."""
    with db.read() as session:
        known = frozenset({*session.scalars(select(FileRow.blob)), *session.scalars(select(ReleaseRow.blob))})
    return store.sweep(known, (now - ORPHAN_AGE).timestamp())


def _work_on(
    db: Database, settings: Settings, store: Store, scanner: FileScanner, claim: Claim, now: dt.datetime
) -> None:
    if claim.state is State.checking:
        check_files(db, store, scanner, claim, now, most=FILES_PER_STEP)
        return
    stored = release.pack(db, store, load_or_create_signer(settings.keys_dir), claim.project, claim.id, now)
    with db.write() as session:
        row = held(session, claim)
        if row is not None:
            release.finish(session, row, stored, now)


Due = Callable[[Session, dt.datetime], Iterable[RequestRow]]
Chore = Callable[[Session, RequestRow, dt.datetime], None]


def _each(db: Database, now: dt.datetime, due: Due, act: Chore) -> int:
    """Do one chore on every request it is due for, each in a transaction of its own; how many there were."""
    with db.read() as session:
        found = [(row.project, row.id, row.state, row.version) for row in due(session, now)]
    for project, request_id, *seen in found:
        try:
            with db.write() as session:
                row = find_request(session, project, request_id, lock=True)
                if [row.state, row.version] == seen:
                    act(session, row, now)
        except TreError as error:
            _log.warning("airlock.chore-failed", request=request_id, project=project, error=error.code)
    return len(found)


def _unfinished_copies(session: Session, now: dt.datetime) -> Iterable[RequestRow]:
    expired = or_(RequestRow.lease_until.is_(None), RequestRow.lease_until < now)
    return session.scalars(select(RequestRow).where(RequestRow.state == State.submitted.value, expired))


def _give_back(session: Session, row: RequestRow, now: dt.datetime) -> None:
    give_back_unfinished(session, row, _UNFINISHED, now)


def _under_old_policy(session: Session, _now: dt.datetime) -> Iterable[RequestRow]:
    reviewed = RequestRow.state.in_([state.value for state in VOTING])
    policies: dict[str, Policy | None] = {}
    for row in session.scalars(select(RequestRow).where(reviewed)):
        if row.project not in policies:
            policies[row.project] = policy_now(session, row.project)
        policy = policies[row.project]
        if policy is not None and policy != from_stored(row.policy):
            yield row


def _check_again(session: Session, row: RequestRow, now: dt.datetime) -> None:
    check_again(session, row, Who.system, now)


def _out_of_time(session: Session, now: dt.datetime) -> Iterable[RequestRow]:
    ends = {Overdue.withdraw, Overdue.expire}
    over = (
        (RequestRow.state == state.value) & (_since(state) <= now - timeout.after)
        for state, timeout in TIMEOUTS.items()
        if timeout.then in ends
    )
    return session.scalars(select(RequestRow).where(or_(*over)))


def _since(state: State) -> InstrumentedAttribute[Any]:
    """From when a state's time counts; each new try of a release enters the failed state afresh."""
    return RequestRow.decided_at if state is State.release_failed else RequestRow.state_since


def _end(session: Session, row: RequestRow, now: dt.datetime) -> None:
    if State(row.state) is State.released:
        release.expire(session, row, now)
        return
    move(row, State.withdrawn, Who.system, now, frozenset({Guard.timed_out}))
    row.problem = "It was left alone for too long and was withdrawn."
    append(session, "request.withdrawn", software("airlock"), subject(row), {"turn": row.turn}, now=now)


_CHORES: tuple[tuple[Due, Chore], ...] = (
    (_unfinished_copies, _give_back),
    (_under_old_policy, _check_again),
    (_out_of_time, _end),
)


def _name(error: Exception) -> str:
    return error.code if isinstance(error, TreError) else type(error).__name__
