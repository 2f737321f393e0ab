from __future__ import annotations

import datetime as dt
import hashlib
import io
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import select
from stdnum.gb import nhs

from tests.governance import build
from tests.governance.build import codes
from tre_orchestrator.catalogue.models import Dataset, Person, Project
from tre_orchestrator.catalogue.names import DatasetName, PersonId, ProjectName
from tre_orchestrator.catalogue.read import read_path
from tre_orchestrator.demo import data
from tre_orchestrator.demo import seed as seeding
from tre_orchestrator.demo.seed import CATALOGUE, seed
from tre_orchestrator.errors import Refused
from tre_orchestrator.governance.facts import decide_now, project_status
from tre_orchestrator.governance.load import list_people
from tre_orchestrator.governance.mountable import why_closed, why_touched
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.tables import LedgerEntry
from tre_orchestrator.settings import Settings


@pytest.fixture
def demo(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a demo whose data are small, so that the tests are quick."""
    monkeypatch.setattr(data, "write_admissions", lambda folder: data.admissions(500, 300).write_csv(folder / "a.csv"))
    return settings.model_copy(update={"demo": True})


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return data.admissions()


def test_seeding_makes_two_projects_ready_one_waiting_and_one_refused(
    db: Database, demo: Settings, now: dt.datetime
) -> None:
    seed(db, demo, now)
    expected: dict[str, list[str]] = {
        "survey-methods": [],
        "winter-pressures": [],
        "diabetes-outcomes": ["approval-missing", "grant-missing"],
        "rare-conditions": ["access-not-offered", "mfa-needed"],
    }
    with db.read() as session:
        for name, reasons in expected.items():
            assert codes(decide_now(session, demo, ProjectName(name), PersonId("ana-silva"), now)) == reasons
        status = project_status(session, demo, ProjectName("rare-conditions"), now)
        assert [refusal.code for refusal in status.refusals] == ["access-not-offered"]
        for dataset in ("admissions", "wellbeing"):
            assert why_closed(session, demo, DatasetName(dataset), "1.0") is None
            assert why_touched(db, demo, DatasetName(dataset), "1.0") is None


def test_seeding_again_changes_nothing_and_keeps_what_people_changed(
    db: Database, demo: Settings, now: dt.datetime
) -> None:
    seed(db, demo, now)
    with db.read() as session:
        before = session.scalars(select(LedgerEntry.leaf)).all()
    seed(db, demo, now + dt.timedelta(days=400))
    with db.read() as session:
        assert session.scalars(select(LedgerEntry.leaf)).all() == before


def test_seeding_that_breaks_off_leaves_nothing_half_done(
    db: Database, demo: Settings, now: dt.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(seeding, "grant", fail)
        with pytest.raises(OSError, match="power"):
            seed(db, demo, now)
    with db.read() as session:
        assert list_people(session) == []
        assert session.scalars(select(LedgerEntry.seq)).all() == []
    seed(db, demo, now)
    with db.read() as session:
        assert len(list_people(session)) == 7


def test_data_that_were_half_written_are_written_again(
    db: Database, demo: Settings, now: dt.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> None:
        (folder / "a.csv").write_text("half")
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(data, "write_admissions", fail)
        with pytest.raises(OSError, match="disk"):
            seed(db, demo, now)
    seed(db, demo, now)
    assert (demo.state_dir / "data/admissions/1.0/a.csv").stat().st_size > 1000
    assert not list((demo.state_dir / "data/admissions").glob(".*"))


def test_P2_a_setting_alone_does_not_make_a_demo_of_real_people(
    db: Database, settings: Settings, now: dt.datetime
) -> None:
    """Or the console could print the sign-in links of both checkers."""
    build.ready(db, settings, now)
    as_demo = settings.model_copy(update={"demo": True})
    with pytest.raises(Refused, match="has people of its own"):
        seed(db, as_demo, now)
    with db.read() as session:
        assert not seeding.is_demo(session)


def test_only_a_demo_is_seeded(db: Database, settings: Settings, now: dt.datetime) -> None:
    with pytest.raises(Refused, match="--demo"):
        seed(db, settings, now)


def test_the_ledger_marks_the_demos_decisions(db: Database, demo: Settings, now: dt.datetime) -> None:
    seed(db, demo, now)
    with db.read() as session:
        rows = session.execute(select(LedgerEntry.kind, LedgerEntry.entry)).all()
    decisions = [entry for kind, entry in rows if kind in ("project.approved", "grant.given")]
    assert len(decisions) == 7
    assert all(b'"origin":"demo"' in entry for entry in decisions)


def test_the_demos_catalogue_has_the_people_and_projects_it_promises() -> None:
    objects = [located.obj for located in read_path(CATALOGUE)]
    people = [one for one in objects if isinstance(one, Person)]
    assert len(people) == 7
    assert sorted(one.spec.tier for one in objects if isinstance(one, Project)) == [0, 1, 2, 3]
    assert {name for one in objects if isinstance(one, Dataset) for name in one.spec.controllers} == {
        "northshire-trust",
        "wellbeing-survey",
    }
    roles = sorted(role for one in people for role in one.spec.roles)
    assert roles == ["analyst", "analyst", "approver", "checker", "checker", "ops"]
    assert all(one.spec.email.endswith("@example.org") for one in people)


def test_nhs_numbers_are_test_numbers_with_a_right_check_digit(table: pl.DataFrame) -> None:
    numbers = table["nhs_number"].unique().to_list()
    assert len(numbers) == data.PATIENTS
    assert all(number.startswith("999") and nhs.is_valid(number) for number in numbers)
    assert not nhs.is_valid(numbers[0][:-1] + str((int(numbers[0][-1]) + 1) % 10)), "the check would accept anything"


def test_the_records_hang_together(table: pl.DataFrame) -> None:
    assert table.height == data.ROWS
    assert table.columns == [
        "nhs_number",
        "date_of_birth",
        "sex",
        "postcode",
        "practice_code",
        "admission_date",
        "discharge_date",
        "diagnosis_icd10",
        "hba1c",
        "bmi",
        "systolic_bp",
        "smoker",
        "imd_decile",
        "cost_gbp",
    ]
    assert table.filter(pl.col("discharge_date") < pl.col("admission_date")).height == 0
    assert table.filter(pl.col("date_of_birth") >= pl.col("admission_date")).height == 0
    assert table["postcode"].str.contains(r"^NX([1-9]|1\d|2[0-4]) \d[ABD-HJLNP-UW-Z]{2}$").all()
    assert table["diagnosis_icd10"].str.contains(r"^[A-Z]\d\d(\.\d)?$").all()
    assert table["imd_decile"].is_between(1, 10).all()
    assert table["cost_gbp"].min() > 0  # type: ignore[operator]
    births = table.filter(pl.col("diagnosis_icd10").is_in(["O80", "O82"]))
    assert births.height > 5000
    assert births["sex"].unique().to_list() == ["F"]
    assert table.group_by("nhs_number").agg(pl.col("date_of_birth").n_unique())["date_of_birth"].mean() < 1.01  # type: ignore[operator]


def test_winter_shows_and_some_conditions_are_rare_enough_to_be_suppressed(table: pl.DataFrame) -> None:
    flu = table.filter(pl.col("diagnosis_icd10") == "J10.1")["admission_date"].dt.month().value_counts()
    by_month = dict(flu.iter_rows())
    assert by_month[1] > 3 * by_month[7]
    counts = table["diagnosis_icd10"].value_counts()
    rare = counts.filter(pl.col("count") < 10)
    assert rare.height >= 1
    assert (counts["count"] >= 1000).sum() >= 25


def test_the_same_records_come_out_every_time() -> None:
    def digest(frame: pl.DataFrame) -> str:
        text = io.BytesIO()
        frame.write_csv(text)
        return hashlib.sha256(text.getvalue()).hexdigest()

    assert digest(data.admissions(2000, 900)) == digest(data.admissions(2000, 900))
    assert digest(data.survey()) == digest(data.survey())


def test_both_files_of_the_admissions_hold_the_same_rows(tmp_path: Path) -> None:
    data.write_admissions(tmp_path)
    data.write_survey(tmp_path)
    read = pl.read_csv(tmp_path / "admissions.csv", schema=pl.read_parquet_schema(tmp_path / "admissions.parquet"))
    assert read.equals(pl.read_parquet(tmp_path / "admissions.parquet"))
    survey = pl.read_csv(tmp_path / "wellbeing.csv")
    assert survey.height == data.SURVEY_ROWS
    assert pl.read_csv(tmp_path / "dictionary.csv")["column"].to_list() == survey.columns
    shutil.rmtree(tmp_path)
