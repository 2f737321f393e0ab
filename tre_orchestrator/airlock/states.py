"""The life of a request as one table: from, to, who, on which condition; and how long it may stay anywhere.

Promise: a move that is not a row here does not happen. Every state that is not final has a row for a human and an
entry in `TIMEOUTS`. The diagram in the docs and the tested matrix are made from this table.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

from tre_orchestrator.errors import Refusal


class State(StrEnum):
    """Where a request is."""

    draft = "draft"
    submitted = "submitted"
    checking = "checking"
    blocked = "blocked"
    awaiting_review = "awaiting-review"
    in_review = "in-review"
    consolidating = "consolidating"
    returned = "returned"
    rejected = "rejected"
    approved = "approved"
    releasing = "releasing"
    release_failed = "release-failed"
    released = "released"
    revoked = "revoked"
    expired = "expired"
    withdrawn = "withdrawn"

    @property
    def label(self) -> str:
        """The state in words for the person."""
        return _LABELS[self]

    @property
    def final(self) -> bool:
        """Whether nothing can happen to the request any more."""
        return self in FINAL


_LABELS = {
    State.draft: "Draft",
    State.submitted: "Being copied",
    State.checking: "Being checked",
    State.blocked: "Stopped by a check",
    State.awaiting_review: "Waiting for review",
    State.in_review: "In review",
    State.consolidating: "Checkers disagree or want changes",
    State.returned: "Returned to you",
    State.rejected: "Rejected",
    State.approved: "Approved",
    State.releasing: "Being packed",
    State.release_failed: "Release delayed",
    State.released: "Released",
    State.revoked: "Revoked",
    State.expired: "Expired",
    State.withdrawn: "Withdrawn",
}


class Who(StrEnum):
    """In which part somebody acts on a request. `system` is software: it never votes and never decides."""

    author = "author"
    checker = "checker"
    controller = "controller"
    system = "system"


class Guard(StrEnum):
    """The condition of a move; what must be true of the request besides its state."""

    none = "none"
    form_complete = "form-complete"
    files_closed = "files-closed"
    intake_failed = "intake-failed"
    no_block = "no-block"
    some_block = "some-block"
    justified = "justified"
    no_review_in = "no-review-in"
    quorum_in = "quorum-in"
    all_approved = "all-approved"
    reason_given = "reason-given"
    same_as_approved = "same-as-approved"
    policy_changed = "policy-changed"
    bundle_stored = "bundle-stored"
    timed_out = "timed-out"


@dataclass(frozen=True, slots=True)
class Transition:
    """One row: `who` may move a request from `source` to `target` if `guard` holds."""

    source: State
    target: State
    who: Who
    guard: Guard = Guard.none


_S, _W, _G = State, Who, Guard
TRANSITIONS: tuple[Transition, ...] = (
    Transition(_S.draft, _S.submitted, _W.author, _G.form_complete),
    Transition(_S.draft, _S.withdrawn, _W.author),
    Transition(_S.draft, _S.withdrawn, _W.system, _G.timed_out),
    Transition(_S.submitted, _S.checking, _W.system, _G.files_closed),
    Transition(_S.submitted, _S.draft, _W.system, _G.intake_failed),
    Transition(_S.submitted, _S.withdrawn, _W.author),
    Transition(_S.checking, _S.blocked, _W.system, _G.some_block),
    Transition(_S.checking, _S.awaiting_review, _W.system, _G.no_block),
    Transition(_S.checking, _S.withdrawn, _W.author),
    Transition(_S.blocked, _S.submitted, _W.author, _G.form_complete),
    Transition(_S.blocked, _S.awaiting_review, _W.author, _G.justified),
    Transition(_S.blocked, _S.withdrawn, _W.author),
    Transition(_S.blocked, _S.withdrawn, _W.system, _G.timed_out),
    Transition(_S.awaiting_review, _S.in_review, _W.checker),
    Transition(_S.awaiting_review, _S.checking, _W.system, _G.policy_changed),
    Transition(_S.awaiting_review, _S.withdrawn, _W.author, _G.no_review_in),
    Transition(_S.in_review, _S.consolidating, _W.system, _G.quorum_in),
    Transition(_S.in_review, _S.checking, _W.system, _G.policy_changed),
    Transition(_S.in_review, _S.withdrawn, _W.author, _G.no_review_in),
    Transition(_S.consolidating, _S.approved, _W.system, _G.all_approved),
    Transition(_S.consolidating, _S.returned, _W.checker, _G.reason_given),
    Transition(_S.consolidating, _S.rejected, _W.checker, _G.reason_given),
    Transition(_S.returned, _S.submitted, _W.author, _G.form_complete),
    Transition(_S.returned, _S.withdrawn, _W.author),
    Transition(_S.returned, _S.withdrawn, _W.system, _G.timed_out),
    Transition(_S.approved, _S.releasing, _W.system),
    Transition(_S.approved, _S.revoked, _W.checker, _G.reason_given),
    Transition(_S.approved, _S.revoked, _W.controller, _G.reason_given),
    Transition(_S.releasing, _S.released, _W.system, _G.bundle_stored),
    Transition(_S.releasing, _S.release_failed, _W.system),
    Transition(_S.releasing, _S.revoked, _W.checker, _G.reason_given),
    Transition(_S.releasing, _S.revoked, _W.controller, _G.reason_given),
    Transition(_S.release_failed, _S.releasing, _W.system, _G.same_as_approved),
    Transition(_S.release_failed, _S.checking, _W.checker, _G.policy_changed),
    Transition(_S.release_failed, _S.withdrawn, _W.author),
    Transition(_S.release_failed, _S.withdrawn, _W.system, _G.timed_out),
    Transition(_S.release_failed, _S.revoked, _W.checker, _G.reason_given),
    Transition(_S.release_failed, _S.revoked, _W.controller, _G.reason_given),
    Transition(_S.released, _S.revoked, _W.checker, _G.reason_given),
    Transition(_S.released, _S.revoked, _W.controller, _G.reason_given),
    Transition(_S.released, _S.expired, _W.system, _G.timed_out),
)

FINAL = frozenset({State.rejected, State.revoked, State.expired, State.withdrawn})
AUTHOR_OWNED = frozenset({State.draft, State.returned, State.blocked})
CHECKERS_OWNED = frozenset({State.awaiting_review, State.in_review, State.consolidating})
VOTING = frozenset({State.awaiting_review, State.in_review})
REVOCABLE = frozenset({State.approved, State.releasing, State.release_failed, State.released})


class Overdue(StrEnum):
    """What happens when a request stayed in a state for too long."""

    withdraw = "withdraw"
    expire = "expire"
    take_over = "take-over"
    remind = "remind"


@dataclass(frozen=True, slots=True)
class Timeout:
    """How long a request may stay in a state, and what follows."""

    after: dt.timedelta
    then: Overdue


def _days(days: int, then: Overdue) -> Timeout:
    return Timeout(dt.timedelta(days=days), then)


LEASE = dt.timedelta(minutes=5)
"""How long one process may work on a request before another takes it over."""

TIMEOUTS: dict[State, Timeout] = {
    State.draft: _days(90, Overdue.withdraw),
    State.submitted: Timeout(LEASE, Overdue.take_over),
    State.checking: Timeout(LEASE, Overdue.take_over),
    State.blocked: _days(30, Overdue.withdraw),
    State.awaiting_review: _days(2, Overdue.remind),
    State.in_review: _days(5, Overdue.remind),
    State.consolidating: _days(2, Overdue.remind),
    State.returned: _days(30, Overdue.withdraw),
    State.approved: Timeout(LEASE, Overdue.take_over),
    State.releasing: Timeout(LEASE, Overdue.take_over),
    State.release_failed: _days(30, Overdue.withdraw),
    State.released: _days(30, Overdue.expire),
}
REVIEW_TARGET = dt.timedelta(days=10)
"""From submission to a decision; a request beyond it is shown as late."""


def transitions(source: State, target: State, who: Who) -> tuple[Transition, ...]:
    """The rows for this move; empty when there is none."""
    return tuple(row for row in TRANSITIONS if (row.source, row.target, row.who) == (source, target, who))


def why_not_move(source: State, target: State, who: Who, holds: frozenset[Guard]) -> Refusal | None:
    """Why `who` may not move a request from `source` to `target` while exactly the guards in `holds` hold, or None."""
    rows = transitions(source, target, who)
    if not rows:
        return Refusal("no-such-step", f"A request that is '{source.label}' cannot become '{target.label}' this way.")
    missing = [row.guard for row in rows if row.guard is not Guard.none and row.guard not in holds]
    if len(missing) == len(rows):
        return Refusal(missing[0].value, _GUARD_SENTENCES[missing[0]])
    return None


_GUARD_SENTENCES = {
    Guard.form_complete: "The form is not complete: each file needs its context before it can be submitted.",
    Guard.files_closed: "The files have not been copied yet.",
    Guard.intake_failed: "The copy has not failed.",
    Guard.no_block: "A check stopped a file: change it, or say why it should be reviewed as it is.",
    Guard.some_block: "No check stopped a file.",
    Guard.justified: "Say why the files should be reviewed although a check stopped them.",
    Guard.no_review_in: "A review is already in, so the request cannot be recalled. Wait for the decision.",
    Guard.quorum_in: "Not enough reviews are in.",
    Guard.all_approved: "Not every file was approved by every review.",
    Guard.reason_given: "Say why: a reason is required.",
    Guard.same_as_approved: "The files, the destination or the policy are not those that were approved.",
    Guard.policy_changed: "The policy is the one under which the files were checked.",
    Guard.bundle_stored: "The bundle is not stored yet.",
    Guard.timed_out: "The time is not up.",
}


def overdue_at(state: State, since: dt.datetime) -> dt.datetime | None:
    """When a request that is in `state` since then has stayed too long; None in a final state."""
    timeout = TIMEOUTS.get(state)
    return since + timeout.after if timeout else None
