"""Votes and quorum: blind, k of n, per file, person and turn. Pure.

Promise: a file is approved only by at least k different reviewers, each with a review in for this turn, none of whom
asked for changes. A later turn keeps an earlier vote only for a file whose bytes, context, destination and policy
are the same; the decision does not depend on the order of votes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Vote(StrEnum):
    """What a checker says about one file."""

    approve = "approve"
    request_changes = "request-changes"


class FileDecision(StrEnum):
    """What the votes on one file come to."""

    incomplete = "incomplete"
    approved = "approved"
    changes_requested = "changes-requested"
    conflicted = "conflicted"


class Outcome(StrEnum):
    """What the reviews of a turn come to."""

    open = "open"
    approved = "approved"
    undecided = "undecided"


@dataclass(frozen=True, slots=True)
class Ballot:
    """One vote: `content` is the digest of all that was voted on (bytes, context, destination, policy)."""

    path: str
    content: str
    person: str
    turn: int
    vote: Vote


@dataclass(frozen=True, slots=True)
class Item:
    """A file of the turn that is decided."""

    path: str
    content: str


def standing(ballots: Iterable[Ballot], item: Item, turn: int) -> dict[str, Ballot]:
    """Per person, the vote that counts for `item` in `turn`: the latest one that was cast on exactly this content."""
    latest: dict[str, Ballot] = {}
    for ballot in ballots:
        if ballot.path != item.path or ballot.content != item.content or ballot.turn > turn:
            continue
        held = latest.get(ballot.person)
        if held is None or ballot.turn > held.turn:
            latest[ballot.person] = ballot
    return latest


def decide_file(
    ballots: Iterable[Ballot], item: Item, turn: int, reviewers: frozenset[str], quorum: int
) -> FileDecision:
    """The decision on `item` from the votes of those whose review of `turn` is in."""
    votes = [ballot.vote for person, ballot in standing(ballots, item, turn).items() if person in reviewers]
    if len(votes) < quorum:
        return FileDecision.incomplete
    if all(vote is Vote.approve for vote in votes):
        return FileDecision.approved
    if all(vote is Vote.request_changes for vote in votes):
        return FileDecision.changes_requested
    return FileDecision.conflicted


def decide(
    ballots: Iterable[Ballot], items: Iterable[Item], turn: int, reviewers: frozenset[str], quorum: int
) -> Outcome:
    """The outcome of a turn: open until `quorum` reviews are in, approved only if every file is (and there is one)."""
    if len(reviewers) < quorum:
        return Outcome.open
    cast = tuple(ballots)
    decisions = [decide_file(cast, item, turn, reviewers, quorum) for item in items]
    approved = bool(decisions) and all(decision is FileDecision.approved for decision in decisions)
    return Outcome.approved if approved else Outcome.undecided


def unvoted(ballots: Iterable[Ballot], items: Iterable[Item], turn: int, person: str) -> tuple[str, ...]:
    """The paths on which `person` still has to vote before their review of `turn` can be submitted."""
    cast = tuple(ballots)
    return tuple(item.path for item in items if person not in standing(cast, item, turn))
