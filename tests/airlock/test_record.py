"""R1: each step and its ledger entry are one. R3: no value of a file is in findings, ledger, rows or logs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from sqlalchemy import select, text, update

from tests.airlock.build import CHLOE, CLEAN, DAN, FORM, Airlock, Folder
from tests.governance.build import ANA, profile
from tre_orchestrator.airlock import requests, reviews, work
from tre_orchestrator.airlock.release import open_release, revoke
from tre_orchestrator.airlock.states import State
from tre_orchestrator.airlock.tables import DownloadRow, ReleaseRow, RequestRow, ReviewRow, VoteRow
from tre_orchestrator.airlock.votes import Vote
from tre_orchestrator.errors import TreError
from tre_orchestrator.governance.tables import CatalogueRow
from tre_orchestrator.ledger.database import Base
from tre_orchestrator.ledger.read import entries
from tre_orchestrator.ledger.tables import LedgerEntry

FULL = "ledger_is_full"
NHS, POSTCODE, NAME = "9434765919", "SW1A 1AA", "Zebedee Canary"
ROWS = f"patient,postcode,n\n{NHS},{POSTCODE},3\n{NAME},{POSTCODE},4\n".encode()
NOTE = f"{NAME} of {POSTCODE} (NHS {NHS}) came on 3/4/1956, DOB 03/04/1956".encode()


def _rows(air: Airlock) -> dict[str, int]:
    with air.db.read() as session:
        return {
            table.__tablename__: len(session.scalars(select(table)).all())
            for table in (VoteRow, ReviewRow, ReleaseRow, DownloadRow)
        }


@pytest.fixture
def ledger_full(air: Airlock) -> Any:
    """A switch after which the database takes no ledger entry any more."""

    def switch() -> None:
        with air.db.engine.begin() as connection:
            if air.db.is_sqlite:
                connection.execute(
                    text(
                        "CREATE TRIGGER full_disk BEFORE INSERT ON ledger_entries "
                        f"BEGIN SELECT RAISE(ABORT, '{FULL}'); END"
                    )
                )
            else:
                connection.execute(
                    text("ALTER TABLE ledger_entries ADD CONSTRAINT ledger_is_full CHECK (seq < 0) NOT VALID")
                )

    return switch


def test_R1_without_an_entry_there_is_no_vote_no_decision_and_no_release(air: Airlock, ledger_full: Any) -> None:
    released, waiting, undecided, draft, approved = (
        air.released(), air.awaiting(), air.consolidating(), air.draft(), air.approved(),
    )  # fmt: skip
    air.review(waiting, CHLOE)
    states = {request.id: air.view(request).state for request in (waiting, undecided, approved, released, draft)}
    before = _rows(air)
    ledger_full()
    acts: list[Callable[[], object]] = [
        lambda: air.vote(waiting, "a.csv", DAN),
        lambda: air.act(reviews.return_, undecided, CHLOE, "No"),
        lambda: air.act(reviews.reject, undecided, CHLOE, "No"),
        lambda: air.act(revoke, released, CHLOE, "No"),
        lambda: open_release(air.db, air.store, "heart", released.id, ANA, air.now),
        lambda: air.submit(draft, {"a.csv": CLEAN}),
        lambda: air.act(requests.withdraw, draft, ANA),
    ]
    for number, act in enumerate(acts):
        with pytest.raises(Exception, match=FULL):
            act()
        assert _rows(air) == before, number
    with pytest.raises(Exception, match=FULL):
        air.advance()
    assert _rows(air) == before
    after = {number: air.view(number).state for number in states}
    allowed_to_differ = {approved.id: {State.approved, State.releasing}}
    assert all(after[n] is state or after[n] in allowed_to_differ.get(n, ()) for n, state in states.items())


def test_R1_every_step_of_the_way_is_in_the_ledger_by_who_did_it(air: Airlock) -> None:
    request = air.returned()
    air.submit(request, {"a.csv": CLEAN})
    air.advance()
    with air.db.read() as session:
        found = entries(session, subject=f"request/heart/{request.id}")
    assert [(entry.kind, entry.actor.kind, entry.actor.id) for entry in found if entry.kind != "vote.cast"] == [
        ("request.submitted", "person", ANA), ("request.closed", "software", "airlock"),
        ("request.checked", "software", "airlock"), ("review.submitted", "person", CHLOE),
        ("review.submitted", "person", DAN), ("votes.revealed", "software", "airlock"),
        ("request.returned", "person", CHLOE), ("request.submitted", "person", ANA),
        ("request.closed", "software", "airlock"), ("request.checked", "software", "airlock"),
    ]  # fmt: skip


def test_R3_no_value_of_a_file_is_in_the_ledger_the_database_or_the_logs(air: Airlock) -> None:
    class Careless:
        """A check with a bug that puts a value into its error."""

        def scan(self, path: str, chunks: Any, rules: Any) -> Any:
            raise ValueError(b"".join(chunks).decode())

    with structlog.testing.capture_logs() as logs:
        first = air.submit(air.draft(), {"a.csv": ROWS, "b.txt": NOTE})
        air.advance(Careless())
        air.at(minutes=1).advance()
        found = air.view(first)
        assert {file.verdict for file in found.files} == {"block"}
        air.act(requests.contest, first, ANA, "Test data")
        air.review(first, CHLOE)
        air.review(first, DAN)
        air.at(minutes=2).advance()
        assert air.view(first).state is State.released
    everything = json.dumps(logs, default=str) + _database_text(air)
    assert "ValueError" in json.dumps(logs)
    for canary in (NHS, POSTCODE, NAME, "Zebedee", "03/04/1956", "943 476"):
        assert canary not in everything, canary
    for data in (ROWS, NOTE):
        assert base64.b64encode(data[:30]).decode() not in everything
        for path in air.settings.state_dir.rglob("*"):
            if path.is_file() and path.parent.name != "1.0":
                assert data[:20] not in path.read_bytes(), path


def test_R3_titles_and_reasons_are_not_in_the_entries_but_in_bodies_that_can_be_erased(air: Airlock) -> None:
    form = FORM.model_copy(update={"title": "About Zebedee"})
    request = air.awaiting(form=form)
    air.review(request, CHLOE)
    air.review(request, DAN, Vote.request_changes, "Mentions Zebedee")
    air.act(reviews.return_, request, CHLOE, "Zebedee again")
    with air.db.read() as session:
        stored = b"".join(session.scalars(select(LedgerEntry.entry)))
        bodies = [entry.body for entry in entries(session) if entry.body]
    assert b"Zebedee" not in stored
    assert sum("Zebedee" in json.dumps(body) for body in bodies) == 3


def test_a_log_line_names_the_request_and_the_error_only(air: Airlock) -> None:
    with structlog.testing.capture_logs() as logs:
        draft = air.submit(air.draft(), Folder({"a.csv": CLEAN}))

        class Broken:
            def scan(self, path: str, chunks: Any, rules: Any) -> Any:
                raise TreError("odd", f"About {NAME}")

        air.advance(Broken())
    line = next(line for line in logs if line["event"] == "airlock.step-failed")
    assert {key: line[key] for key in ("request", "project", "error")} == {
        "request": draft.id, "project": "heart", "error": "odd",
    }  # fmt: skip


def _database_text(air: Airlock) -> str:
    """Every row of every table as text, blobs too."""
    with air.db.read() as session:
        found = [
            [bytes(value).decode("latin-1") if isinstance(value, bytes | memoryview) else str(value) for value in row]
            for table in Base.metadata.sorted_tables
            for row in session.execute(select(table))
        ]
    assert any("Counts by sex" in "".join(row) for row in found)  # the positive control: what is there is seen
    return "\n".join("\t".join(row) for row in found)


def test_work_survives_rows_of_a_project_without_rules(air: Airlock) -> None:
    """A tier that lost its rules stops votes and releases, and nothing else."""
    waiting, approved = air.awaiting(), air.approved()
    with air.db.write() as session:
        empty = {**profile().model_dump(mode="json", by_alias=True), "spec": {"tiers": {"0": {}}}}
        session.execute(update(CatalogueRow).where(CatalogueRow.kind == "PolicyProfile").values(document=empty))
    air.advance()
    assert air.view(waiting, CHLOE).state is State.awaiting_review
    assert air.view(approved).state is State.release_failed
    with pytest.raises(TreError):
        air.vote(waiting, "a.csv", CHLOE)
    assert work.sweep(air.db, air.store, air.now) == 0
    with air.db.read() as session:
        assert session.scalars(select(RequestRow)).all()
