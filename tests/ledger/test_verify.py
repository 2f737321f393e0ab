"""What only the database can show: columns, kept subtrees, bodies, head row and checkpoints agree with the bytes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.ledger.conftest import fill
from tests.ledger.test_checkpoints import unguard
from tre_orchestrator.ledger.append import append, person
from tre_orchestrator.ledger.checkpoints import Checkpoint, make_checkpoint
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.keys import Signer, load_or_create_signer
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


TAMPERING = {
    "entry edited": ("UPDATE ledger_entries SET entry = replaced WHERE seq = 5", "Entry 6 does not follow entry 5"),
    "refiled subject": ("UPDATE ledger_entries SET subject = 'x' WHERE seq = 5", "filed under another"),
    "refiled kind": ("UPDATE ledger_entries SET kind = 'x' WHERE seq = 5", "filed under another"),
    "not an entry": ("UPDATE ledger_entries SET entry = 'x' WHERE seq = 5", "filed under another"),
    "tail deleted": (
        "DELETE FROM ledger_bodies WHERE seq > 310; DELETE FROM ledger_entries WHERE seq > 310",
        "The head row does not name the newest entry",
    ),
    "tail and head": (
        "UPDATE ledger_head SET seq = 310, leaf = (SELECT leaf FROM ledger_entries WHERE seq = 310)",
        None,
    ),
    "signed tail": (
        "UPDATE ledger_head SET seq = 290, leaf = (SELECT leaf FROM ledger_entries WHERE seq = 290)",
        "The checkpoint of 2026-11-23T09:00:00.000000Z over 300 entries is not of the 290 entries that are here",
    ),
    "kept subtree": ("UPDATE ledger_nodes SET hash = (SELECT leaf FROM ledger_head)", "kept subtree hash"),
    "body edited": ("UPDATE ledger_bodies SET body = replaced WHERE seq = 1", "not the one that was recorded"),
    "salt edited": ("UPDATE ledger_bodies SET salt = (SELECT leaf FROM ledger_head) WHERE seq = 1", "not the one that"),
    "body moved": ("UPDATE ledger_bodies SET seq = 2 WHERE seq = 1", "is not the one that was recorded"),
    "checkpoint edited": ("UPDATE ledger_checkpoints SET text = 'x'", "does not have a checkpoint's form"),
    "stored leaf edited": ("UPDATE ledger_entries SET leaf = prev WHERE seq = 3", "kept subtree hash"),
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
    with db.read() as session:
        if sentence is None:  # what was never signed can be cut off together with the head: nobody holds a word on it
            assert verify_database(session, signer.key).entries == 310
        else:
            with pytest.raises(NotVerified, match=sentence):
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
        connection.execute(text("DELETE FROM ledger_bodies"))
        connection.execute(text("DELETE FROM ledger_nodes"))
        connection.execute(text("DELETE FROM ledger_entries WHERE seq > 200"))
        head = "UPDATE ledger_head SET seq = 200, leaf = (SELECT leaf FROM ledger_entries WHERE seq = 200)"
        connection.execute(text(head))
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
