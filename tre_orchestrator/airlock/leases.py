"""Claiming a request for work: a lease is a random token and a time, so that a dead process's work is taken over.

The token fences: whoever comes back late finds another token, or another state, and changes nothing.
"""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from tre_orchestrator.airlock.access import find_request, move, subject
from tre_orchestrator.airlock.approval import NOT_AS_APPROVED, approved_entry, why_not_as_approved
from tre_orchestrator.airlock.states import LEASE, Guard, State, Who
from tre_orchestrator.airlock.tables import RequestRow
from tre_orchestrator.errors import TreError
from tre_orchestrator.ledger.append import append, software
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.read import entries

_FIRST_RETRY = dt.timedelta(seconds=10)
_LAST_RETRY = dt.timedelta(hours=1)
_SERVED = func.coalesce(RequestRow.lease_until, RequestRow.state_since)
"""When a request was last worked on: the end of its last lease, else when it began to wait."""
DELAYED = "This takes longer than usual; it is tried again by itself."


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on one request in one state, as long as `token` is its lease."""

    project: str
    id: int
    state: State
    token: str
    attempts: int


def claim_next(db: Database, now: dt.datetime) -> Claim | None:
    """Claim the request that was served least recently or, when it never was, has waited longest; None: none is due."""
    due = _due(now)
    with db.read() as session:
        if session.scalar(select(RequestRow.id).where(due).limit(1)) is None:
            return None
    with db.write() as session:
        query = select(RequestRow).where(due).order_by(_SERVED, RequestRow.id).limit(1)
        row = session.scalar(query.with_for_update(skip_locked=True))
        return None if row is None else _claim(session, row, now)


def held(session: Session, claim: Claim) -> RequestRow | None:
    """The claimed request, locked; None when somebody else has it by now or it has moved on."""
    row = find_request(session, claim.project, claim.id, lock=True)
    return row if row.lease == claim.token and State(row.state) is claim.state else None


def let_go(session: Session, claim: Claim, now: dt.datetime) -> None:
    """Give the claim back with nothing wrong: more is to be done, after everything that waits longer for its turn."""
    row = held(session, claim)
    if row is not None:
        row.lease, row.lease_until, row.attempts = "", now - dt.timedelta(microseconds=1), 0


def failed(db: Database, claim: Claim, error: Exception, now: dt.datetime) -> None:
    """Record that the work failed: tried again later with growing pauses, except what only people can put right."""
    with db.write() as session:
        row = held(session, claim)
        if row is None:
            return
        again = now + min(_FIRST_RETRY * 2 ** min(claim.attempts, 10), _LAST_RETRY)
        if claim.state is State.checking:
            row.lease, row.lease_until, row.retry_at, row.problem = "", now, again, DELAYED
            return
        move(row, State.release_failed, Who.system, now)
        code = error.code if isinstance(error, TreError) else type(error).__name__
        row.retry_at = None if code == NOT_AS_APPROVED else again
        row.problem = error.sentence if isinstance(error, TreError) else DELAYED
        if code != _last_failure(session, row):  # tried for weeks, it fails for the same reason a thousand times
            append(session, "release.failed", software("airlock"), subject(row), {"code": code}, now=now)


def _last_failure(session: Session, row: RequestRow) -> str | None:
    """Why the release of what is approved now failed last, if it has."""
    approved = approved_entry(session, row)
    told = entries(session, subject=subject(row), kind="release.failed", limit=1, newest_first=True)
    return str(told[0].facts["code"]) if told and approved and told[0].seq > approved.seq else None


def _due(now: dt.datetime) -> ColumnElement[bool]:
    free = or_(RequestRow.lease_until.is_(None), RequestRow.lease_until < now)
    ripe = or_(RequestRow.retry_at.is_(None), RequestRow.retry_at <= now)
    working = RequestRow.state.in_([State.checking.value, State.approved.value, State.releasing.value])
    retried = and_(RequestRow.state == State.release_failed.value, RequestRow.retry_at.is_not(None))
    return and_(free, ripe, or_(working, retried))


def _claim(session: Session, row: RequestRow, now: dt.datetime) -> Claim | None:
    state = State(row.state)
    if state is State.release_failed:
        refusal = why_not_as_approved(session, row, now)
        if refusal:
            row.retry_at = None if refusal.code == NOT_AS_APPROVED else now + _LAST_RETRY
            row.problem = refusal.sentence
            return None
        move(row, State.releasing, Who.system, now, frozenset({Guard.same_as_approved}))
    elif state is State.approved:
        move(row, State.releasing, Who.system, now)
    row.lease, row.lease_until = secrets.token_hex(16), now + LEASE
    row.attempts += 1
    return Claim(row.project, row.id, State(row.state), row.lease, row.attempts)
