"""What only the database can show: columns, kept subtrees, bodies, head row and checkpoints agree with the bytes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from sqlalchemy import insert, text

from tests.ledger.conftest import fill
from tests.ledger.test_checkpoints import guard_again, unguard
from tre_orchestrator.ledger.append import append, erase_body, person
from tre_orchestrator.ledger.checkpoints import Checkpoint, make_checkpoint
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.keys import Signer, load_or_create_signer
from tre_orchestrator.ledger.tables import LedgerBody
from tre_orchestrator.ledger.tre_verify import NotVerified, read_checkpoint
from tre_orchestrator.ledger.verify import verify_database


@pytest.fixture
def signer(state_dir: Path) -> Signer:
    return load_or_create_signer(state_dir / "keys")


def _signed(db: Database, signer: Signer, now: dt.datetime) -> Checkpoint:
    """300 entries, a checkpoint, 20 more."""
    fill(db, 300)
    with db.write() as session:
        made = make_checkpoint(session, signer, now)
    fill(db, 20, 300)
    return made


def test_a_whole_ledger_is_verified_with_its_unsigned_tail(db: Database, signer: Signer, now: dt.datetime) -> None:
    made = _signed(db, signer, now)
    with db.read() as session:
        verdict = verify_database(session, signer.key, read_checkpoint(made.text, signer.key))
    assert (verdict.entries, verdict.signed, verdict.checkpoints) == (320, 300, 1)
    assert (verdict.bodies, verdict.erased) == (107, 0)


def test_an_empty_ledger_is_verified(db: Database, signer: Signer) -> None:
    with db.read() as session:
        assert verify_database(session, signer.key).entries == 0


TAIL_GONE = "DELETE FROM ledger_bodies WHERE seq > 310; DELETE FROM ledger_entries WHERE seq > 310"
HEAD_BACK = "UPDATE ledger_head SET seq = 310, leaf = (SELECT leaf FROM ledger_entries WHERE seq = 310)"
TAMPERING = {
    "entry edited": ("UPDATE ledger_entries SET entry = replaced WHERE seq = 5", "is not that of its bytes"),
    "refiled subject": ("UPDATE ledger_entries SET subject = 'x' WHERE seq = 5", "filed under another"),
    "refiled kind": ("UPDATE ledger_entries SET kind = 'x' WHERE seq = 5", "filed under another"),
    "not an entry": ("UPDATE ledger_entries SET entry = 'x' WHERE seq = 5", "filed under another"),
    "prev edited": ("UPDATE ledger_entries SET prev = leaf WHERE seq = 5", "filed under another"),
    "unsigned prev edited": ("UPDATE ledger_entries SET prev = leaf WHERE seq = 315", "filed under another"),
    "stored leaf edited": ("UPDATE ledger_entries SET leaf = prev WHERE seq = 3", "is not that of its bytes"),
    "leaf outside of kept blocks": ("UPDATE ledger_entries SET leaf = prev WHERE seq = 299", "not that of its bytes"),
    "tail deleted": (TAIL_GONE, "The head row does not name the newest entry"),
    "head moved back": (HEAD_BACK, "The head row does not name the newest entry"),
    "tail and head": (f"{TAIL_GONE}; {HEAD_BACK}", None),
    "signed tail": (
        "DELETE FROM ledger_bodies WHERE seq > 290; DELETE FROM ledger_entries WHERE seq > 290; "
        "UPDATE ledger_head SET seq = 290, leaf = (SELECT leaf FROM ledger_entries WHERE seq = 290)",
        "The checkpoint of 2026-11-23T09:00:00.000000Z over 300 entries is not of the 290 entries that are here",
    ),
    "kept subtree": ("UPDATE ledger_nodes SET hash = (SELECT leaf FROM ledger_head)", "kept subtree hash"),
    "subtree of nothing": (
        "INSERT INTO ledger_nodes (level, position, hash) SELECT 16, 0, leaf FROM ledger_head",
        "kept subtree hash",
    ),
    "subtree of a high level": (
        "INSERT INTO ledger_nodes (level, position, hash) SELECT 32, 0, leaf FROM ledger_head",
        "kept at a level that these entries do not have",
    ),
    "body edited": ("UPDATE ledger_bodies SET body = replaced WHERE seq = 1", "not the one that was recorded"),
    "salt edited": ("UPDATE ledger_bodies SET salt = (SELECT leaf FROM ledger_head) WHERE seq = 1", "not the one that"),
    "body moved": ("UPDATE ledger_bodies SET seq = 2 WHERE seq = 1", "is not the one that was recorded"),
    "body deleted": ("DELETE FROM ledger_bodies WHERE seq = 7", "The text of entry 7 is gone, and no entry records"),
    "checkpoint edited": ("UPDATE ledger_checkpoints SET text = 'x'", "does not have a checkpoint's form"),
    "checkpoint refiled": ("UPDATE ledger_checkpoints SET size = 299", "is filed under another size, root or time"),
    "checkpoint's root": (
        "UPDATE ledger_checkpoints SET root = (SELECT leaf FROM ledger_head)",
        "is filed under another size, root or time",
    ),
    "checkpoint's time": (
        "UPDATE ledger_checkpoints SET at = '2026-01-01 00:00:00.000000'",
        "is filed under another size, root or time",
    ),
    "cosignature refiled": (
        "INSERT INTO ledger_cosignatures (size, witness, line, at) "
        "VALUES (300, 'b.example', '\u2014 a.example AAAA', '2026-01-01 00:00:00.000000')",
        "filed under another witness",
    ),
}


@pytest.mark.parametrize(("statement", "sentence"), TAMPERING.values(), ids=TAMPERING.keys())
def test_R2_tampering_with_the_database_is_detected(
    db: Database, signer: Signer, now: dt.datetime, statement: str, sentence: str | None
) -> None:
    _signed(db, signer, now)
    unguard(db)
    statement = statement.replace("entry = replaced", _replaced(db, "entry", '"number":4', '"number":5'))
    statement = statement.replace("body = replaced", _replaced(db, "body", "as agreed", "as denied"))
    with db.engine.begin() as connection:
        for part in statement.replace(":", "\\:").split(";"):
            connection.execute(text(part))
    guard_again(db)
    with db.read() as session:
        if sentence is None:  # what was never signed can be cut off together with the head: nobody holds a word on it
            assert verify_database(session, signer.key).entries == 310
        else:
            with pytest.raises(NotVerified, match=sentence):
                verify_database(session, signer.key)


def test_R2_a_text_that_came_back_after_its_erasure_is_detected(db: Database, signer: Signer, now: dt.datetime) -> None:
    _signed(db, signer, now)
    with db.read() as session:
        kept = session.get_one(LedgerBody, 7)
    with db.write() as session:
        erase_body(session, 7, person("anna"), "asked for it", now)
    with db.read() as session:
        assert verify_database(session, signer.key).erased == 1
    with db.write() as session:
        session.execute(insert(LedgerBody).values(seq=7, salt=kept.salt, body=kept.body))
    with db.read() as session, pytest.raises(NotVerified, match="The text of entry 7 was erased, as an entry says"):
        verify_database(session, signer.key)


UNGUARDING = {
    "sqlite": {
        "dropped": ["DROP TRIGGER ledger_entries_no_delete"],
        "narrowed": [
            "DROP TRIGGER ledger_bodies_no_update",
            "CREATE TRIGGER ledger_bodies_no_update BEFORE UPDATE ON ledger_bodies WHEN 0 "
            "BEGIN SELECT RAISE(ABORT, 'ledger_bodies is append-only'); END",
        ],
        "added": ["CREATE TRIGGER other AFTER INSERT ON ledger_entries BEGIN DELETE FROM ledger_bodies; END"],
    },
    "postgresql": {
        "dropped": ["DROP TRIGGER ledger_entries_append_only ON ledger_entries"],
        "disabled": ["ALTER TABLE ledger_checkpoints DISABLE TRIGGER USER"],
        "silenced for replicas": ["ALTER TABLE ledger_entries ENABLE TRIGGER ledger_entries_append_only"],
        "hollowed out": [
            "CREATE OR REPLACE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ "
            "BEGIN RETURN OLD; END $$"
        ],
        "narrowed": [
            "DROP TRIGGER ledger_bodies_append_only ON ledger_bodies",
            "CREATE TRIGGER ledger_bodies_append_only BEFORE UPDATE ON ledger_bodies FOR EACH ROW WHEN (OLD.seq = 0) "
            "EXECUTE FUNCTION ledger_refuse_change()",
            "ALTER TABLE ledger_bodies ENABLE ALWAYS TRIGGER ledger_bodies_append_only",
        ],
        "limited to a column": [
            "DROP TRIGGER ledger_head_forward ON ledger_head",
            "CREATE TRIGGER ledger_head_forward BEFORE UPDATE OF id ON ledger_head FOR EACH ROW "
            "WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION ledger_refuse_change()",
            "ALTER TABLE ledger_head ENABLE ALWAYS TRIGGER ledger_head_forward",
        ],
        "ruled": ["CREATE RULE lost AS ON INSERT TO ledger_bodies DO INSTEAD NOTHING"],
    },
}


@pytest.mark.parametrize("way", sorted({way for ways in UNGUARDING.values() for way in ways}))
def test_R2_a_database_that_no_longer_refuses_is_detected(
    db: Database, signer: Signer, now: dt.datetime, way: str
) -> None:
    _signed(db, signer, now)
    statements = UNGUARDING[db.engine.dialect.name].get(way)
    if statements is None:
        pytest.skip("this database has no such way")
    with db.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    with db.read() as session, pytest.raises(NotVerified, match="the database no longer refuses to change it"):
        verify_database(session, signer.key)


def _replaced(db: Database, column: str, old: str, new: str) -> str:
    if db.is_sqlite:
        return f"{column} = CAST(replace(CAST({column} AS TEXT), '{old}', '{new}') AS BLOB)"
    return f"{column} = convert_to(replace(convert_from({column}, 'UTF8'), '{old}', '{new}'), 'UTF8')"


def test_R2_a_kept_checkpoint_shows_a_restored_backup(db: Database, signer: Signer, now: dt.datetime) -> None:
    made = _signed(db, signer, now)
    unguard(db)
    with db.engine.begin() as connection:
        connection.execute(text("DELETE FROM ledger_checkpoints"))
        connection.execute(text("DELETE FROM ledger_bodies WHERE seq > 200"))
        connection.execute(text("DELETE FROM ledger_nodes"))
        connection.execute(text("DELETE FROM ledger_entries WHERE seq > 200"))
        head = "UPDATE ledger_head SET seq = 200, leaf = (SELECT leaf FROM ledger_entries WHERE seq = 200)"
        connection.execute(text(head))
    guard_again(db)
    with db.read() as session:
        assert verify_database(session, signer.key).entries == 200
        kept = read_checkpoint(made.text, signer.key)
        with pytest.raises(NotVerified, match="covers 300 entries, the export only 200"):
            verify_database(session, signer.key, kept)
    with db.write() as session:
        for _ in range(150):
            append(session, "test.other", person("anna"), "x", now=now)
    with db.read() as session, pytest.raises(NotVerified, match="history was rewritten"):
        verify_database(session, signer.key, kept)
