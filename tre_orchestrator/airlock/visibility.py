"""Who sees which comment, vote and notice, and when: one pure function.

Promise: nobody but its caster sees a vote before the quorum's reviews of its turn are in (A5); an author never sees
who voted what; a private comment never reaches the author or the project, a public one reaches them when its turn ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tre_orchestrator.airlock.states import State


class Kind(StrEnum):
    """What is looked at."""

    vote = "vote"
    private_comment = "private-comment"
    public_comment = "public-comment"
    decision = "decision"
    finding = "finding"
    review_count = "review-count"


class Side(StrEnum):
    """From where it is looked at."""

    author = "author"
    member = "member"
    checker = "checker"


class Phase(StrEnum):
    """How far the reviews of a turn are."""

    blind = "blind"
    revealed = "revealed"
    ended = "ended"


@dataclass(frozen=True, slots=True)
class Item:
    """A vote, comment or notice: who made it, in which turn, from the checkers' side or not.

    `opened` says whether that turn's votes were ever opened. A turn can end unopened (recalled, or the policy changed
    under it); what checkers said in it then stays unseen for good.
    """

    kind: Kind
    by: str
    turn: int
    by_checker: bool = True
    opened: bool = False


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks, from which side."""

    person: str
    side: Side


_BLIND = frozenset(
    {State.awaiting_review, State.in_review, State.checking, State.submitted, State.blocked, State.draft}
)


def phase_of(state: State) -> Phase:
    """The phase of the current turn when the request is in `state`."""
    if state in _BLIND:
        return Phase.blind
    return Phase.revealed if state is State.consolidating else Phase.ended


def visible(item: Item, viewer: Viewer, turn: int, phase: Phase) -> bool:
    """Whether `viewer` may see `item` while the request is in `turn` and that turn is in `phase`."""
    then = Phase.ended if item.turn < turn else phase
    if item.turn > turn:
        return False
    if item.kind is Kind.finding or item.by == viewer.person:
        return True
    if not item.by_checker:
        return item.kind is Kind.public_comment
    if viewer.side is Side.checker:
        return item.kind is Kind.review_count or (item.opened and then is not Phase.blind)
    return item.kind in (Kind.public_comment, Kind.decision) and item.opened and then is Phase.ended
