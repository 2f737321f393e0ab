"""Seeds the demo once: invented people, projects and data, and the decisions that make two projects ready to work.

The decisions go through the same functions as everybody's, with the invented people as actors; the ledger marks each
of them as the demo's. All of it is one transaction, so a crash leaves nothing half done, and a second call does
nothing: what people changed since stays as they left it.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.digest import project_digest, version_of
from tre_orchestrator.catalogue.models import Role
from tre_orchestrator.catalogue.names import DatasetName, OrganisationName, PersonId, ProjectName
from tre_orchestrator.catalogue.read import read_path
from tre_orchestrator.errors import Refusal, Refused
from tre_orchestrator.governance.apply import apply
from tre_orchestrator.governance.approvals import approve
from tre_orchestrator.governance.datasets import record_version, scan
from tre_orchestrator.governance.grants import grant
from tre_orchestrator.governance.load import list_people, load_policy, load_project
from tre_orchestrator.governance.walk import HashedFile
from tre_orchestrator.ledger.append import append, console, software
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.read import entries
from tre_orchestrator.settings import Settings

Progress = Callable[[str, int], None]

CATALOGUE = Path(__file__).parent / "catalogue"
VERSION = "1.0"
ORIGIN = "demo"
APPROVED = ("survey-methods", "winter-pressures", "rare-conditions")
"""Projects that Grace Lin has approved. `diabetes-outcomes` waits for her, so that people can try it."""
GRANTED = (
    ("wellbeing", "survey-methods"),
    ("admissions", "winter-pressures"),
    ("wellbeing", "diabetes-outcomes"),
    ("admissions", "rare-conditions"),
)
"""`diabetes-outcomes` also waits for Erin Walsh's grant of the admissions."""
_CONTROLLERS = {"admissions": ("northshire-trust", "erin-walsh"), "wellbeing": ("wellbeing-survey", "femi-adeyemi")}
_GRANT_DAYS = 365
_APPROVER = PersonId("grace-lin")


def seed(db: Database, settings: Settings, now: dt.datetime, progress: Progress | None = None) -> None:
    """Fill an empty TRE. Does nothing when this was done already. Raises `Refused` where there are real people."""
    if not settings.demo:
        raise Refused([Refusal("not-a-demo", "This TRE was not started with --demo; invented people stay out of it.")])
    with db.read() as session:
        if _is_done(session):
            return
    told = progress or _silent
    objects = [located.obj for located in read_path(CATALOGUE)]
    hashed = {}
    for index, dataset in enumerate(_CONTROLLERS):
        told(f"Inventing the dataset '{dataset}'", 5 + 45 * index)
        _make_data(settings, dataset)
        told(f"Hashing the dataset '{dataset}'", 35 + 45 * index)
        hashed[dataset] = scan(settings, f"data/{dataset}/{VERSION}")
    told("Seeding the catalogue and the first decisions", 95)
    with db.write() as session:
        if _is_done(session):
            return
        append(session, "demo.seeded", software(ORIGIN), "tre", {}, now=now)
        apply(session, objects, console(ORIGIN), now)
        _decide(session, hashed, now)
    told("The demo is seeded", 100)


def is_demo(session: Session) -> bool:
    """Whether this TRE was made as a demo: a setting alone could make the console hand out real people's links."""
    return bool(entries(session, kind="demo.seeded", limit=1))


def _is_done(session: Session) -> bool:
    if is_demo(session):
        return True
    if list_people(session):
        raise Refused(
            [
                Refusal(
                    "real-people",
                    "This TRE was not made as a demo and has people of its own, so --demo is refused: it would hand "
                    "out their sign-in links. Start without --demo, or choose an empty folder with --state.",
                )
            ]
        )
    return False


def _decide(session: Session, hashed: dict[str, list[HashedFile]], now: dt.datetime) -> None:
    for dataset, files in hashed.items():
        folder = f"data/{dataset}/{VERSION}"
        record_version(session, DatasetName(dataset), VERSION, folder, files, software(ORIGIN), now)
    for name in APPROVED:
        project = load_project(session, name)
        seen = version_of(project, load_policy(session, project))
        approve(session, ProjectName(name), Role.approver, seen, _APPROVER, now, origin=ORIGIN)
    until = (now + dt.timedelta(days=_GRANT_DAYS)).date()
    for dataset, name in GRANTED:
        organisation, controller = _CONTROLLERS[dataset]
        grant(
            session,
            DatasetName(dataset),
            VERSION,
            ProjectName(name),
            OrganisationName(organisation),
            PersonId(controller),
            now,
            seen=project_digest(load_project(session, name)),
            until=until,
            origin=ORIGIN,
        )


def _make_data(settings: Settings, dataset: str) -> None:
    """Write the files of a dataset if they are not there; complete or not at all, readable for workspaces."""
    folder = settings.state_dir / "data" / dataset / VERSION
    if folder.is_dir():
        return
    from tre_orchestrator.demo import data  # polars: 0.2 s that only the first start pays

    fresh = folder.with_name(f".{VERSION}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    {"admissions": data.write_admissions, "wellbeing": data.write_survey}[dataset](fresh)
    for file in fresh.iterdir():
        file.chmod(0o644)
        with file.open("rb") as written:
            os.fsync(written.fileno())
    for made in (fresh, folder.parent, settings.state_dir / "data"):
        made.chmod(0o755)
    fresh.rename(folder)


def _silent(_step: str, _percent: int) -> None:
    """Tell nobody."""
