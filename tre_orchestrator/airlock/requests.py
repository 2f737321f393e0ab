"""What an author does with a request: write it, submit it, contest a stopped file, withdraw it.

Submitting freezes the folder: the files are copied out of the workspace into the encrypted store, the list is closed,
and nothing later reads the workspace again. Each step is one transaction with its ledger entry; between the first
(`submitted`) and the second (`checking`) lies the copy, under a lease that another process takes over if this one dies.
"""

from __future__ import annotations

import datetime as dt
import secrets

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from tre_orchestrator.airlock.access import (
    acting_on,
    find_request,
    move,
    subject,
    why_not_author,
)
from tre_orchestrator.airlock.forms import DraftForm, Missing, missing
from tre_orchestrator.airlock.intake import Courier, Taken, close_files, take_in
from tre_orchestrator.airlock.policy import current_policy
from tre_orchestrator.airlock.queues import mine, of_project, queue
from tre_orchestrator.airlock.reading import view
from tre_orchestrator.airlock.states import AUTHOR_OWNED, LEASE, Guard, State, Who
from tre_orchestrator.airlock.store import Store
from tre_orchestrator.airlock.tables import RequestRow, ReviewRow
from tre_orchestrator.airlock.views import RequestView
from tre_orchestrator.catalogue.names import PersonId, ProjectName, WorkspaceId
from tre_orchestrator.errors import Refusal, Refused, Stale, TreError, refuse_if
from tre_orchestrator.governance.facts import decide_now
from tre_orchestrator.governance.load import find_person, load_project
from tre_orchestrator.governance.people import membership, why_not_person
from tre_orchestrator.ledger.append import append, software
from tre_orchestrator.ledger.append import person as actor
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings

__all__ = ["contest", "create_draft", "mine", "of_project", "queue", "submit", "update_draft", "view", "withdraw"]


def create_draft(session: Session, project: str, person: str, form: DraftForm, now: dt.datetime) -> RequestView:
    """A new draft by a member of the project. It may be incomplete; raises `Refused` for anybody else."""
    declared = load_project(session, project)
    refuse_if(why_not_person(find_person(session, person), now))
    if membership(declared, person) is None:
        raise Refused([Refusal("not-member", "Only members of the project can ask for its results to leave.")])
    row = RequestRow(
        project=project,
        author=person,
        state=State.draft.value,
        state_since=now,
        created_at=now,
        form=form.model_dump(mode="json"),
        destination=form.destination.value,
    )
    session.add(row)
    session.flush()
    return view(session, project, row.id, person, now)


def update_draft(
    session: Session, project: str, request_id: int, person: str, form: DraftForm, now: dt.datetime, *, version: int
) -> RequestView:
    """Replace the form while the request is the author's. Raises `Refused`, `Stale`."""
    row = _own(session, project, request_id, person, now, version)
    if State(row.state) not in AUTHOR_OWNED:
        sentence = f"The form cannot be changed now: the request is '{State(row.state).label}'."
        raise Refused([Refusal("not-editable", sentence)])
    row.form = form.model_dump(mode="json")
    row.version += 1
    session.flush()
    return view(session, project, request_id, person, now)


def submit(
    db: Database,
    settings: Settings,
    store: Store,
    courier: Courier,
    project: str,
    request_id: int,
    person: str,
    now: dt.datetime,
    *,
    version: int,
    workspace: WorkspaceId,
    mfa: bool | None = False,
) -> RequestView:
    """Freeze the folder of the author's `workspace` and hand the request in for checking.

    `workspace` is the author's own in this project (the caller looked it up); `mfa` as the author's session proved it.

    Raises `Refused` with every missing field or the reason why the folder cannot be taken; the request is then a draft
    again, with what was seen in the folder listed on it.
    """
    with db.write() as session:
        row = _own(session, project, request_id, person, now, version)
        decision = decide_now(session, settings, ProjectName(project), PersonId(person), now, mfa=mfa)
        if not decision.allowed:
            raise Refused(decision.refusals)
        form = DraftForm.model_validate(row.form)
        lacking = missing(form)
        if lacking:
            raise _incomplete(lacking)
        policy = current_policy(session, project)
        lease = _begin_intake(session, store, row, person, now)
        key = store.unwrap(row.id, row.wrapped_key)
    try:
        taken = take_in(courier, workspace, form.collected_folder, store, row.id, key, policy)
    except BaseException as error:
        sentence = error.sentence if isinstance(error, TreError) else "The copy of the folder failed. Submit it again."
        _give_back(db, row, lease, sentence, (), now)
        raise
    lacking = missing(form, tuple(sorted(file.path for file in taken)))
    if lacking:
        _give_back(db, row, lease, "The form does not cover every file in the folder yet.", taken, now)
        raise _incomplete(lacking)
    with db.write() as session:
        held = find_request(session, project, request_id, lock=True)
        if held.lease != lease:
            raise Stale("stale-request", f"Meanwhile the request became '{State(held.state).label}'. Nothing was sent.")
        close_files(session, held, form, taken, policy, load_project(session, project), now)
        return view(session, project, request_id, person, now)


def contest(
    session: Session, project: str, request_id: int, person: str, justification: str, now: dt.datetime, *, version: int
) -> RequestView:
    """Ask for review of a request that a check stopped, saying why. Raises `Refused`, `Stale`."""
    row = _own(session, project, request_id, person, now, version)
    words = justification.strip()[:2000]
    move(row, State.awaiting_review, Who.author, now, frozenset({Guard.justified} if words else ()))
    row.justification = words
    append(session, "request.contested", actor(person), subject(row), {"turn": row.turn}, body={"why": words}, now=now)
    return view(session, project, request_id, person, now)


def withdraw(
    session: Session, project: str, request_id: int, person: str, now: dt.datetime, *, version: int
) -> RequestView:
    """Take the request back for good: any time while it is the author's, and until a review is in."""
    row = _own(session, project, request_id, person, now, version)
    in_turn = exists().where(ReviewRow.request_id == row.id, ReviewRow.turn == row.turn)
    holds = frozenset() if session.scalar(select(in_turn)) else frozenset({Guard.no_review_in})
    move(row, State.withdrawn, Who.author, now, holds)
    append(session, "request.withdrawn", actor(person), subject(row), {"turn": row.turn}, now=now)
    return view(session, project, request_id, person, now)


def give_back_unfinished(session: Session, row: RequestRow, sentence: str, now: dt.datetime) -> None:
    """Return a request whose copy did not finish to its author, with the reason."""
    move(row, State.draft, Who.system, now, frozenset({Guard.intake_failed}))
    row.problem = sentence
    append(session, "request.intake-failed", software("airlock"), subject(row), {"turn": row.turn}, now=now)


def _own(session: Session, project: str, request_id: int, person: str, now: dt.datetime, version: int) -> RequestRow:
    return acting_on(session, project, request_id, person, now, version, why_not_author)


def _incomplete(lacking: tuple[Missing, ...]) -> Refused:
    return Refused([Refusal("form-incomplete", item.sentence) for item in lacking])


def _begin_intake(session: Session, store: Store, row: RequestRow, person: str, now: dt.datetime) -> str:
    move(row, State.submitted, Who.author, now, frozenset({Guard.form_complete}))
    row.turn += 1
    row.lease, row.lease_until = secrets.token_hex(16), now + LEASE
    row.wrapped_key = row.wrapped_key or store.new_key(row.id)
    row.problem, row.justification = "", ""
    append(session, "request.submitted", actor(person), subject(row), {"turn": row.turn}, body=row.form, now=now)
    return row.lease


def _give_back(
    db: Database, row: RequestRow, lease: str, sentence: str, taken: tuple[Taken, ...], now: dt.datetime
) -> None:
    with db.write() as session:
        held = find_request(session, row.project, row.id, lock=True)
        if held.lease != lease:
            return
        give_back_unfinished(session, held, sentence, now)
        if taken:
            held.listing = [{"path": file.path, "size": file.size} for file in taken]
