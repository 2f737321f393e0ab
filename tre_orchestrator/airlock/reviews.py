"""What checkers do with a request: claim, vote blind on each file, hand in the review, then return or reject.

A vote is a row that never changes; the ledger gets a salted commitment at once and the opened votes when the quorum's
reviews are in, in the same transaction as what follows from them. Unanimous approval approves the request; anything
else waits for a checker to return or reject it, with a reason. Nobody decides before the quorum is in, so no action
tells how somebody voted (A5).
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.airlock.access import (
    acting_on,
    move,
    standing,
    subject,
    why_not_checker,
)
from tre_orchestrator.airlock.approval import check_again, conclude_if_quorum
from tre_orchestrator.airlock.comments import add_decision, reason_in_words
from tre_orchestrator.airlock.reading import situation_of, view
from tre_orchestrator.airlock.rules import Situation, needs_reason, why_not_decide, why_not_review, why_not_vote
from tre_orchestrator.airlock.states import Guard, State, Who
from tre_orchestrator.airlock.tables import FileRow, RequestRow, ReviewRow, VoteRow
from tre_orchestrator.airlock.tally import ballots, committed_value, files_of, items, votes_of
from tre_orchestrator.airlock.views import RequestView
from tre_orchestrator.airlock.votes import Vote, unvoted
from tre_orchestrator.errors import NotFound, Refusal, Refused, refuse_if
from tre_orchestrator.ledger.append import append
from tre_orchestrator.ledger.append import person as actor
from tre_orchestrator.ledger.canonical import Json
from tre_orchestrator.ledger.commitments import commit

CLAIM = dt.timedelta(hours=4)
"""How long a claim is shown; it never keeps anybody else from reviewing."""


def cast_vote(
    session: Session,
    project: str,
    request_id: int,
    path: str,
    person: str,
    vote: Vote,
    reason: str,
    *,
    version: int,
    now: dt.datetime,
) -> RequestView:
    """Vote on the file at `path`. Raises `Refused` with the rule, `Stale` when the request is not what was seen."""
    row = _acting(session, project, request_id, person, now, version)
    file = session.scalar(
        select(FileRow).where(FileRow.request_id == row.id, FileRow.turn == row.files_turn, FileRow.path == path)
    )
    if file is None:
        raise NotFound("no-file", "There is no such file in this request.")
    voted = session.scalar(select(VoteRow.id).where(VoteRow.file_id == file.id, VoteRow.person == person)) is not None
    refuse_if(why_not_vote(_situation(session, row, person, now), supporting=file.supporting, voted=voted))
    overrides = needs_reason(vote, file.verdict)
    words = reason_in_words(reason, needed=overrides, why=f"Your vote on '{path}' goes against what the checks found.")
    ballot = VoteRow(
        request_id=row.id,
        author=row.author,
        file_id=file.id,
        turn=file.turn,
        path=file.path,
        content=file.content,
        person=person,
        vote=vote.value,
        reason=words,
        cast_at=now,
    )
    commitment = commit(committed_value(row, ballot))
    ballot.commitment, ballot.salt = commitment.digest, commitment.salt
    session.add(ballot)
    if State(row.state) is State.awaiting_review:
        move(row, State.in_review, Who.checker, now, quiet=True)
    facts: dict[str, Json] = {"turn": file.turn, "file": file.id, "commitment": commitment.digest}
    append(session, "vote.cast", actor(person), subject(row), facts, now=now)
    return view(session, project, request_id, person, now)


def submit_review(
    session: Session, project: str, request_id: int, person: str, now: dt.datetime, *, version: int
) -> RequestView:
    """Hand in the review of this turn. The quorum's last review opens all votes and decides.

    Raises `Refused` naming every file that still lacks a vote.
    """
    row = _acting(session, project, request_id, person, now, version)
    refuse_if(why_not_review(_situation(session, row, person, now)))
    files, cast = files_of(session, row), ballots(votes_of(session, row))
    open_files = unvoted(cast, items(files), row.files_turn, person)
    if open_files:
        raise Refused([Refusal("votes-missing", f"Vote on '{path}' first.") for path in open_files])
    if State(row.state) is State.awaiting_review:
        move(row, State.in_review, Who.checker, now, quiet=True)
    session.add(ReviewRow(request_id=row.id, author=row.author, turn=row.files_turn, person=person, submitted_at=now))
    append(session, "review.submitted", actor(person), subject(row), {"turn": row.files_turn}, now=now)
    conclude_if_quorum(session, row, now)
    return view(session, project, request_id, person, now)


def return_(
    session: Session, project: str, request_id: int, person: str, reason: str, now: dt.datetime, *, version: int
) -> RequestView:
    """Give the request back to its author with what has to change."""
    row = _decide(session, project, request_id, person, reason, now, version, State.returned, "request.returned")
    row.turn += 1
    return view(session, project, request_id, person, now)


def reject(
    session: Session, project: str, request_id: int, person: str, reason: str, now: dt.datetime, *, version: int
) -> RequestView:
    """End the request: this must not leave."""
    _decide(session, project, request_id, person, reason, now, version, State.rejected, "request.rejected")
    return view(session, project, request_id, person, now)


def claim(
    session: Session, project: str, request_id: int, person: str, now: dt.datetime, *, version: int
) -> RequestView:
    """Tell other checkers that you are on it, for a few hours. No lock: anybody else may still review."""
    row = _acting(session, project, request_id, person, now, version)
    refuse_if(why_not_review(_situation(session, row, person, now)))
    row.claimed_by, row.claim_until = person, now + CLAIM
    return view(session, project, request_id, person, now)


def recheck(
    session: Session, project: str, request_id: int, person: str, now: dt.datetime, *, version: int
) -> RequestView:
    """Send a request whose release failed because the policy changed back to the checks and to a new review."""
    row = _acting(session, project, request_id, person, now, version)
    check_again(session, row, Who.checker, now)
    return view(session, project, request_id, person, now)


def _decide(
    session: Session,
    project: str,
    request_id: int,
    person: str,
    reason: str,
    now: dt.datetime,
    version: int,
    target: State,
    kind: str,
) -> RequestRow:
    row = _acting(session, project, request_id, person, now, version)
    refuse_if(why_not_decide(_situation(session, row, person, now)))
    words = reason_in_words(reason, needed=True, why="The author must learn why.")
    move(row, target, Who.checker, now, frozenset({Guard.reason_given}))
    row.decided_at, row.problem = now, words
    add_decision(session, row, person, words, now)
    append(session, kind, actor(person), subject(row), {"turn": row.turn}, body={"why": words}, now=now)
    return row


def _acting(session: Session, project: str, request_id: int, person: str, now: dt.datetime, version: int) -> RequestRow:
    """The request, locked, for somebody who may act as its checker on the version they saw."""
    return acting_on(session, project, request_id, person, now, version, why_not_checker)


def _situation(session: Session, row: RequestRow, person: str, now: dt.datetime) -> Situation:
    return situation_of(session, row, standing(session, row, person, now))
