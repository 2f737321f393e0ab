"""Builds catalogue objects and a governed TRE through the same functions that everybody uses."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.digest import Version, project_digest, version_of
from tre_orchestrator.catalogue.models import API_VERSION, Dataset, Person, PolicyProfile, Project, Role
from tre_orchestrator.catalogue.names import DatasetName, OrganisationName, PersonId, ProjectName, Sha256
from tre_orchestrator.governance import apply as applying
from tre_orchestrator.governance.approvals import approve
from tre_orchestrator.governance.datasets import add_version
from tre_orchestrator.governance.facts import decide_now
from tre_orchestrator.governance.grants import grant
from tre_orchestrator.governance.load import load_policy
from tre_orchestrator.governance.model import Decision, Grant
from tre_orchestrator.ledger import tables as _ledger_tables  # noqa: F401 - declares the ledger's tables
from tre_orchestrator.ledger.append import console, software
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings

HEART, LUNGS = ProjectName("heart"), DatasetName("lungs")
ANA, BEN, CHLOE, ERIN, FEMI, GRACE, OLU = (
    PersonId(name)
    for name in ("ana-silva", "ben-okafor", "chloe-martin", "erin-walsh", "femi-adeyemi", "grace-lin", "olu")
)
TRUST, SURVEY = OrganisationName("trust"), OrganisationName("survey")


def document(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def project(name: str = "heart", **changes: Any) -> Project:
    spec = {
        "title": "Heart",
        "purpose": "Learn about hearts",
        "tier": 1,
        "members": [{"person": "ana-silva"}],
        "datasets": [{"name": "lungs", "version": "1.0"}],
        "start": "2026-01-01",
        "end": "2027-12-31",
    }
    return Project.model_validate(document("Project", name, {**spec, **changes}))


def person(name: str, *roles: str, accredited: str | None = "2030-12-31", **changes: Any) -> Person:
    spec: dict[str, Any] = {
        "full_name": name.title(),
        "email": f"{name}@example.org",
        "organisation": "Here",
        "roles": list(roles),
    }
    if accredited:
        spec["accreditation"] = {"scheme": "Course", "expires": accredited}
    return Person.model_validate(document("Person", name, {**spec, **changes}))


def dataset(name: str = "lungs", controllers: tuple[str, ...] = ("trust",), **folders: str) -> Dataset:
    versions = folders or {"1.0": f"data/{name}/1.0"}
    spec = {
        "title": name.title(),
        "controllers": list(controllers),
        "versions": [{"version": version, "folder": folder} for version, folder in versions.items()],
    }
    return Dataset.model_validate(document("Dataset", name, spec))


def profile(**tiers: dict[str, Any]) -> PolicyProfile:
    given = {"0": {}, "1": {}, "2": {"mfa": True, "approvals": ["approver", "ops"]}, "3": {"access": "glass"}}
    return PolicyProfile.model_validate(document("PolicyProfile", "standard", {"tiers": {**given, **tiers}}))


def everybody() -> list[Person]:
    return [
        person("ana-silva", "analyst"),
        person("ben-okafor", "analyst"),
        person("chloe-martin", "checker"),
        person("erin-walsh", controller_of=["trust"], accredited=None),
        person("femi-adeyemi", controller_of=["survey"], accredited=None),
        person("grace-lin", "approver", "ops", accredited=None),
        person("olu", "ops", accredited=None),
    ]


@dataclass(frozen=True)
class World:
    """A governed TRE. Each step is one transaction through the business layer."""

    db: Database
    settings: Settings
    now: dt.datetime

    def apply(self, *objects: Any) -> applying.Applied:
        with self.db.write() as session:
            return applying.apply(session, objects, console("test"), self.now)

    def add_data(self, name: DatasetName = LUNGS, version: str = "1.0") -> Path:
        folder = self.settings.state_dir / "data" / name / version
        folder.mkdir(parents=True)
        (folder / "a.csv").write_text("n\n1\n")
        for path in (folder.parent.parent, folder.parent, folder):
            path.chmod(0o755)
        add_version(self.db, self.settings, name, version, software("test"), self.now)
        return folder

    def approve(self, by: PersonId = GRACE, role: Role = Role.approver, name: ProjectName = HEART) -> None:
        with self.db.write() as session:
            approve(session, name, role, self.version(session, name), by, self.now)

    def grant(self, by: PersonId = ERIN, organisation: OrganisationName = TRUST, **terms: Any) -> Grant:
        given: dict[str, Any] = {"until": dt.date(2027, 6, 30), **terms}
        dataset_name = given.pop("dataset", LUNGS)
        with self.db.write() as session:
            given.setdefault("seen", project_digest(applying.load_project(session, HEART)))
            return grant(session, dataset_name, "1.0", HEART, organisation, by, self.now, **given)

    def decide(self, who: PersonId = ANA, now: dt.datetime | None = None, **how: Any) -> Decision:
        with self.db.read() as session:
            return decide_now(session, self.settings, HEART, who, now or self.now, **how)

    def version(self, session: Session, name: ProjectName = HEART) -> Version:
        """What an approver who looks now sees."""
        declared = applying.load_project(session, name)
        return version_of(declared, load_policy(session, declared))

    def seen(self) -> Version:
        with self.db.read() as session:
            return self.version(session)

    def digest(self) -> Sha256:
        with self.db.read() as session:
            return project_digest(applying.load_project(session, HEART))


def ready(db: Database, settings: Settings, now: dt.datetime) -> World:
    """A TRE in which Ana may work in `heart` on `lungs`."""
    world = World(db, settings, now)
    world.apply(*everybody(), profile(), dataset(), project())
    world.add_data()
    world.approve()
    world.grant()
    return world


def codes(decision: Decision) -> list[str]:
    return [refusal.code for refusal in decision.refusals]
