"""R2: the database itself refuses to change the past, whoever writes."""

from __future__ import annotations

import datetime as dt
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from tests.ledger.conftest import newest
from tre_orchestrator.ledger.append import append, person
from tre_orchestrator.ledger.database import Database
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

ANNA = person("anna")


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


def test_R2_the_head_moves_with_an_entry_and_only_then(db: Database, now: dt.datetime) -> None:
    with db.write() as session:
        append(session, "test.made", ANNA, "x", now=now)
    entry = b"{}"
    with db.write() as session:  # whoever inserts a next entry moves the head
        prev = newest(session).leaf
        row = {"seq": 2, "kind": "x.y", "subject": "x", "prev": prev, "leaf": leaf_hash(entry), "entry": entry}
        session.execute(insert(LedgerEntry).values(**row))
        head = session.execute(select(LedgerHead.seq, LedgerHead.leaf)).one()
        assert tuple(head) == (2, leaf_hash(entry))
    for values in ({"seq": 3}, {"seq": 3, "leaf": bytes(32)}, {"seq": 2}, {"leaf": bytes(32)}):
        with pytest.raises(IntegrityError), db.write() as session:
            session.execute(update(LedgerHead).values(**values))


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
    with db.read() as session:
        assert size(session) == 1


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
    with db.read() as session:
        assert size(session) == 1
