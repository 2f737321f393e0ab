"""The database's own refusal to change the past, as DDL that runs when the tables are made (and in the migration).

Entries, subtree hashes, checkpoints and cosignatures cannot be updated or deleted, a body cannot be updated, and an
entry can only follow the newest one: no fork, whoever writes. A database owner can drop these triggers; that is what
signed checkpoints are for.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.sql.base import SchemaEventTarget

ZERO_HEX = "0" * 64
"""`prev` of the first entry, in hexadecimal."""
_FROZEN = ("ledger_entries", "ledger_nodes", "ledger_checkpoints", "ledger_cosignatures")
_HEAD = "ledger_head"
_BODIES = "ledger_bodies"


def guard(table: Any) -> None:
    """Run the statements for this table whenever SQLAlchemy creates it."""

    def run(target: SchemaEventTarget, connection: Connection, **_: Any) -> None:
        for statement in guard_statements(table.name, connection.dialect.name):
            connection.exec_driver_sql(statement)

    event.listen(table, "after_create", run)


def guard_statements(table: str, dialect: str) -> list[str]:
    """The statements to run once after `table` was created, for dialect `sqlite` or `postgresql`."""
    make = _sqlite if dialect == "sqlite" else _postgresql
    statements = []
    if table == _HEAD:
        zero = f"x'{ZERO_HEX}'" if dialect == "sqlite" else f"'\\x{ZERO_HEX}'::bytea"
        statements.append(f"INSERT INTO {_HEAD} (id, seq, leaf) VALUES (1, 0, {zero})")  # noqa: S608 - constants
        statements += make(_HEAD, ("DELETE",))
    elif table in _FROZEN:
        statements += make(table, ("UPDATE", "DELETE"))
    elif table == _BODIES:
        statements += make(table, ("UPDATE",))
    if table == "ledger_entries":
        statements += _SQLITE_ORDER if dialect == "sqlite" else _POSTGRESQL_ORDER
    return statements


def _sqlite(table: str, acts: tuple[str, ...]) -> list[str]:
    return [
        f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for act in acts
    ]


def _postgresql(table: str, acts: tuple[str, ...]) -> list[str]:
    row_acts = " OR ".join(acts)
    trigger = (
        f"CREATE TRIGGER {table}_append_only BEFORE {row_acts} ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()"
    )
    truncate = (
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()"
    )
    return [_POSTGRESQL_REFUSE, trigger, truncate]


_POSTGRESQL_REFUSE = """
CREATE OR REPLACE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING
    MESSAGE = TG_TABLE_NAME || ' is append-only', ERRCODE = 'integrity_constraint_violation';
END $$
"""

_SQLITE_ORDER = [
    f"""
CREATE TRIGGER ledger_entries_in_order BEFORE INSERT ON ledger_entries
WHEN NOT (
  (NEW.seq = 1 AND NEW.prev = x'{ZERO_HEX}')
  OR EXISTS (SELECT 1 FROM ledger_entries WHERE seq = NEW.seq - 1 AND leaf = NEW.prev)
)
BEGIN SELECT RAISE(ABORT, 'ledger_entries: not the next entry'); END
"""  # noqa: S608 - constants
]

_POSTGRESQL_ORDER = [
    f"""
CREATE OR REPLACE FUNCTION ledger_next_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.leaf <> sha256('\\x00'::bytea || NEW.entry) OR NOT (
    (NEW.seq = 1 AND NEW.prev = '\\x{ZERO_HEX}'::bytea)
    OR EXISTS (SELECT 1 FROM ledger_entries WHERE seq = NEW.seq - 1 AND leaf = NEW.prev)
  ) THEN
    RAISE EXCEPTION 'ledger_entries: not the next entry' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$
""",  # noqa: S608 - constants
    "CREATE TRIGGER ledger_entries_in_order BEFORE INSERT ON ledger_entries "
    "FOR EACH ROW EXECUTE FUNCTION ledger_next_only()",
]
