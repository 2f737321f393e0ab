"""The catalogue as it stands in the database: read back through the same models that let it in."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.models import KINDS, Dataset, Person, PolicyProfile, Project, TierPolicy
from tre_orchestrator.errors import NotFound, Refusal, Refused
from tre_orchestrator.governance.tables import CatalogueRow

Kind = TypeVar("Kind", Project, Dataset, Person, PolicyProfile)


def find(session: Session, kind: type[Kind], name: str) -> Kind | None:
    """The object of this kind and name, or None."""
    row = session.get(CatalogueRow, (kind.__name__, name))
    return kind.model_validate(row.document) if row else None


def find_person(session: Session, name: str) -> Person | None:
    """The person of this name, or None."""
    return find(session, Person, name)


def load_project(session: Session, name: str) -> Project:
    """The project; raises `NotFound`."""
    return _load(session, Project, name)


def load_person(session: Session, name: str) -> Person:
    """The person; raises `NotFound`."""
    return _load(session, Person, name)


def load_dataset(session: Session, name: str) -> Dataset:
    """The dataset; raises `NotFound`."""
    return _load(session, Dataset, name)


def load_profile(session: Session, name: str) -> PolicyProfile:
    """The policy profile; raises `NotFound`."""
    return _load(session, PolicyProfile, name)


def load_policy(session: Session, project: Project) -> TierPolicy:
    """The controls of the project's tier; raises `NotFound` without a profile, `Refused` without rules in it."""
    policy = load_profile(session, project.spec.profile).spec.policy(project.spec.tier)
    if policy is None:
        sentence = f"Policy profile '{project.spec.profile}' has no rules for tier {project.spec.tier}. Ask ops."
        raise Refused([Refusal("no-policy", sentence)])
    return policy


def list_projects(session: Session) -> list[Project]:
    """Every project, by name."""
    return _list(session, Project)


def list_people(session: Session) -> list[Person]:
    """Every person, by name."""
    return _list(session, Person)


def list_datasets(session: Session) -> list[Dataset]:
    """Every dataset, by name."""
    return _list(session, Dataset)


def list_profiles(session: Session) -> list[PolicyProfile]:
    """Every policy profile, by name."""
    return _list(session, PolicyProfile)


def projects_of(session: Session, person: str) -> list[Project]:
    """The projects this person is a member of, in date or not, by name."""
    return [
        project for project in list_projects(session) if any(member.person == person for member in project.spec.members)
    ]


def lock_project(session: Session, name: str) -> Project:
    """The project, its row locked until the transaction ends, so that decisions on it happen one after the other."""
    return _locked(session, Project, name)


def lock_dataset(session: Session, name: str) -> Dataset:
    """The dataset, its row locked until the transaction ends."""
    return _locked(session, Dataset, name)


def _locked(session: Session, kind: type[Kind], name: str) -> Kind:
    row = session.scalar(
        select(CatalogueRow)
        .where(CatalogueRow.kind == kind.__name__, CatalogueRow.name == name)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if row is None:
        raise _missing(kind.__name__, name)
    return kind.model_validate(row.document)


def _load(session: Session, kind: type[Kind], name: str) -> Kind:
    found = find(session, kind, name)
    if found is None:
        raise _missing(kind.__name__, name)
    return found


def _list(session: Session, kind: type[Kind]) -> list[Kind]:
    rows = session.scalars(select(CatalogueRow).where(CatalogueRow.kind == kind.__name__).order_by(CatalogueRow.name))
    return [kind.model_validate(row.document) for row in rows]


def _missing(kind: str, name: str) -> NotFound:
    assert kind in KINDS
    return NotFound("not-in-catalogue", f"There is no {kind.lower()} '{name}', or you may not see it.")
