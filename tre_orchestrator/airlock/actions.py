"""Everything a person could do with a request, each with the reason when it cannot be done now: the page's buttons.

The names are those of the functions in `requests.py` and `reviews.py`, which refuse for the same reasons.
"""

from __future__ import annotations

from collections.abc import Iterator

from tre_orchestrator.airlock.access import why_not_author
from tre_orchestrator.airlock.rules import Situation, why_not_decide, why_not_edit, why_not_review, why_not_revoke
from tre_orchestrator.airlock.states import Guard, State, Who, why_not_move
from tre_orchestrator.airlock.views import Action
from tre_orchestrator.airlock.visibility import Side
from tre_orchestrator.errors import Refusal


def actions_of(situation: Situation, *, unvoted: int) -> tuple[Action, ...]:
    """The actions of this person's side, possible now or not. `unvoted`: files a checker has still to vote on."""
    side = situation.who.side
    if side is Side.author:
        rows = _author(situation)
    elif side is Side.checker:
        rows = _checker(situation, unvoted)
    else:
        rows = iter(())
    actions = [Action(name, label, refusal.sentence if refusal else None) for name, label, refusal in rows]
    if situation.who.is_controller and side is Side.member:
        refusal = why_not_revoke(situation)
        actions.append(Action("revoke", "Revoke the release", refusal.sentence if refusal else None))
    return tuple(actions)


_Row = tuple[str, str, Refusal | None]


def _author(situation: Situation) -> Iterator[_Row]:
    edit = why_not_edit(situation)
    yield "update", "Save the form", edit
    yield "submit", "Submit", edit
    yield (
        "contest",
        "Ask for review as it is",
        why_not_author(situation.who) or _step(situation, State.awaiting_review, Guard.justified),
    )
    recall = frozenset() if situation.any_review_in else frozenset({Guard.no_review_in})
    yield "withdraw", "Withdraw", why_not_author(situation.who) or _step(situation, State.withdrawn, *recall)
    yield "download", "Download the bundle", why_not_author(situation.who) or _not_released(situation)


def _checker(situation: Situation, unvoted: int) -> Iterator[_Row]:
    review = why_not_review(situation)
    yield "claim", "Claim", review
    yield "submit_review", "Submit review", review or _votes_missing(unvoted)
    decide = why_not_decide(situation)
    yield "return", "Return to the author", decide
    yield "reject", "Reject", decide
    yield "recheck", "Check again under today's policy", _no_recheck(situation)
    yield "revoke", "Revoke the release", why_not_revoke(situation)


def _step(situation: Situation, target: State, *holds: Guard) -> Refusal | None:
    return why_not_move(situation.state, target, Who.author, frozenset(holds))


def _not_released(situation: Situation) -> Refusal | None:
    if situation.state is State.released:
        return None
    return Refusal("not-released", f"There is nothing to download: the request is '{situation.state.label}'.")


def _votes_missing(unvoted: int) -> Refusal | None:
    if not unvoted:
        return None
    files = "1 file" if unvoted == 1 else f"{unvoted} files"
    return Refusal("votes-missing", f"Vote on {files} more, then submit your review.")


def _no_recheck(situation: Situation) -> Refusal | None:
    holds = frozenset() if situation.policy_same else frozenset({Guard.policy_changed})
    return why_not_move(situation.state, State.checking, Who.checker, holds)
