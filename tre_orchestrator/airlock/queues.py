"""Lists of requests: a checker's queue, an author's own, a project's. Four queries, whatever the number of requests."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from tre_orchestrator.airlock.access import standing
from tre_orchestrator.airlock.policy import from_stored
from tre_orchestrator.airlock.reading import due_at, is_late
from tre_orchestrator.airlock.states import CHECKERS_OWNED, State
from tre_orchestrator.airlock.tables import FileRow, FindingRow, RequestRow, ReviewRow
from tre_orchestrator.airlock.views import RequestLine
from tre_orchestrator.catalogue.models import Role
from tre_orchestrator.governance.load import find_person, load_project, projects_of
from tre_orchestrator.governance.people import has_role, why_not_person


def queue(session: Session, checker: str, now: dt.datetime) -> tuple[RequestLine, ...]:
    """What this checker can act on: across projects, never of their own; their claims first, then the oldest."""
    person = find_person(session, checker)
    if person is None or why_not_person(person, now) or not has_role(person, Role.checker):
        return ()
    own = [project.metadata.name for project in projects_of(session, checker)]
    waiting = RequestRow.state.in_([state.value for state in CHECKERS_OWNED | {State.release_failed}])
    rows = session.scalars(
        select(RequestRow).where(waiting, RequestRow.author != checker, RequestRow.project.not_in(own))
    )
    lines = _lines(session, [row for row in rows if checker not in row.members], checker, now, reviews_shown=True)
    oldest = dt.datetime.max.replace(tzinfo=dt.UTC)
    return tuple(sorted(lines, key=lambda line: (line.claimed_by != checker, line.submitted_at or oldest, line.id)))


def mine(session: Session, person: str, now: dt.datetime) -> tuple[RequestLine, ...]:
    """The requests this person wrote, newest first."""
    return _newest(session, RequestRow.author == person, person, now)


def of_project(session: Session, project: str, person: str, now: dt.datetime) -> tuple[RequestLine, ...]:
    """The project's requests that this person may see, newest first; others' drafts are not among them."""
    declared = load_project(session, project)
    probe = RequestRow(project=declared.metadata.name, author="", members=[], state=State.submitted.value)
    who = standing(session, probe, person, now)
    if who.side is None or who.invalid:
        return ()
    seen = and_(RequestRow.project == project, (RequestRow.state != State.draft.value) | (RequestRow.author == person))
    return _newest(session, seen, person, now)


def _newest(session: Session, where: ColumnElement[bool], person: str, now: dt.datetime) -> tuple[RequestLine, ...]:
    rows = session.scalars(select(RequestRow).where(where).order_by(RequestRow.id.desc()))
    return tuple(_lines(session, list(rows), person, now, reviews_shown=False))


def _lines(
    session: Session, rows: list[RequestRow], person: str, now: dt.datetime, *, reviews_shown: bool
) -> Iterable[RequestLine]:
    ids = [row.id for row in rows]
    current = and_(RequestRow.id == FileRow.request_id, RequestRow.files_turn == FileRow.turn)
    files = dict(
        session.execute(
            select(FileRow.request_id, func.count())
            .join(RequestRow, current)
            .where(FileRow.request_id.in_(ids))
            .group_by(FileRow.request_id)
        ).all()
    )
    findings = {
        (request, verdict): count
        for request, verdict, count in session.execute(
            select(FileRow.request_id, FindingRow.verdict, func.count())
            .join(FindingRow, FindingRow.file_id == FileRow.id)
            .join(RequestRow, current)
            .where(FileRow.request_id.in_(ids))
            .group_by(FileRow.request_id, FindingRow.verdict)
        )
    }
    reviews = session.execute(
        select(ReviewRow.request_id, ReviewRow.person)
        .join(RequestRow, and_(RequestRow.id == ReviewRow.request_id, RequestRow.files_turn == ReviewRow.turn))
        .where(ReviewRow.request_id.in_(ids))
    )
    in_: dict[int, set[str]] = {}
    for request, reviewer in reviews:
        in_.setdefault(request, set()).add(reviewer)
    for row in rows:
        policy = from_stored(row.policy)
        yield RequestLine(
            id=row.id,
            project=row.project,
            author=row.author,
            title=str(row.form.get("title", "")),
            state=State(row.state),
            state_label=State(row.state).label,
            state_since=row.state_since,
            submitted_at=row.submitted_at,
            turn=row.turn,
            files=files.get(row.id, 0),
            findings_review=findings.get((row.id, "review"), 0),
            findings_block=findings.get((row.id, "block"), 0),
            reviews_in=len(in_.get(row.id, ())) if reviews_shown else None,
            quorum=policy.quorum if policy else 0,
            claimed_by=row.claimed_by if reviews_shown and row.claim_until and row.claim_until > now else "",
            own_review_in=person in in_.get(row.id, ()),
            due_at=due_at(row),
            late=is_late(row, now),
            problem=row.problem,
        )
