"""Requests as one person may see them: rows in, views out, filtered by `visibility`.

Nothing is in a view that its viewer may not see. Lists ask the database once per kind of thing, not once per request.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.airlock import rules
from tre_orchestrator.airlock.access import Standing, find_request, no_such_request, standing
from tre_orchestrator.airlock.actions import actions_of
from tre_orchestrator.airlock.forms import DraftForm, FileContext, missing
from tre_orchestrator.airlock.policy import Policy, from_stored, policy_now
from tre_orchestrator.airlock.rules import Situation, needs_reason
from tre_orchestrator.airlock.states import AUTHOR_OWNED, REVIEW_TARGET, State, overdue_at
from tre_orchestrator.airlock.tables import (
    CommentRow,
    DownloadRow,
    FileRow,
    FindingRow,
    ReleaseRow,
    RequestRow,
    VoteRow,
)
from tre_orchestrator.airlock.tally import ballots, files_of, items, reviewers, votes_of
from tre_orchestrator.airlock.views import CommentView, FileView, FindingView, ReleaseView, RequestView, VoteView
from tre_orchestrator.airlock.visibility import Item, Kind, Side, Viewer, phase_of, visible
from tre_orchestrator.airlock.votes import Ballot, Vote, decide_file, unvoted
from tre_orchestrator.airlock.votes import Item as VotedItem
from tre_orchestrator.airlock.votes import standing as standing_votes


def view(session: Session, project: str, request_id: int, viewer: str, now: dt.datetime) -> RequestView:
    """The request as `viewer` may see it. Raises `NotFound` when it is not there or not for them (P3)."""
    session.flush()
    row = find_request(session, project, request_id)
    who = standing(session, row, viewer, now)
    if who.side is None or who.invalid or (who.side is not Side.author and State(row.state) is State.draft):
        raise no_such_request(request_id)
    return _Reader(session, row, who, who.side, now).view()


def situation_of(session: Session, row: RequestRow, who: Standing) -> Situation:
    """What the rules look at for this person and request."""
    in_ = reviewers(session, row)
    policy = from_stored(row.policy)
    return Situation(
        who=who,
        state=State(row.state),
        review_in=who.person_id in in_,
        any_review_in=bool(in_),
        policy_same=policy is None or policy == policy_now(session, row.project),
    )


class _Reader:
    """Everything of one request, loaded once, and the filter of one viewer."""

    def __init__(self, session: Session, row: RequestRow, who: Standing, side: Side, now: dt.datetime) -> None:
        self.session, self.row, self.who, self.side, self.now = session, row, who, side, now
        self.viewer = Viewer(who.person_id, side)
        self.state = State(row.state)
        self.policy: Policy | None = from_stored(row.policy)
        self.files = files_of(session, row)
        self.votes = votes_of(session, row)
        self.reviewers = reviewers(session, row)
        self.situation = situation_of(session, row, who)
        self.findings = findings_of(session, self.files)
        self.form = DraftForm.model_validate(row.form)

    def view(self) -> RequestView:
        """Everything the viewer may see."""
        row = self.row
        paths = tuple(file["path"] for file in row.listing)
        is_checker = self.side is Side.checker
        open_files = unvoted(ballots(self.votes), items(self.files), row.files_turn, self.who.person_id)
        return RequestView(
            id=row.id,
            project=row.project,
            author=row.author,
            side=self.side,
            title=self.form.title,
            form=self.form,
            destination=row.destination,
            state=self.state,
            state_label=self.state.label,
            state_since=row.state_since,
            created_at=row.created_at,
            submitted_at=row.submitted_at,
            decided_at=row.decided_at,
            turn=row.turn,
            version=row.version,
            policy=self.policy,
            files=tuple(self._file(file) for file in self.files),
            listing=tuple((str(file["path"]), int(file["size"])) for file in row.listing),
            missing=missing(self.form, paths) if self.state in AUTHOR_OWNED else (),
            reviews_in=len(self.reviewers) if self._sees(Kind.review_count, "", row.files_turn) else None,
            own_review_in=self.who.person_id in self.reviewers,
            unvoted=open_files if is_checker else (),
            claimed_by=self._claimed() if is_checker else "",
            claim_until=row.claim_until if is_checker and self._claimed() else None,
            comments=self._comments(),
            release=self._release(),
            problem=row.problem,
            justification=row.justification,
            due_at=due_at(row),
            late=is_late(row, self.now),
            actions=actions_of(self.situation, unvoted=len(open_files)),
        )

    def _sees(self, kind: Kind, by: str, turn: int, *, by_checker: bool = True) -> bool:
        opened = turn in self.row.opened_turns
        return visible(Item(kind, by, turn, by_checker, opened), self.viewer, self.row.turn, phase_of(self.state))

    def _file(self, file: FileRow) -> FileView:
        on_path = [vote for vote in self.votes if vote.path == file.path]
        item = VotedItem(file.path, file.content)
        standing_now = standing_votes(ballots(on_path), item, file.turn)
        shown = tuple(
            _vote(vote, standing_now.get(vote.person))
            for vote in on_path
            if vote.person != self.who.person_id and self._sees(Kind.vote, vote.person, vote.turn)
        )
        own = [_vote(vote, standing_now.get(vote.person)) for vote in on_path if vote.person == self.who.person_id]
        voted = any(vote.turn == file.turn for vote in own)
        refusal = rules.why_not_vote(self.situation, supporting=file.supporting, voted=voted)
        decided = self.row.files_turn in self.row.opened_turns and self.policy and not file.supporting
        decision = None
        if decided and self.policy and self._sees(Kind.decision, "", file.turn):
            decision = decide_file(ballots(on_path), item, file.turn, self.reviewers, self.policy.quorum)
        return FileView(
            id=file.id,
            path=file.path,
            size=file.size,
            sha256=file.sha256,
            kind=file.kind,
            verdict=file.verdict,
            supporting=file.supporting,
            context=FileContext.model_validate(file.context),
            findings=tuple(_finding(finding) for finding in self.findings.get(file.id, [])),
            own_vote=own[-1] if own else None,
            votes=shown,
            decision=decision,
            why_not_vote=refusal.sentence if refusal else None,
            approve_needs_reason=needs_reason(Vote.approve, file.verdict),
            changes_need_reason=needs_reason(Vote.request_changes, file.verdict),
        )

    def _comments(self) -> tuple[CommentView, ...]:
        query = select(CommentRow).where(CommentRow.request_id == self.row.id).order_by(CommentRow.id)
        return tuple(
            CommentView(
                id=comment.id,
                person=comment.person if self.side is Side.checker or not comment.by_checker else "",
                text=comment.text,
                path=comment.path,
                turn=comment.turn,
                public=comment.public,
                decision=comment.decision,
                at=comment.at,
            )
            for comment in self.session.scalars(query)
            if self._sees(_kind_of(comment), comment.person, comment.turn, by_checker=comment.by_checker)
        )

    def _release(self) -> ReleaseView | None:
        release = self.session.get(ReleaseRow, self.row.id)
        if release is None:
            return None
        query = select(DownloadRow).where(DownloadRow.request_id == self.row.id).order_by(DownloadRow.id)
        return ReleaseView(
            size=release.size,
            sha256=release.sha256,
            at=release.at,
            expires_at=release.expires_at,
            revoked_at=release.revoked_at,
            revoke_reason=release.revoke_reason,
            downloads=tuple((fetch.person, fetch.at) for fetch in self.session.scalars(query)),
        )

    def _claimed(self) -> str:
        until = self.row.claim_until
        return self.row.claimed_by if until and until > self.now else ""


def _kind_of(comment: CommentRow) -> Kind:
    if comment.decision:
        return Kind.decision
    return Kind.public_comment if comment.public else Kind.private_comment


def _vote(vote: VoteRow, counts: Ballot | None) -> VoteView:
    stands = counts is not None and counts.turn == vote.turn
    return VoteView(vote.person, Vote(vote.vote), vote.reason, vote.turn, vote.cast_at, stands)


def _finding(finding: FindingRow) -> FindingView:
    return FindingView(
        check=finding.check,
        check_version=finding.check_version,
        rule=finding.rule,
        verdict=finding.verdict,
        sentence=finding.sentence,
        row=finding.row,
        column=finding.column,
        line=finding.line,
        sample=finding.sample,
        count=finding.count,
    )


def findings_of(session: Session, files: list[FileRow]) -> dict[int, list[FindingRow]]:
    """The findings per file id, in the order of the file."""
    found: dict[int, list[FindingRow]] = {}
    query = select(FindingRow).where(FindingRow.file_id.in_([file.id for file in files])).order_by(FindingRow.id)
    for finding in session.scalars(query):
        found.setdefault(finding.file_id, []).append(finding)
    return found


def is_late(row: RequestRow, now: dt.datetime) -> bool:
    """Whether the request stayed in its state, or in review as a whole, for longer than it should."""
    overdue = overdue_at(State(row.state), row.state_since)
    due = due_at(row)
    return bool((overdue and now > overdue) or (due and now > due))


def due_at(row: RequestRow) -> dt.datetime | None:
    """Until when a decision is promised; None before submission and after the decision."""
    if row.submitted_at is None or row.decided_at is not None or State(row.state).final:
        return None
    return row.submitted_at + REVIEW_TARGET
