"""Who may vote, review and decide on a request, and when a reason is demanded: pure rules with a sentence each.

The page greys the button with the sentence, the API raises it, the tests walk the whole matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

from tre_orchestrator.airlock.access import Standing, why_not_author, why_not_checker
from tre_orchestrator.airlock.states import AUTHOR_OWNED, REVOCABLE, VOTING, State
from tre_orchestrator.airlock.votes import Vote
from tre_orchestrator.errors import Refusal


@dataclass(frozen=True, slots=True)
class Situation:
    """What the rules look at: where the person stands, where the request is, what they did in this turn already."""

    who: Standing
    state: State
    review_in: bool = False
    any_review_in: bool = False
    policy_same: bool = True


def why_not_review(situation: Situation) -> Refusal | None:
    """Why this person may not take part in the reviews of this turn now, or None."""
    refusal = why_not_checker(situation.who)
    if refusal:
        return refusal
    if situation.state not in VOTING:
        return Refusal("not-in-review", f"There is nothing to vote on: the request is '{situation.state.label}'.")
    if not situation.policy_same:
        return Refusal(
            "policy-changed", "The policy changed since the files were checked; they are being checked again."
        )
    if situation.review_in:
        return Refusal("review-in", "You handed in your review of this turn; it cannot be changed.")
    return None


def why_not_vote(situation: Situation, *, supporting: bool, voted: bool) -> Refusal | None:
    """Why this person may not vote on a file now, or None. Rules: airlock.md, separation."""
    refusal = why_not_review(situation)
    if refusal:
        return refusal
    if supporting:
        return Refusal("supporting-file", "This file is for the checkers only and is never released: it needs no vote.")
    if voted:
        return Refusal("already-voted", "You voted on this file; a vote is not changed within a turn.")
    return None


def why_not_decide(situation: Situation) -> Refusal | None:
    """Why this person may not return or reject the request now, or None."""
    refusal = why_not_checker(situation.who)
    if refusal:
        return refusal
    if situation.state is not State.consolidating:
        return Refusal(
            "not-consolidating",
            "A request is returned or rejected when the reviews are in and do not all approve; "
            f"it is '{situation.state.label}'.",
        )
    return None


def why_not_revoke(situation: Situation) -> Refusal | None:
    """Why this person may not revoke the release, or None: checkers from outside and the data's controllers may."""
    who = situation.who
    controls = who.is_controller and not who.is_author and not who.is_member and who.invalid is None
    refusal = None if controls else why_not_checker(who)
    if refusal:
        return refusal
    if situation.state not in REVOCABLE:
        return Refusal("nothing-to-revoke", f"There is no release to revoke: the request is '{situation.state.label}'.")
    return None


def why_not_edit(situation: Situation) -> Refusal | None:
    """Why this person may not change or submit the form now, or None."""
    refusal = why_not_author(situation.who)
    if refusal:
        return refusal
    if situation.state not in AUTHOR_OWNED:
        return Refusal("not-editable", f"The form cannot be changed now: the request is '{situation.state.label}'.")
    return None


def needs_reason(vote: Vote, verdict: str) -> bool:
    """Whether a vote overrides what the checks found: then it must say why. Agreeing needs no words."""
    return (verdict == "pass") is (vote is Vote.request_changes)
