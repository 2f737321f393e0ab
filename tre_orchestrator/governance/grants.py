"""A controller's hand on the switch: permission for one project to use exactly these files, and its end.

Only a person with `controller_of` the organisation gives or takes its grants. A grant binds to the manifest's digest
(D1). Revoked or run out, it permits no new start from that moment, and copies in the project's folders are held (D2).
"""

from __future__ import annotations

import datetime as dt
from secrets import token_hex

from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.digest import project_digest
from tre_orchestrator.catalogue.models import Dataset, Person
from tre_orchestrator.catalogue.names import DatasetName, OrganisationName, PersonId, ProjectName, Sha256
from tre_orchestrator.errors import Invalid, NotFound, Refusal, Refused, Stale, refuse_if
from tre_orchestrator.governance import copies
from tre_orchestrator.governance.decision import is_live
from tre_orchestrator.governance.facts import grant_of
from tre_orchestrator.governance.load import find_person, load_dataset, lock_project
from tre_orchestrator.governance.model import Grant
from tre_orchestrator.governance.people import controls_for, end_of_day, membership, why_not_person
from tre_orchestrator.governance.tables import GrantRow, ManifestRow
from tre_orchestrator.ledger.append import append, software
from tre_orchestrator.ledger.append import person as person_actor
from tre_orchestrator.ledger.canonical import Json

GRACE_MAX_SECONDS = 24 * 3600
DAYS_MAX = 366
TEXT_MAX = 2000

__all__ = [
    "Grant",
    "expire_due",
    "grant",
    "grants_of_dataset",
    "is_live",
    "last_grants",
    "live_grants",
    "revoke",
    "why_not_controller",
]


def grant(
    session: Session,
    dataset: DatasetName,
    version: str,
    project: ProjectName,
    organisation: OrganisationName,
    actor: PersonId,
    now: dt.datetime,
    *,
    seen: Sha256,
    until: dt.date,
    grace_seconds: int = 0,
    conditions: str = "",
    origin: str = "",
) -> Grant:
    """Permit the project to use this dataset version, as its files are hashed now, up to and including `until` (UTC).

    `seen` is the digest of the project as the controller looked at it; raises `Stale` when it changed since.
    `grace_seconds`: how long a running workspace may go on after the grant ended; a new one never starts.
    `origin` marks, in the ledger, an act that was not made in a person's own session ("demo").
    A live grant of the same files by the same organisation is replaced: there is one switch, not several.
    Raises `Refused` when this person may not, `Invalid` for terms outside the limits, `NotFound` for what is unknown.
    """
    found = _dataset_for(session, dataset, organisation, actor, now)
    declared = lock_project(session, project)
    _check_terms(now, until, grace_seconds, conditions)
    manifest = session.get(ManifestRow, (dataset, version))
    if manifest is None or version not in {one.version for one in found.spec.versions}:
        raise NotFound("version-unknown", f"Dataset '{dataset}' has no hashed version {version}. Ask ops to add it.")
    asked = {(use.name, use.version) for use in declared.spec.datasets}
    if (dataset, version) not in asked:
        sentence = f"Project '{project}' does not ask for '{dataset}' {version}, so there is nothing to grant."
        raise Refused([Refusal("not-asked-for", sentence)])
    if project_digest(declared) != seen:
        raise Stale("project-changed", "The project changed since you looked at it. Read it again, then grant.")
    if membership(declared, actor) is not None:
        raise Refused([Refusal("own-project", "You are a member of this project; a colleague must grant it the data.")])
    row = GrantRow(
        id=token_hex(8),
        dataset=dataset,
        version=version,
        manifest=manifest.digest,
        project=project,
        project_digest=seen,
        organisation=organisation,
        until=until,
        grace_seconds=grace_seconds,
        conditions=conditions.strip(),
        granted_by=actor,
        granted_at=now,
        revoked_at=None,
        revoked_by=None,
        revoke_reason=None,
        replaced_by=None,
        expiry_recorded_at=None,
    )
    _replace(session, row, actor, now)
    session.add(row)
    facts: dict[str, Json] = {**_facts(row), "digest": seen, "until": until.isoformat(), "grace_seconds": grace_seconds}
    if origin:
        facts["origin"] = origin
    body = {"conditions": row.conditions} if row.conditions else None
    append(session, "grant.given", person_actor(actor), f"dataset/{dataset}", facts, body=body, now=now)
    return grant_of(row)


def revoke(session: Session, grant_id: str, actor: PersonId, reason: str, now: dt.datetime) -> Grant:
    """Take a grant back now.

    Raises `NotFound` when it is not one of this person's organisations', `Refused` when it ended already.
    Copies in the project's folders are held from now on, if the project has used the data.
    """
    if not reason.strip() or len(reason) > TEXT_MAX:
        raise Invalid("reason", f"Say why in 1 to {TEXT_MAX} characters: the project's members will read it.")
    row = session.scalar(select(GrantRow).where(GrantRow.id == grant_id).with_for_update())
    person = find_person(session, actor)
    if row is None or person is None or not controls_for(person, row.organisation):
        raise NotFound("grant-unknown", "There is no such grant among those of your organisation.")
    refuse_if(why_not_person(person, now))
    if not is_live(grant_of(row), now):
        raise Refused([Refusal("grant-ended", "This grant has ended already: nothing is open under it.")])
    row.revoked_at, row.revoked_by, row.revoke_reason = now, actor, reason.strip()
    append(
        session,
        "grant.revoked",
        person_actor(actor),
        f"dataset/{row.dataset}",
        _facts(row),
        body={"reason": row.revoke_reason},
        now=now,
    )
    copies.hold(session, grant_of(row), "revoked", now)
    return grant_of(row)


def expire_due(session: Session, now: dt.datetime) -> list[Grant]:
    """Record the end of every grant whose last day has passed, and hold the copies made under it. Safe to repeat."""
    due = session.scalars(
        select(GrantRow)
        .where(GrantRow.until < now.astimezone(dt.UTC).date())
        .where(GrantRow.revoked_at.is_(None), GrantRow.expiry_recorded_at.is_(None))
        .order_by(GrantRow.id)
        .with_for_update()
    )
    ended = []
    for row in due:
        row.expiry_recorded_at = now
        facts = {**_facts(row), "until": row.until.isoformat()}
        append(session, "grant.expired", software("controller"), f"dataset/{row.dataset}", facts, now=now)
        copies.hold(session, grant_of(row), "expired", now)
        ended.append(grant_of(row))
    return ended


def live_grants(
    session: Session, now: dt.datetime, *, dataset: DatasetName | None = None, project: ProjectName | None = None
) -> list[Grant]:
    """The grants that permit something now, newest first; of one dataset or project if named."""
    return [one for one in _grants(session, dataset, project) if is_live(one, now)]


def grants_of_dataset(session: Session, dataset: DatasetName) -> list[Grant]:
    """Every grant of a dataset there ever was, newest first."""
    return _grants(session, dataset, None)


def last_grants(session: Session, project: ProjectName) -> list[Grant]:
    """The latest word of each organisation on each dataset version of the project, live or not."""
    last: dict[tuple[str, str, str], Grant] = {}
    for one in _grants(session, None, project):  # newest first; what was replaced is older than what replaced it
        last.setdefault((one.dataset, one.version, one.organisation), one)
    return [one for one in last.values() if one.replaced_by is None]


def why_not_controller(
    person: Person | None, dataset: Dataset, organisation: OrganisationName, now: dt.datetime
) -> Refusal | None:
    """Why this person may not decide on the dataset for this organisation, or None."""
    invalid = why_not_person(person, now)
    if invalid or person is None:
        return invalid
    if organisation not in dataset.spec.controllers:
        return Refusal("not-its-controller", f"{organisation} is no controller of '{dataset.metadata.name}'.")
    if not controls_for(person, organisation):
        return Refusal("not-your-organisation", f"You do not decide for {organisation}. One of its own people must.")
    return None


def _dataset_for(
    session: Session, dataset: DatasetName, organisation: OrganisationName, actor: PersonId, now: dt.datetime
) -> Dataset:
    found = load_dataset(session, dataset)
    refuse_if(why_not_controller(find_person(session, actor), found, organisation, now))
    return found


def _check_terms(now: dt.datetime, until: dt.date, grace_seconds: int, conditions: str) -> None:
    if end_of_day(until) <= now:
        raise Invalid("grant-until", f"The last day {until.isoformat()} has passed. Choose a later one.")
    if until > now.date() + dt.timedelta(days=DAYS_MAX):
        raise Invalid("grant-until", f"A grant lasts at most {DAYS_MAX} days. Grant again when it runs out.")
    if not 0 <= grace_seconds <= GRACE_MAX_SECONDS:
        raise Invalid("grant-grace", f"Grace is between 0 and {GRACE_MAX_SECONDS} seconds.")
    if len(conditions) > TEXT_MAX:
        raise Invalid("grant-conditions", f"Conditions have at most {TEXT_MAX} characters.")


def _replace(session: Session, fresh: GrantRow, actor: PersonId, now: dt.datetime) -> None:
    """End the live grant that `fresh` takes the place of; the right goes on, so no copies are held."""
    older = session.scalars(
        select(GrantRow)
        .where(GrantRow.project == fresh.project, GrantRow.dataset == fresh.dataset, GrantRow.version == fresh.version)
        .where(GrantRow.organisation == fresh.organisation, GrantRow.revoked_at.is_(None))
        .with_for_update()
    )
    for row in older:
        if is_live(grant_of(row), now):
            row.revoked_at, row.revoked_by, row.replaced_by = now, actor, fresh.id
            facts = {**_facts(row), "by": fresh.id}
            append(session, "grant.replaced", person_actor(actor), f"dataset/{row.dataset}", facts, now=now)


def _grants(session: Session, dataset: DatasetName | None, project: ProjectName | None) -> list[Grant]:
    query = select(GrantRow).order_by(GrantRow.granted_at.desc(), GrantRow.id)
    if dataset is not None:
        query = query.where(GrantRow.dataset == dataset)
    if project is not None:
        query = query.where(GrantRow.project == project)
    return [grant_of(row) for row in session.scalars(query)]


def _facts(row: GrantRow) -> dict[str, str]:
    return {
        "grant": row.id,
        "version": row.version,
        "manifest": row.manifest,
        "project": row.project,
        "organisation": row.organisation,
    }
