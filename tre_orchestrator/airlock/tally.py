"""Votes between their rows, their commitments in the ledger, and the rules that count them.

Promise: a vote counts only if it opens the commitment that its row and a `vote.cast` entry of this request both hold;
a vote that was put into the database, or changed there, is refused and never counted.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.airlock.access import subject
from tre_orchestrator.airlock.tables import FileRow, RequestRow, ReviewRow, VoteRow
from tre_orchestrator.airlock.votes import Ballot, Item, Vote, standing
from tre_orchestrator.errors import Unavailable
from tre_orchestrator.ledger.append import append, software
from tre_orchestrator.ledger.canonical import Json
from tre_orchestrator.ledger.commitments import opens
from tre_orchestrator.ledger.read import entries

VOTES_PER_ENTRY = 25
"""Votes opened by one entry: with the longest reasons and paths they stay well below what an entry may hold."""
ALL = 1_000_000
"""More entries than one request can have: no limit."""


def files_of(session: Session, row: RequestRow) -> list[FileRow]:
    """The files of the latest closed list, by path."""
    query = select(FileRow).where(FileRow.request_id == row.id, FileRow.turn == row.files_turn)
    return list(session.scalars(query.order_by(FileRow.path)))


def votes_of(session: Session, row: RequestRow) -> list[VoteRow]:
    """Every vote ever cast on the request, oldest first."""
    return list(session.scalars(select(VoteRow).where(VoteRow.request_id == row.id).order_by(VoteRow.id)))


def reviewers(session: Session, row: RequestRow) -> frozenset[str]:
    """Whose review of the latest file list is in."""
    query = select(ReviewRow.person).where(ReviewRow.request_id == row.id, ReviewRow.turn == row.files_turn)
    return frozenset(session.scalars(query))


def items(files: list[FileRow]) -> tuple[Item, ...]:
    """What is voted on: every file that would leave."""
    return tuple(Item(file.path, file.content) for file in files if not file.supporting)


def ballots(votes: list[VoteRow]) -> tuple[Ballot, ...]:
    """The votes as the counting rules take them."""
    return tuple(Ballot(vote.path, vote.content, vote.person, vote.turn, Vote(vote.vote)) for vote in votes)


def committed_value(row: RequestRow, vote: VoteRow) -> dict[str, Json]:
    """What a vote's commitment commits to."""
    return {
        "request": subject(row),
        "turn": vote.turn,
        "path": vote.path,
        "content": vote.content,
        "person": vote.person,
        "vote": vote.vote,
        "reason": vote.reason,
    }


def counted_votes(session: Session, row: RequestRow) -> list[VoteRow]:
    """The votes that stand for the latest file list, of those whose review is in, each proven by its commitment.

    Raises `Unavailable` when one does not open what the ledger holds.
    """
    in_ = reviewers(session, row)
    votes = votes_of(session, row)
    cast = ballots(votes)
    standing_turns = {
        (item.path, person, ballot.turn)
        for item in items(files_of(session, row))
        for person, ballot in standing(cast, item, row.files_turn).items()
        if person in in_
    }
    counted = [vote for vote in votes if (vote.path, vote.person, vote.turn) in standing_turns]
    _refuse_unproven(session, row, counted)
    return counted


def open_votes(session: Session, row: RequestRow, now: dt.datetime) -> None:
    """Open the votes of the turn in the ledger: from here on checkers may see them."""
    opened: list[Json] = [
        {**committed_value(row, vote), "salt": vote.salt, "commitment": vote.commitment}
        for vote in counted_votes(session, row)
    ]
    row.opened_turns = [*row.opened_turns, row.files_turn]
    reviews = len(reviewers(session, row))
    for start in range(0, len(opened), VOTES_PER_ENTRY):
        some = opened[start : start + VOTES_PER_ENTRY]
        facts: dict[str, Json] = {"turn": row.files_turn, "reviews": reviews, "votes": len(some), "of": len(opened)}
        append(session, "votes.revealed", software("airlock"), subject(row), facts, body={"votes": some}, now=now)


def _refuse_unproven(session: Session, row: RequestRow, votes: list[VoteRow]) -> None:
    committed = {
        (entry.actor.id, str(entry.facts["commitment"]))
        for entry in entries(session, subject=subject(row), kind="vote.cast", limit=ALL)
        if entry.actor.kind == "person"
    }
    for vote in votes:
        proven = opens(vote.commitment, vote.salt, committed_value(row, vote))
        if not proven or (vote.person, vote.commitment) not in committed:
            raise Unavailable(
                "vote-not-proven",
                "A vote on this request does not match what the ledger holds, so nothing was decided. Tell ops now.",
            )
