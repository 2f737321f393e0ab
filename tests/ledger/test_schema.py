"""The migrations make exactly the tables that the code declares, guards included, on both databases."""

from __future__ import annotations

import datetime as dt

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

import tre_orchestrator.airlock.tables
import tre_orchestrator.gate.tables
import tre_orchestrator.governance.tables
import tre_orchestrator.ledger.tables
import tre_orchestrator.workspaces.tables  # noqa: F401 - each import declares tables
from tre_orchestrator.errors import Unavailable
from tre_orchestrator.ledger.append import append, software
from tre_orchestrator.ledger.database import Base, Database
from tre_orchestrator.ledger.guarded import why_unguarded
from tre_orchestrator.ledger.schema import upgrade


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
