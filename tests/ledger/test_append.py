"""R1: entry and state commit together or not at all; the database itself refuses to change the past."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.ledger.conftest import newest
from tre_orchestrator.errors import Invalid, NotFound, Unavailable
from tre_orchestrator.ledger.append import append, console, erase_body, person, software
from tre_orchestrator.ledger.canonical import canonical
from tre_orchestrator.ledger.commitments import opens
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.keys import load_or_create_signer
from tre_orchestrator.ledger.read import entries, size
from tre_orchestrator.ledger.tables import (
    LedgerBody,
    LedgerHead,
)
from tre_orchestrator.ledger.tre_verify import leaf_hash
from tre_orchestrator.ledger.verify import verify_database

ANNA = person("anna")


class OwnBase(DeclarativeBase):
    """Tables of this test only, apart from the product's."""


class Decided(OwnBase):
    """Some state that changes with an entry."""

    __tablename__ = "test_decided"

    name: Mapped[str] = mapped_column(primary_key=True)
    done: Mapped[bool]


@pytest.fixture
def db(db: Database) -> Database:
    OwnBase.metadata.create_all(db.engine)
    return db


def _state(db: Database) -> tuple[int, int]:
    with db.read() as session:
        return session.execute(select(func.count()).select_from(Decided)).scalar_one(), size(session)


def _decide(db: Database, now: dt.datetime, **facts: object) -> None:
    with db.write() as session:
        session.add(Decided(name="heart", done=True))
        append(session, "project.approved", ANNA, "project/heart", facts, now=now)  # type: ignore[arg-type]


def test_R1_entry_and_state_commit_together(db: Database, now: dt.datetime) -> None:
    _decide(db, now)
    assert _state(db) == (1, 1)


def test_R1_failure_after_the_entry_takes_both_back(db: Database, now: dt.datetime) -> None:
    def fail_late() -> None:
        with db.write() as session:
            session.add(Decided(name="heart", done=True))
            append(session, "project.approved", ANNA, "project/heart", now=now)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_late()
    assert _state(db) == (0, 0)
    with db.write() as session:
        append(session, "project.approved", ANNA, "project/heart", now=now)
        assert newest(session).seq == 1


def test_R1_state_that_cannot_be_stored_leaves_no_entry(db: Database, now: dt.datetime) -> None:
    with db.write() as session:
        session.add(Decided(name="heart", done=True))

    def decide_twice() -> None:
        with db.write() as session:
            append(session, "project.approved", ANNA, "project/heart", now=now)
            session.add(Decided(name="heart", done=False))

    with pytest.raises(IntegrityError):
        decide_twice()
    assert _state(db) == (1, 0)


def test_R1_entry_that_cannot_be_made_leaves_no_state(db: Database, now: dt.datetime) -> None:
    with pytest.raises(Invalid):
        _decide(db, now, share=0.5)
    assert _state(db) == (0, 0)


CRASH = """
import datetime as dt, os, signal, sys
from tests.ledger.test_append import Decided
from tre_orchestrator.ledger.append import append, person
from tre_orchestrator.ledger.database import Database
db = Database(sys.argv[1])
now = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
with db.write() as session:
    session.add(Decided(name="before", done=True))
    append(session, "project.approved", person("anna"), "project/before", now=now)
with db.write() as session:
    session.add(Decided(name="heart", done=True))
    append(session, "project.approved", person("anna"), "project/heart", now=now)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_R1_crash_between_entry_and_commit_loses_both_and_nothing_before(db: Database, now: dt.datetime) -> None:
    url = db.engine.url.render_as_string(hide_password=False)
    crashed = subprocess.run([sys.executable, "-c", CRASH, url], cwd=os.getcwd(), timeout=60)
    assert crashed.returncode == -signal.SIGKILL
    assert _state(db) == (1, 1)
    with db.write() as session:
        append(session, "project.approved", ANNA, "project/lung", now=now)
        assert newest(session).seq == 2


def test_append_refuses_a_session_that_never_commits(db: Database, now: dt.datetime) -> None:
    with db.read() as session, pytest.raises(RuntimeError, match="would not be committed"):
        append(session, "project.approved", ANNA, "project/heart", now=now)


def test_a_ledger_without_head_takes_no_entry(db: Database, now: dt.datetime) -> None:
    with db.engine.begin() as connection:
        for trigger in ("ledger_head_no_delete", "ledger_head_append_only"):
            if db.is_sqlite:
                connection.execute(text(f"DROP TRIGGER IF EXISTS {trigger}"))
            else:
                connection.execute(text(f"DROP TRIGGER IF EXISTS {trigger} ON ledger_head"))
        connection.execute(delete(LedgerHead))
    with pytest.raises(Unavailable):
        _decide(db, now)
    with pytest.raises(Unavailable), db.write() as session:
        append(session, "project.approved", ANNA, "project/heart", body={"a": "b"}, now=now)
    with db.read() as session:
        assert session.execute(select(func.count()).select_from(Decided)).scalar_one() == 0


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
line = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
facts = st.dictionaries(words, st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | words, max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(facts=facts, body=st.none() | facts, subject=line, who=line)
def test_the_bytes_of_an_entry_are_canonical_and_chained(
    db: Database, now: dt.datetime, facts: dict[str, object], body: dict[str, object] | None, subject: str, who: str
) -> None:
    with db.write() as session:
        before = session.execute(select(LedgerHead.leaf)).scalar_one()
        append(session, "test.made", person(who), subject, facts, body=body, now=now)  # type: ignore[arg-type]
        made = newest(session)
    said = json.loads(made.entry)
    assert canonical(said) == made.entry
    assert made.leaf == leaf_hash(made.entry)
    assert said["prev"] == before.hex()
    assert said["seq"] == made.seq
    assert (said["actor"]["id"], said["subject"], said["facts"]) == (who, subject, facts)
    with db.read() as session:
        [seen] = entries(session, since=made.seq - 1)
        salt = session.execute(select(LedgerBody.salt).where(LedgerBody.seq == made.seq)).scalar()
    assert (seen.facts, seen.body, seen.leaf, seen.erased) == (facts, body, made.leaf, False)
    if body is None:
        assert (salt, said["body"]) == (None, None)
    else:
        assert salt is not None
        assert opens(said["body"], salt.hex(), body)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "subject", "who"),
    [
        ("approved", "project/heart", "anna"),
        ("Project.approved", "project/heart", "anna"),
        ("project.approved\n", "project/heart", "anna"),
        ("project.approved", "project/\nheart", "anna"),
        ("project.approved", "", "anna"),
        ("project.approved", "project/heart", ""),
        ("project.approved", "x" * 301, "anna"),
    ],
)
def test_an_entry_without_proper_form_is_refused(
    db: Database, now: dt.datetime, kind: str, subject: str, who: str
) -> None:
    with pytest.raises(Invalid), db.write() as session:
        append(session, kind, person(who), subject, now=now)


def test_too_long_facts_and_bodies_are_refused(db: Database, now: dt.datetime) -> None:
    with pytest.raises(Invalid, match="facts"), db.write() as session:
        append(session, "test.made", ANNA, "x", {"long": "x" * 70_000}, now=now)
    with pytest.raises(Invalid, match="text"), db.write() as session:
        append(session, "test.made", ANNA, "x", body={"long": "x" * 1_100_000}, now=now)


def test_a_moment_without_time_zone_is_refused(db: Database) -> None:
    with pytest.raises(ValueError, match="time zone"), db.write() as session:
        append(session, "test.made", ANNA, "x", now=dt.datetime(2026, 1, 1))


def test_entries_are_found_by_subject_kind_and_number(db: Database, now: dt.datetime) -> None:
    with db.write() as session:
        append(session, "project.approved", ANNA, "project/heart", now=now)
        append(session, "project.approved", console("root"), "project/lung", now=now)
        append(session, "project.ended", software("controller"), "project/heart", now=now)
    with db.read() as session:
        assert [entry.seq for entry in entries(session, subject="project/heart")] == [1, 3]
        assert [entry.actor for entry in entries(session, kind="project.approved")] == [ANNA, console("root")]
        assert [entry.seq for entry in entries(session, since=1, limit=1)] == [2]
        assert [entry.seq for entry in entries(session, limit=2, newest_first=True)] == [3, 2]


def test_erasing_a_body_leaves_the_tree_whole(db: Database, state_dir: Path, now: dt.datetime) -> None:
    with db.write() as session:
        append(session, "person.added", ANNA, "person/otto", body={"name": "Otto Normal"}, now=now)
        append(session, "person.added", ANNA, "person/erika", body={"name": "Erika"}, now=now)
    with db.write() as session:
        erase_body(session, 1, ANNA, "asked for it", now)
    with db.read() as session:
        seen = entries(session)
        assert (seen[0].body, seen[0].erased) == (None, True)
        assert (seen[1].body, seen[1].erased) == ({"name": "Erika"}, False)
        assert (seen[2].kind, seen[2].subject, dict(seen[2].facts)) == ("body.erased", "person/otto", {"seq": 1})
        verdict = verify_database(session, load_or_create_signer(state_dir / "keys").key)
        assert (verdict.entries, verdict.bodies, verdict.erased) == (3, 2, 1)
        assert session.execute(select(func.count()).select_from(LedgerBody)).scalar_one() == 2


@pytest.mark.parametrize("db", ["sqlite"], indirect=True)
def test_erased_text_is_gone_from_the_sqlite_file(db: Database, state_dir: Path, now: dt.datetime) -> None:
    with db.write() as session:
        append(session, "person.added", ANNA, "person/otto", body={"name": "Otto Normalverbraucher"}, now=now)
    with db.write() as session:
        erase_body(session, 1, ANNA, "asked for it", now)
    with db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"Normalverbraucher" not in (state_dir / "tre.sqlite").read_bytes()


def test_what_has_no_body_cannot_be_erased(db: Database, now: dt.datetime) -> None:
    with db.write() as session:
        append(session, "person.added", ANNA, "person/otto", now=now)
        append(session, "person.added", ANNA, "person/otto", body={"name": "Otto"}, now=now)
    with db.write() as session:
        erase_body(session, 2, ANNA, "asked for it", now)
    for seq in (1, 2, 99):
        with pytest.raises(NotFound), db.write() as session:
            erase_body(session, seq, ANNA, "again", now)
    assert _state(db) == (0, 3)
