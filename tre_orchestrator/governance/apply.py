"""Takes declared objects into the catalogue: all of them, or none and every reason why.

Declaring is not deciding: nothing applied here approves, grants or votes. What would widen access behind the back of
those who agreed is refused: a hashed dataset version never moves, a controller leaves a dataset only by its own
people's hand, nobody edits their own entry. An edited project keeps its name but loses its approval (see `decide`).
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.digest import changed_keys, project_digest
from tre_orchestrator.catalogue.models import (
    KINDS,
    Dataset,
    Person,
    PolicyProfile,
    Project,
    Role,
    explicit_fields,
)
from tre_orchestrator.catalogue.read import CatalogueErrors, Fault
from tre_orchestrator.errors import Refusal, Refused, Stale, refuse_if
from tre_orchestrator.governance.coherence import Declared, Hashed, faults
from tre_orchestrator.governance.load import (
    find_person,
    list_datasets,
    list_people,
    list_profiles,
    list_projects,
    load_dataset,
    load_person,
    load_profile,
    load_project,
)
from tre_orchestrator.governance.people import has_role, why_not_person
from tre_orchestrator.governance.tables import CatalogueRow, ManifestRow
from tre_orchestrator.ledger.append import Actor, append
from tre_orchestrator.ledger.canonical import Json

__all__ = [
    "Applied",
    "apply",
    "check_coherent",
    "list_datasets",
    "list_people",
    "list_profiles",
    "list_projects",
    "load_dataset",
    "load_person",
    "load_profile",
    "load_project",
    "why_not_apply",
]

Object = Project | Dataset | Person | PolicyProfile


@dataclass(frozen=True, slots=True)
class Applied:
    """What `apply` did, as "Kind/name"."""

    created: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]


def apply(session: Session, objects: Sequence[Object], actor: Actor, now: dt.datetime) -> Applied:
    """Create or replace these objects. Raises `CatalogueErrors` with every fault, or `Refused` for this actor.

    People need the role ops. At the console of the machine anybody who can reach the database may apply; it is
    recorded as such.
    """
    rows = {
        (row.kind, row.name): row
        for row in session.scalars(
            select(CatalogueRow).order_by(CatalogueRow.kind, CatalogueRow.name).with_for_update()
        )
    }
    before = Declared.of([_model(row) for row in rows.values()])
    _check_actor(session, actor, objects, before, now)
    check_coherent(session, objects, actor.id if actor.kind == "person" else None)
    done: dict[str, list[str]] = {"created": [], "changed": [], "unchanged": []}
    try:
        for one in objects:
            kind, name = type(one).__name__, one.metadata.name
            outcome = _put(session, rows.get((kind, name)), one, actor, now)
            done[outcome].append(f"{kind}/{name}")
    except IntegrityError as error:
        sentence = "Somebody else applied the same object at this moment. Nothing of yours was applied; try again."
        raise Stale("catalogue-changed", sentence) from error
    return Applied(*(tuple(done[key]) for key in ("created", "changed", "unchanged")))


def why_not_apply(actor: Actor, person: Person | None, now: dt.datetime) -> Refusal | None:
    """Why this actor may not change the catalogue, or None. `person` is the actor's entry, if it is a person."""
    if actor.kind == "console":
        return None
    if actor.kind != "person":
        return Refusal("not-a-human", "Software declares nothing by itself.")
    invalid = why_not_person(person, now)
    if invalid or person is None:
        return invalid
    if not has_role(person, Role.ops):
        return Refusal("not-ops", "Only people with the role ops change the catalogue. Send your change to them.")
    return None


def _check_actor(session: Session, actor: Actor, objects: Sequence[Object], before: Declared, now: dt.datetime) -> None:
    refuse_if(why_not_apply(actor, find_person(session, actor.id) if actor.kind == "person" else None, now))
    own = next((one for one in objects if isinstance(one, Person) and one.metadata.name == actor.id), None)
    if actor.kind == "person" and own is not None and own != before.people.get(actor.id):
        raise Refused([Refusal("own-entry", "You may not change your own entry. Another ops person must apply it.")])


def check_coherent(session: Session | None, objects: Sequence[Object], actor: str | None = None) -> None:
    """Raise `CatalogueErrors` with every fault of the catalogue that these objects would make: of the one in the
    database, or with no session of these objects on their own. `actor` is the applying person."""
    before, hashed = Declared.of([]), []
    if session is not None:
        before = Declared.of([_model(row) for row in session.scalars(select(CatalogueRow))])
        hashed = [Hashed(row.dataset, row.version, row.folder) for row in session.scalars(select(ManifestRow))]
    found = faults(objects, before, hashed, actor)
    if found:
        raise CatalogueErrors([Fault(f"{kind}/{name}", None, field, reason) for kind, name, field, reason in found])


def _put(session: Session, row: CatalogueRow | None, one: Object, actor: Actor, now: dt.datetime) -> str:
    document = explicit_fields(one)
    kind, name = type(one).__name__, one.metadata.name
    if row is not None and row.document == document:
        return "unchanged"
    fields = [change.field for change in changed_keys(row.document["spec"] if row else {}, document["spec"])]
    if row is None:
        session.add(CatalogueRow(kind=kind, name=name, document=document, applied_at=now, applied_by=actor.id))
    else:
        row.document, row.applied_at, row.applied_by = document, now, actor.id
    act = "declared" if row is None else "changed"
    subject = f"{_SUBJECTS[kind]}/{name}"
    body: dict[str, Json] = {"document": json.dumps(document, sort_keys=True)}
    append(session, f"{_SUBJECTS[kind]}.{act}", actor, subject, _facts(one, fields), body=body, now=now)
    return "created" if row is None else "changed"


_SUBJECTS = {"Project": "project", "Dataset": "dataset", "Person": "person", "PolicyProfile": "policy"}


def _facts(one: Object, fields: list[str]) -> dict[str, Json]:
    """What may be public about a declared object: never a person's own data, which stands in the body."""
    facts: dict[str, Json] = {"fields": fields}
    match one:
        case Project():
            facts |= {"digest": project_digest(one), "tier": one.spec.tier}
        case Dataset():
            facts |= {"controllers": list(one.spec.controllers)}
        case Person():
            facts |= {
                "roles": [role.value for role in one.spec.roles],
                "controller_of": list(one.spec.controller_of),
                "active": one.spec.active,
            }
        case PolicyProfile():
            facts |= {"version": one.spec.version}
    return facts


def _model(row: CatalogueRow) -> Object:
    return KINDS[row.kind].model_validate(row.document)
