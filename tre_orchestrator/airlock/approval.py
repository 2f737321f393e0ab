"""From the quorum's reviews to an approval that binds: exactly these bytes, this destination, under this policy (A1).

`release.approved` is written when every file was approved by every review, in the transaction that opens the votes.
`why_not_as_approved` is asked again before anything leaves: it believes the ledger's entry, not the request's row.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy.orm import Session

from tre_orchestrator.airlock.access import move, standing, subject
from tre_orchestrator.airlock.forms import FileContext
from tre_orchestrator.airlock.intake import content_digest, files_digest
from tre_orchestrator.airlock.policy import Policy, current_policy, from_stored, policy_now
from tre_orchestrator.airlock.states import Guard, State, Who
from tre_orchestrator.airlock.tables import FileRow, RequestRow
from tre_orchestrator.airlock.tally import ALL, ballots, counted_votes, files_of, items, open_votes, reviewers, votes_of
from tre_orchestrator.airlock.votes import Outcome, decide
from tre_orchestrator.catalogue.names import ProjectName
from tre_orchestrator.errors import Refusal, Unavailable
from tre_orchestrator.governance.approvals import refused_by
from tre_orchestrator.governance.grants import last_grants
from tre_orchestrator.governance.load import load_project
from tre_orchestrator.ledger.append import append, software
from tre_orchestrator.ledger.canonical import Json, digest
from tre_orchestrator.ledger.read import EntryView, entries

APPROVED_KIND = "release.approved"
NOT_AS_APPROVED = "not-as-approved"
"""The code of a refusal that no waiting mends: what would leave is not what the quorum approved."""


def conclude_if_quorum(session: Session, row: RequestRow, now: dt.datetime) -> None:
    """When enough reviews are in: open the votes, and approve the request if nobody asked for changes."""
    session.flush()
    policy = from_stored(row.policy)
    in_ = reviewers(session, row)
    if policy is None or len(in_) < policy.quorum:
        return
    open_votes(session, row, now)
    move(row, State.consolidating, Who.system, now, frozenset({Guard.quorum_in}))
    files = files_of(session, row)
    if (
        decide(ballots(votes_of(session, row)), items(files), row.files_turn, in_, policy.quorum)
        is not Outcome.approved
    ):
        return
    move(row, State.approved, Who.system, now, frozenset({Guard.all_approved}))
    row.decided_at, row.retry_at, row.attempts = now, now, 0
    facts: dict[str, Json] = {
        "turn": row.files_turn,
        "files_digest": files_digest(files),
        "files": len(items(files)),
        "destination": row.destination,
        "words_digest": words_digest(row),
        "policy": policy.reference,
        "approvals": {"required": policy.quorum, "given": len(in_)},
    }
    append(session, APPROVED_KIND, software("airlock"), subject(row), facts, now=now)


def approved_entry(session: Session, row: RequestRow) -> EntryView | None:
    """The ledger's latest approval of the request, or None."""
    found = entries(session, subject=subject(row), kind=APPROVED_KIND, limit=1, newest_first=True)
    return found[0] if found else None


def why_not_as_approved(session: Session, row: RequestRow, now: dt.datetime) -> Refusal | None:
    """Why the request, as it stands now, may not be released; None when it is exactly what was approved (A1).

    Asked before a bundle is built and in the transaction that releases it: a controller who revoked the data, or an
    approver who refused the project, meanwhile holds the release until they say otherwise.
    """
    entry = approved_entry(session, row)
    if entry is None:
        return _changed("no approval of it is in the ledger")
    files = files_of(session, row)
    policy = policy_now(session, row.project)
    if entry.facts["turn"] != row.files_turn or entry.facts["files_digest"] != files_digest(files):
        return _changed("its files are not those that were approved")
    if entry.facts["destination"] != row.destination:
        return _changed("its destination is not the one that was approved")
    if entry.facts["words_digest"] != words_digest(row):
        return _changed("its title or purpose is not the one that was approved")
    if policy is None or entry.facts["policy"] != policy.reference:
        return _changed("the policy changed after the approval; a checker can have it checked again")
    for file in files:
        context = FileContext.model_validate(file.context)
        if file.content != content_digest(file.path, file.sha256, context, row.destination, policy):
            return _changed(f"what was said about '{file.path}' is not what was approved")
    return _why_not_quorum(session, row, files, policy, now) or _why_held(session, row)


def words_digest(row: RequestRow) -> str:
    """The digest of the author's words that a bundle carries."""
    return digest({name: row.form.get(name, "") for name in ("title", "purpose")})


def check_again(session: Session, row: RequestRow, who: Who, now: dt.datetime) -> None:
    """Begin a new turn with the same files under today's policy. Votes bind to the policy, so none counts in it."""
    policy = current_policy(session, row.project)
    changed = policy != from_stored(row.policy)
    move(row, State.checking, who, now, frozenset({Guard.policy_changed} if changed else ()))
    files = files_of(session, row)
    row.turn += 1
    row.files_turn, row.policy, row.decided_at, row.problem = row.turn, policy.stored(), None, ""
    row.claimed_by, row.claim_until, row.attempts = "", None, 0
    session.add_all(_renewed(row, file, policy) for file in files)
    facts: dict[str, Json] = {"turn": row.turn, "policy": policy.reference}
    append(session, "request.rechecked", software("airlock"), subject(row), facts, now=now)


def _why_not_quorum(
    session: Session, row: RequestRow, files: list[FileRow], policy: Policy, now: dt.datetime
) -> Refusal | None:
    try:
        votes = counted_votes(session, row)
    except Unavailable as error:
        return Refusal(error.code, error.sentence)
    in_ = reviewers(session, row)
    if in_ != _handed_in(session, row):
        return _changed("its reviews are not those in the ledger")
    if decide(ballots(votes), items(files), row.files_turn, in_, policy.quorum) is not Outcome.approved:
        return _changed("the votes in the ledger do not approve it")
    for person in in_:
        who = standing(session, row, person, now)
        if who.is_author or who.is_member:
            return _changed("one of its reviewers belongs to the project now")
    return None


def _why_held(session: Session, row: RequestRow) -> Refusal | None:
    """Whose word, given after the files were made, stands against the release: a controller's or an approver's."""
    project = load_project(session, row.project)
    asked = {(use.name, use.version) for use in project.spec.datasets}
    for grant in last_grants(session, ProjectName(row.project)):
        if grant.revoked_at is not None and (grant.dataset, grant.version) in asked:
            who = f"{grant.organisation} revoked its grant of '{grant.dataset}'."
            return Refusal("grant-revoked", f"{who} Nothing is released until it grants again.")
    if refused_by(session, project):
        sentence = "The project's approval was withdrawn. Nothing is released until it is approved again."
        return Refusal("project-refused", sentence)
    return None


def _handed_in(session: Session, row: RequestRow) -> frozenset[str]:
    """Whose review of the latest file list the ledger knows."""
    handed_in = entries(session, subject=subject(row), kind="review.submitted", limit=ALL)
    people = (entry for entry in handed_in if entry.actor.kind == "person" and entry.facts["turn"] == row.files_turn)
    return frozenset(entry.actor.id for entry in people)


def _renewed(row: RequestRow, file: FileRow, policy: Policy) -> FileRow:
    context = FileContext.model_validate(file.context)
    return FileRow(
        request_id=row.id,
        turn=row.turn,
        path=file.path,
        size=file.size,
        sha256=file.sha256,
        blob=file.blob,
        context=file.context,
        content=content_digest(file.path, file.sha256, context, row.destination, policy),
        supporting=file.supporting,
    )


def _changed(why: str) -> Refusal:
    return Refusal(NOT_AS_APPROVED, f"Nothing was released: {why}.")
