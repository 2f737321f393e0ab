"""R1: entry and state commit together or not at all; the database itself refuses to change the past."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, insert, select, text, update
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
    LedgerCheckpoint,
    LedgerCosignature,
    LedgerEntry,
    LedgerHead,
    LedgerNode,
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


def _forked(leaf: bytes) -> dict[str, object]:
    entry = b"{}"
    return {"kind": "x.y", "subject": "x", "prev": leaf, "leaf": leaf_hash(entry), "entry": entry}


@pytest.mark.parametrize(
    "act",
    [
        update(LedgerEntry).where(LedgerEntry.seq == 1).values(entry=b"{}"),
        update(LedgerEntry).where(LedgerEntry.seq == 2).values(subject="other"),
        delete(LedgerEntry).where(LedgerEntry.seq == 2),
        delete(LedgerHead),
        update(LedgerHead).values(seq=1),
        update(LedgerHead).values(seq=4),
        update(LedgerBody).values(body=b"{}"),
        insert(LedgerEntry).values(seq=2, **_forked(bytes(32))),
        insert(LedgerEntry).values(seq=3, **_forked(bytes(32))),
        insert(LedgerEntry).values(seq=4, **_forked(bytes(32))),
        insert(LedgerEntry).values(seq=0, **_forked(bytes(32))),
    ],
    ids=[
        "edit",
        "refile",
        "delete",
        "behead",
        "move back",
        "move too far",
        "edit-body",
        "fork",
        "unchained",
        "gap",
        "before-the-first",
    ],
)
def test_the_database_refuses_to_change_the_past(db: Database, now: dt.datetime, act) -> None:  # type: ignore[no-untyped-def]
    with db.write() as session:
        append(session, "test.made", ANNA, "x", body={"a": "b"}, now=now)
        append(session, "test.made", ANNA, "x", now=now)
    with pytest.raises(IntegrityError), db.write() as session:
        session.execute(act)
    with db.read() as session:
        assert [entry.seq for entry in entries(session)] == [1, 2]


_COLUMNS = "(seq, kind, subject, prev, leaf, entry)"
REPLACING = {
    "entry": f"{_COLUMNS} SELECT seq, kind, 'other', prev, leaf, entry FROM ledger_entries WHERE seq = 2",
    "first entry": f"{_COLUMNS} SELECT seq, kind, 'other', prev, leaf, entry FROM ledger_entries WHERE seq = 1",
    "body": "(seq, salt, body) SELECT seq, salt, salt FROM ledger_bodies",
    "head": "(id, seq, leaf) SELECT 1, 1, prev FROM ledger_entries WHERE seq = 2",
    "node": "(level, position, hash) SELECT level, position, salt FROM ledger_nodes, ledger_bodies",
    "checkpoint": "(size, root, text, at) SELECT size, root, 'other', at FROM ledger_checkpoints",
    "cosignature": "(size, witness, line, at) SELECT size, witness, 'other', at FROM ledger_cosignatures",
}
_TABLE = {"first entry": "entries", "body": "bodies", "head": "head", "entry": "entries"}


@pytest.mark.parametrize("what", REPLACING)
@pytest.mark.parametrize("foreign_keys", ["ON", "OFF"])
@pytest.mark.parametrize("db", ["sqlite"], indirect=True)
def test_R2_sqlite_refuses_to_replace_a_row(
    db: Database, state_dir: Path, now: dt.datetime, what: str, foreign_keys: str
) -> None:
    """By a connection of anybody's, whose REPLACE asks no delete trigger (recursive_triggers is off)."""
    with db.write() as session:
        append(session, "test.made", ANNA, "x", body={"a": "b"}, now=now)
        append(session, "test.made", ANNA, "x", now=now)
        session.add(LedgerNode(level=8, position=0, hash=bytes(32)))
        session.add(LedgerCheckpoint(size=2, root=bytes(32), text="x", at=now))
        session.flush()
        session.add(LedgerCosignature(size=2, witness="a", line="x", at=now))
    table = _TABLE.get(what, f"{what}s")
    with sqlite3.connect(state_dir / "tre.sqlite") as connection:
        connection.execute(f"PRAGMA foreign_keys={foreign_keys}")
        before = connection.execute(f"SELECT * FROM ledger_{table}").fetchall()
        assert before
        for verb in ("INSERT OR REPLACE INTO", "REPLACE INTO", "INSERT OR IGNORE INTO", "UPDATE OR REPLACE"):
            act = f"{verb} ledger_{table} "
            act += "SET rowid = 1" if verb.startswith("UPDATE") else REPLACING[what]
            with pytest.raises(sqlite3.IntegrityError, match=r"append-only|not the next entry|only moves on"):
                connection.execute(act)
        rows = REPLACING[what] if "WHERE" in REPLACING[what] else f"{REPLACING[what]} WHERE true"
        with pytest.raises(sqlite3.IntegrityError, match=r"append-only|not the next entry"):
            connection.execute(f"INSERT INTO ledger_{table} {rows} ON CONFLICT DO UPDATE SET rowid = 9")
        assert connection.execute(f"SELECT * FROM ledger_{table}").fetchall() == before


def test_R2_postgresql_refuses_upserts_also_in_a_replica_session(db: Database, now: dt.datetime) -> None:
    if db.is_sqlite:
        pytest.skip("PostgreSQL's own ways round a trigger")
    with db.write() as session:
        append(session, "test.made", ANNA, "x", body={"a": "b"}, now=now)
    acts = (
        f"INSERT INTO ledger_entries {_COLUMNS} SELECT seq, kind, 'other', prev, leaf, entry FROM ledger_entries "
        "ON CONFLICT (seq) DO UPDATE SET subject = 'other'",
        "INSERT INTO ledger_bodies SELECT * FROM ledger_bodies ON CONFLICT (seq) DO UPDATE SET body = excluded.salt",
        "UPDATE ledger_entries SET subject = 'other'",
        "UPDATE ledger_head SET seq = 0",
        "DELETE FROM ledger_head",
        "TRUNCATE ledger_bodies",
    )
    for role in ("origin", "replica"):
        for act in acts:
            with db.write() as session:
                session.execute(text(f"SET LOCAL session_replication_role = {role}"))
                with pytest.raises(IntegrityError, match="ledger_"):
                    session.execute(text(act))
                session.rollback()
    assert _state(db) == (0, 1)


def test_postgresql_refuses_to_empty_the_ledger_or_a_false_leaf(db: Database, now: dt.datetime) -> None:
    if db.is_sqlite:
        pytest.skip("SQLite has neither TRUNCATE nor SHA-256")
    with db.write() as session:
        append(session, "test.made", ANNA, "x", now=now)
        leaf = newest(session).leaf
    with pytest.raises(IntegrityError), db.write() as session:
        session.execute(text("TRUNCATE ledger_entries CASCADE"))
    with pytest.raises(IntegrityError), db.write() as session:
        session.execute(insert(LedgerEntry).values(seq=2, **{**_forked(leaf), "leaf": bytes(32)}))
    assert _state(db) == (0, 1)
