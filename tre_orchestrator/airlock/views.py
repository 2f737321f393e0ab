"""What pages and the API show of requests: plain frozen values, already filtered for the person who looks.

A value that the viewer may not see is not in the view; a template cannot leak it. `actions` names everything the
viewer could do in some state, each with the reason when not now (the button's tooltip).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from tre_orchestrator.airlock.forms import DraftForm, FileContext, Missing
from tre_orchestrator.airlock.policy import Policy
from tre_orchestrator.airlock.states import State
from tre_orchestrator.airlock.visibility import Side
from tre_orchestrator.airlock.votes import FileDecision, Vote


@dataclass(frozen=True, slots=True)
class Action:
    """Something the viewer might do: `why_not` is None when they may do it now."""

    name: str
    label: str
    why_not: str | None


@dataclass(frozen=True, slots=True)
class FindingView:
    """What a check said. `row` and `column` count from 1 (the header is row 1), `line` too."""

    check: str
    check_version: int
    rule: str
    verdict: str
    sentence: str
    row: int | None
    column: int | None
    line: int | None
    sample: str
    count: int


@dataclass(frozen=True, slots=True)
class VoteView:
    """A vote the viewer may see."""

    person: str
    vote: Vote
    reason: str
    turn: int
    at: dt.datetime
    counts: bool
    """Whether it still stands in the current turn."""


@dataclass(frozen=True, slots=True)
class FileView:
    """One file of the current turn."""

    id: int
    path: str
    size: int
    sha256: str
    kind: str
    verdict: str
    """pass, review or block; empty while it is being checked."""
    supporting: bool
    context: FileContext
    findings: tuple[FindingView, ...]
    own_vote: VoteView | None
    votes: tuple[VoteView, ...]
    decision: FileDecision | None
    """Only after the reviews are in."""
    why_not_vote: str | None
    approve_needs_reason: bool
    changes_need_reason: bool


@dataclass(frozen=True, slots=True)
class CommentView:
    """A remark the viewer may see; `path` is empty for the whole request."""

    id: int
    person: str
    text: str
    path: str
    turn: int
    public: bool
    decision: bool
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class ReleaseView:
    """The bundle, for those who may know of it."""

    size: int
    sha256: str
    at: dt.datetime
    expires_at: dt.datetime
    revoked_at: dt.datetime | None
    revoke_reason: str
    downloads: tuple[tuple[str, dt.datetime], ...]


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One request in a list."""

    id: int
    project: str
    author: str
    title: str
    state: State
    state_label: str
    state_since: dt.datetime
    submitted_at: dt.datetime | None
    turn: int
    files: int
    findings_review: int
    findings_block: int
    reviews_in: int | None
    """None for who may not know."""
    quorum: int
    claimed_by: str
    own_review_in: bool
    due_at: dt.datetime | None
    late: bool
    problem: str


@dataclass(frozen=True, slots=True)
class RequestView:
    """A request as one person may see it now."""

    id: int
    project: str
    author: str
    side: Side
    title: str
    form: DraftForm
    destination: str
    state: State
    state_label: str
    state_since: dt.datetime
    created_at: dt.datetime
    submitted_at: dt.datetime | None
    decided_at: dt.datetime | None
    turn: int
    version: int
    policy: Policy | None
    files: tuple[FileView, ...]
    listing: tuple[tuple[str, int], ...]
    """Path and size of what the last copy of the folder held, for the form."""
    missing: tuple[Missing, ...]
    reviews_in: int | None
    own_review_in: bool
    unvoted: tuple[str, ...]
    """For a checker: files on which their vote is still missing."""
    claimed_by: str
    claim_until: dt.datetime | None
    comments: tuple[CommentView, ...]
    release: ReleaseView | None
    problem: str
    justification: str
    due_at: dt.datetime | None
    late: bool
    actions: tuple[Action, ...]

    def action(self, name: str) -> Action | None:
        """The action of that name, or None when the viewer never has it."""
        return next((action for action in self.actions if action.name == name), None)
