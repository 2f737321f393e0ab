"""What happens to copies of data after the right to it ended: nothing, until the controller has decided.

A project that has had a workspace with the dataset may hold copies in home and shared folders. When a grant ends they
are held: no workspace of the project starts, so nobody reaches them. The controller lets them stay (`release-hold`) or
has them deleted (`delete`); deletion is done by the controller process, and the hold ends when it is recorded as done.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from secrets import token_hex
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.models import Project
from tre_orchestrator.catalogue.names import DatasetName, OrganisationName, PersonId, ProjectName
from tre_orchestrator.errors import Invalid, NotFound, Refusal, Refused, refuse_if
from tre_orchestrator.governance.load import find, find_person
from tre_orchestrator.governance.model import Grant
from tre_orchestrator.governance.people import controls_for, membership, why_not_person
from tre_orchestrator.governance.rows import insert_once
from tre_orchestrator.governance.tables import CopyHoldRow, DatasetUseRow
from tre_orchestrator.ledger.append import append, software
from tre_orchestrator.ledger.append import person as person_actor

DECISIONS = ("delete", "release-hold")


@dataclass(frozen=True, slots=True)
class CopyHold:
    """Copies that are closed: whose they are, since when and why, and what was decided."""

    id: str
    project: ProjectName
    dataset: DatasetName
    organisation: OrganisationName
    cause: str
    since: dt.datetime
    decision: str | None
    decided_by: PersonId | None
    decided_at: dt.datetime | None


def record_use(session: Session, project: ProjectName, dataset: DatasetName, version: str, now: dt.datetime) -> None:
    """Note that a workspace of the project is about to start with this dataset version. Safe to repeat."""
    insert_once(session, DatasetUseRow, project=project, dataset=dataset, version=version, first_at=now)


def hold(session: Session, ended: Grant, cause: Literal["revoked", "expired"], now: dt.datetime) -> str | None:
    """Close the copies made under an ended grant; the hold's id, or None when the project never used the dataset.

    One open hold for a project, dataset and organisation is enough; a second end adds none.
    """
    used = session.scalar(
        select(DatasetUseRow)
        .where(DatasetUseRow.project == ended.project, DatasetUseRow.dataset == ended.dataset)
        .limit(1)
    )
    if used is None:
        return None
    same = (CopyHoldRow.project == ended.project, CopyHoldRow.dataset == ended.dataset)
    open_one = session.scalar(
        select(CopyHoldRow).where(
            *same,
            CopyHoldRow.organisation == ended.organisation,
            CopyHoldRow.ended_at.is_(None),
            CopyHoldRow.decision.is_(None),
        )
    )
    if open_one is not None:
        return open_one.id
    row = CopyHoldRow(
        id=token_hex(8),
        project=ended.project,
        dataset=ended.dataset,
        organisation=ended.organisation,
        grant=ended.id,
        cause=cause,
        since=now,
        running_until=ended.ends_at + dt.timedelta(seconds=ended.grace_seconds),
        decision=None,
        decided_by=None,
        decided_at=None,
        ended_at=None,
    )
    session.add(row)
    append(session, "copies.held", software("governance"), f"project/{row.project}", _facts(row), now=now)
    return row.id


def decide_copies(session: Session, hold_id: str, decision: str, actor: PersonId, now: dt.datetime) -> CopyHold:
    """The controller's word on held copies: `delete` or `release-hold`. Raises `NotFound` for anybody else."""
    if decision not in DECISIONS:
        raise Invalid("copies-decision", f"Choose one of: {', '.join(DECISIONS)}.")
    row = session.scalar(select(CopyHoldRow).where(CopyHoldRow.id == hold_id).with_for_update())
    person = find_person(session, actor)
    if row is None or person is None or not controls_for(person, row.organisation):
        raise NotFound("hold-unknown", "There are no such held copies among those of your organisation.")
    refuse_if(why_not_person(person, now))
    project = find(session, Project, row.project)
    if project is not None and membership(project, actor) is not None:
        sentence = "You are a member of this project; a colleague must decide on its copies."
        raise Refused([Refusal("own-project", sentence)])
    if row.decision is not None:
        raise Refused([Refusal("copies-decided", f"This was decided before: {row.decision}.")])
    row.decision, row.decided_by, row.decided_at = decision, actor, now
    if decision == "release-hold":
        row.ended_at = now
    facts = {**_facts(row), "decision": decision}
    append(session, "copies.decided", person_actor(actor), f"project/{row.project}", facts, now=now)
    return _view(row)


def open_holds(session: Session, *, organisations: tuple[str, ...] | None = None) -> list[CopyHold]:
    """Holds that have not ended, oldest first; only of these organisations if given."""
    query = select(CopyHoldRow).where(CopyHoldRow.ended_at.is_(None)).order_by(CopyHoldRow.since, CopyHoldRow.id)
    if organisations is not None:
        query = query.where(CopyHoldRow.organisation.in_(organisations))
    return [_view(row) for row in session.scalars(query)]


def pending_deletions(session: Session) -> list[CopyHold]:
    """Copies whose deletion was decided and is not recorded as done: work for the controller process."""
    return [one for one in open_holds(session) if one.decision == "delete"]


def record_deleted(session: Session, hold_id: str, now: dt.datetime) -> None:
    """Record that the project's home and shared folders were emptied and verified to be; ends the hold. Repeatable."""
    row = session.scalar(select(CopyHoldRow).where(CopyHoldRow.id == hold_id).with_for_update())
    if row is None or row.decision != "delete":
        raise NotFound("hold-unknown", "No deletion of these copies was decided.")
    if row.ended_at is not None:
        return
    row.ended_at = now
    append(session, "copies.deleted", software("controller"), f"project/{row.project}", _facts(row), now=now)


def _facts(row: CopyHoldRow) -> dict[str, str]:
    return {
        "hold": row.id,
        "dataset": row.dataset,
        "organisation": row.organisation,
        "grant": row.grant,
        "cause": row.cause,
    }


def _view(row: CopyHoldRow) -> CopyHold:
    return CopyHold(
        id=row.id,
        project=ProjectName(row.project),
        dataset=DatasetName(row.dataset),
        organisation=OrganisationName(row.organisation),
        cause=row.cause,
        since=row.since,
        decision=row.decision,
        decided_by=PersonId(row.decided_by) if row.decided_by else None,
        decided_at=row.decided_at,
    )
