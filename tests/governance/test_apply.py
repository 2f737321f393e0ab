from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import ValidationError
from sqlalchemy import func, select

from tests.governance.build import (
    GRACE,
    World,
    codes,
    dataset,
    everybody,
    person,
    profile,
    project,
)
from tre_orchestrator.catalogue.read import CatalogueErrors
from tre_orchestrator.errors import NotFound, Refused, Stale
from tre_orchestrator.governance import apply as applying
from tre_orchestrator.governance.load import projects_of
from tre_orchestrator.governance.tables import CatalogueRow
from tre_orchestrator.ledger import append
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.tables import LedgerBody, LedgerEntry
from tre_orchestrator.settings import Settings


@pytest.fixture
def empty(db: Database, settings: Settings, now: dt.datetime) -> World:
    return World(db, settings, now)


def faults(world: World, *objects: object) -> list[str]:
    with pytest.raises(CatalogueErrors) as caught:
        world.apply(*objects)
    return [str(fault) for fault in caught.value.faults]


def apply_as(world: World, actor: append.Actor, *objects: applying.Object) -> applying.Applied:
    with world.db.write() as session:
        return applying.apply(session, objects, actor, world.now)


def test_objects_are_created_changed_and_left_alone(empty: World) -> None:
    first = empty.apply(*everybody(), profile(), dataset(), project())
    assert len(first.created) == 10
    assert first.changed == first.unchanged == ()
    second = empty.apply(project(title="Other"), dataset())
    assert second == applying.Applied((), ("Project/heart",), ("Dataset/lungs",))
    with empty.db.read() as session:
        assert applying.load_project(session, "heart").spec.title == "Other"
        assert [one.metadata.name for one in projects_of(session, "ana-silva")] == ["heart"]
        assert projects_of(session, "ben-okafor") == []
        with pytest.raises(NotFound):
            applying.load_dataset(session, "heart")


def test_every_broken_reference_is_told_and_nothing_is_applied(empty: World) -> None:
    broken = project(
        tier=4,
        members=[{"person": "ana-silva"}, {"person": "zoe"}],
        datasets=[{"name": "lungs", "version": "9"}, {"name": "skin", "version": "1"}],
    )
    lost = project("liver", profile="absent", members=[{"person": "olu"}])
    assert faults(empty, person("ana-silva", "analyst"), profile(), dataset(controllers=("trust",)), broken, lost) == [
        "Project/heart: spec.members[1].person: there is no person 'zoe'",
        "Project/heart: spec.datasets[0].version: dataset 'lungs' has no version '9'",
        "Project/heart: spec.datasets[1].name: there is no dataset 'skin'",
        "Project/heart: spec.tier: policy profile 'standard' has no rules for tier 4",
        "Project/liver: spec.members[0].person: there is no person 'olu'",
        "Project/liver: spec.profile: there is no policy profile 'absent'",
        "Dataset/lungs: spec.controllers[0]: nobody decides for 'trust': no person has it in controller_of",
    ]
    with empty.db.read() as session:
        assert session.scalar(select(func.count()).select_from(CatalogueRow)) == 0
        assert session.scalar(select(func.count()).select_from(LedgerEntry)) == 0


def test_a_change_that_breaks_another_object_is_refused(world: World) -> None:
    assert faults(world, person("erin-walsh", accredited=None)) == [
        "Dataset/lungs: spec.controllers[0]: nobody decides for 'trust': no person has it in controller_of"
    ]
    assert faults(world, profile().model_copy(update={"spec": profile().spec.model_copy(update={"tiers": {}})})) == [
        "Project/heart: spec.tier: policy profile 'standard' has no rules for tier 1"
    ]


def test_the_same_object_twice_is_refused(empty: World) -> None:
    assert faults(empty, person("bo"), person("bo")) == ["Person/bo: metadata.name: stands twice in what is applied"]


def test_d1_a_hashed_version_neither_moves_nor_goes_away(world: World) -> None:
    assert faults(world, dataset(**{"1.0": "data/elsewhere"})) == [
        "Dataset/lungs: spec.versions[0].folder: version '1.0' was hashed in 'data/lungs/1.0'; "
        "declare a new version instead"
    ]
    assert faults(world, dataset(**{"2.0": "data/lungs/2.0"}))[-1] == (
        "Dataset/lungs: spec.versions: version '1.0' was hashed and may not be taken away"
    )
    world.apply(dataset(**{"1.0": "data/lungs/1.0", "2.0": "data/lungs/2.0"}))
    assert world.decide().allowed


def test_d1_nobody_but_its_own_people_takes_a_controller_away(world: World) -> None:
    world.apply(dataset(controllers=("trust", "survey")))
    told = ["Dataset/lungs: spec.controllers: 'survey' may only be taken away by its own people"]
    assert faults(world, dataset()) == told
    with pytest.raises(CatalogueErrors):
        apply_as(world, append.person("olu"), dataset())
    world.apply(person("femi-adeyemi", "ops", accredited=None, controller_of=["survey"]))
    apply_as(world, append.person("femi-adeyemi"), dataset())
    assert world.decide().allowed


@pytest.mark.parametrize(
    ("actor", "code"),
    [
        (append.person("ana-silva"), "not-ops"),
        (append.person("erin-walsh"), "not-ops"),
        (append.person("nobody"), "person-unknown"),
        (append.software("controller"), "not-a-human"),
    ],
)
def test_only_ops_people_change_the_catalogue(world: World, actor: append.Actor, code: str) -> None:
    with pytest.raises(Refused) as caught:
        apply_as(world, actor, project(title="Other"))
    assert caught.value.code == code


def test_p2_nobody_gives_themselves_a_role(world: World) -> None:
    mine = person("olu", "ops", "approver", "checker", accredited="2030-01-01")
    with pytest.raises(Refused) as caught:
        apply_as(world, append.person("olu"), mine)
    assert caught.value.code == "own-entry"
    assert apply_as(world, append.person("olu"), person("olu", "ops", accredited=None)).unchanged == ("Person/olu",)
    assert apply_as(world, append.person("grace-lin"), mine).changed == ("Person/olu",)


def test_the_ledger_says_what_changed_and_keeps_personal_data_in_the_body(world: World) -> None:
    apply_as(world, append.person(GRACE), person("ana-silva", "analyst", full_name="Ana Maria Silva"))
    with world.db.read() as session:
        entry = session.scalars(select(LedgerEntry.entry).order_by(LedgerEntry.seq.desc())).first() or b""
        body = session.scalars(select(LedgerBody.body).order_by(LedgerBody.seq.desc())).first()
    assert b'"kind":"person.changed"' in entry
    assert b'"fields":["full_name"]' in entry
    assert b"Maria" not in entry
    assert b"example.org" not in entry
    assert body is not None
    assert b"Ana Maria Silva" in body


def test_p1_a_person_set_inactive_loses_everything_at_once(world: World) -> None:
    world.apply(person("ana-silva", "analyst", active=False))
    assert codes(world.decide()) == ["person-inactive"]


def test_what_is_stored_is_what_was_set(world: World) -> None:
    with world.db.read() as session:
        row = session.get(CatalogueRow, ("Project", "heart"))
        assert row is not None
        assert "environment" not in row.document["spec"], "a default must not become part of what was approved"


def test_two_who_apply_the_same_new_object_at_once_leave_one_whole(world: World) -> None:
    def attempt(title: str) -> str:
        try:
            return world.apply(project("liver", title=title)).created[0]
        except Stale as error:
            return error.code
        except IndexError:
            return "second"

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(attempt, "abcd"))
    assert outcomes.count("Project/liver") == 1
    assert set(outcomes) <= {"Project/liver", "catalogue-changed", "second"}


@pytest.mark.parametrize(
    "folder", ["data/lungs/1.0", "data/lungs/./1.0/", "data/lungs", "data/lungs/1.0/part", "data/other/../lungs/1.0"]
)
def test_D1_no_dataset_holds_the_files_of_another_one(empty: World, folder: str) -> None:
    """Or an organisation of one's own could grant the files of another one."""
    alias = dataset("alias", controllers=("survey",), **{"1.0": folder})
    found = faults(empty, *everybody(), profile(), dataset(), alias)
    assert any("whose controllers must grant them" in fault for fault in found)


@pytest.mark.parametrize(
    "tier",
    [
        {"approvals": []},
        {"approvals": ["approver", "approver"]},
        {"quorum": "2"},
        {"mfa": "off"},
        {"mfa": 1},
        {"max_life_hours": 2.0},
        {"max_life_hours": True},
    ],
)
def test_controls_that_are_loose_or_of_another_type_are_refused(tier: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        profile(**{"1": tier})
