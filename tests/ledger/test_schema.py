"""The migrations make exactly the tables that the code declares, guards included, on both databases."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import insert, text, update
from sqlalchemy.exc import DBAPIError

import tre_orchestrator.airlock.tables
import tre_orchestrator.gate.tables
import tre_orchestrator.governance.tables
import tre_orchestrator.ledger.tables
import tre_orchestrator.workspaces.tables  # noqa: F401 - each import declares tables
from tre_orchestrator.errors import Unavailable
from tre_orchestrator.ledger import schema
from tre_orchestrator.ledger.append import append, software
from tre_orchestrator.ledger.database import Base, Database
from tre_orchestrator.ledger.entry import FIRST_PREV, around_link
from tre_orchestrator.ledger.guarded import why_unguarded
from tre_orchestrator.ledger.keys import load_or_create_signer
from tre_orchestrator.ledger.schema import upgrade
from tre_orchestrator.ledger.tables import LedgerEntry, LedgerHead
from tre_orchestrator.ledger.tre_verify import leaf_hash
from tre_orchestrator.ledger.verify import verify_database


@pytest.fixture
def migrated(db: Database) -> Database:
    Base.metadata.drop_all(db.engine)
    upgrade(db)
    return db


def guards(db: Database) -> set[tuple[str, ...]]:
    """The triggers in the database, with what they do and whether they are on."""
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    if not db.is_sqlite:
        query = (
            "SELECT tgname, pg_get_triggerdef(t.oid) || tgenabled::text || prosrc FROM pg_trigger t "
            "JOIN pg_class c ON c.oid = tgrelid JOIN pg_proc p ON p.oid = tgfoid "
            "WHERE NOT tgisinternal AND c.relnamespace = current_schema()::regnamespace"
        )
    with db.read() as session:
        return {(name, " ".join(said.split())) for name, said in session.execute(text(query))}


def test_migrations_make_what_the_code_declares(db: Database) -> None:
    declared = guards(db)
    assert declared
    Base.metadata.drop_all(db.engine)
    upgrade(db)
    with db.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    assert differences == []
    assert guards(db) == declared
    with db.read() as session:
        assert why_unguarded(session) is None


def test_R2_a_ledger_of_the_first_shape_goes_on_after_the_upgrade(
    db: Database, state_dir: Path, now: dt.datetime
) -> None:
    Base.metadata.drop_all(db.engine)
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    with db.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
    entry = around_link("test.done", software("test"), "test/1", {}, None, now).entry(1, FIRST_PREV)
    leaf = leaf_hash(entry)
    with db.write() as session:  # as that version appended
        row = {"seq": 1, "kind": "test.done", "subject": "test/1", "prev": FIRST_PREV, "leaf": leaf, "entry": entry}
        session.execute(insert(LedgerEntry).values(**row))
        session.execute(update(LedgerHead).values(seq=1, leaf=leaf))
    upgrade(db)
    with db.write() as session:
        append(session, "test.done", software("test"), "test/2", now=now)
    with db.read() as session:
        assert verify_database(session, load_or_create_signer(state_dir / "keys").key).entries == 2


def test_a_second_upgrade_changes_nothing(migrated: Database) -> None:
    upgrade(migrated)


def test_R2_a_migrated_ledger_refuses_to_change_the_past(migrated: Database, now: dt.datetime) -> None:
    with migrated.write() as session:
        append(session, "test.done", software("test"), "test/1", now=now)
    for statement in ("UPDATE ledger_entries SET seq = 9", "DELETE FROM ledger_entries"):
        with pytest.raises(DBAPIError, match="append-only"), migrated.write() as session:
            session.execute(text(statement))


def test_a_database_of_a_newer_version_is_refused(migrated: Database) -> None:
    with migrated.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Unavailable, match="9999"):
        upgrade(migrated)
