"""The database's own refusal to change the past, as DDL that runs when the tables are made (and in the migrations).

Entries, subtree hashes, checkpoints and cosignatures cannot be updated, deleted or replaced, a body cannot be updated
or replaced, the head row only moves on by one, and an entry can only follow the newest one: no fork, whoever writes.
SQLite's `REPLACE` deletes without asking the delete triggers, so there inserting what exists is refused as well;
PostgreSQL's triggers are `ENABLE ALWAYS`, so that `session_replication_role` does not silence them. A database owner
can drop all of this: `guarded.py` notices, and signed checkpoints are there for what happened in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.sql.base import SchemaEventTarget

ZERO_HEX = "0" * 64
"""`prev` of the first entry, in hexadecimal."""
KEYS = {
    "ledger_entries": ("seq",),
    "ledger_head": ("id",),
    "ledger_bodies": ("seq",),
    "ledger_nodes": ("level", "position"),
    "ledger_checkpoints": ("size",),
    "ledger_cosignatures": ("size", "witness"),
}
"""The guarded tables and the columns of their primary keys."""
_ACTS = {"ledger_head": ("DELETE",), "ledger_bodies": ("UPDATE",)}
_FROZEN = ("UPDATE", "DELETE")
_BITS = {"ROW": 1, "BEFORE": 2, "INSERT": 4, "DELETE": 8, "UPDATE": 16, "TRUNCATE": 32}


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger: what it is called, on which table, and the statement that makes it. On PostgreSQL also the function
    that it calls and the `tgtype` bits of `pg_trigger`."""

    name: str
    table: str
    statement: str
    function: str = ""
    bits: int = 0


def guard(table: Any) -> None:
    """Run the statements for this table whenever SQLAlchemy creates it."""

    def run(target: SchemaEventTarget, connection: Connection, **_: Any) -> None:
        for statement in guard_statements(table.name, connection.dialect.name):
            connection.exec_driver_sql(statement)

    event.listen(table, "after_create", run)


def guard_statements(table: str, dialect: str) -> list[str]:
    """The statements to run once after `table` was created, for dialect `sqlite` or `postgresql`."""
    statements = []
    if table == "ledger_head":
        zero = f"x'{ZERO_HEX}'" if dialect == "sqlite" else f"'\\x{ZERO_HEX}'::bytea"
        statements.append(f"INSERT INTO ledger_head (id, seq, leaf) VALUES (1, 0, {zero})")  # noqa: S608 - constants
    triggers = guard_triggers(table, dialect)
    if dialect == "sqlite":
        return [*statements, *(trigger.statement for trigger in triggers)]
    statements += [POSTGRESQL_FUNCTIONS[name] for name in sorted({trigger.function for trigger in triggers})]
    for trigger in triggers:
        statements += [trigger.statement, f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger.name}"]
    return statements


def guard_triggers(table: str, dialect: str) -> list[Trigger]:
    """Every trigger that must stand on `table`, and no other may."""
    return _sqlite(table) if dialect == "sqlite" else _postgresql(table)


def _sqlite(table: str) -> list[Trigger]:
    refused = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    made = [
        Trigger(name, table, f"CREATE TRIGGER {name} BEFORE {act} ON {table} {refused}")
        for act in _ACTS.get(table, _FROZEN)
        for name in [f"{table}_no_{act.lower()}"]
    ]
    if table == "ledger_entries":
        return [*made, Trigger("ledger_entries_in_order", table, _SQLITE_ORDER)]
    same = " AND ".join(f"{column} = NEW.{column}" for column in KEYS[table])
    exists = f"EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608 - constants
    name = f"{table}_no_replace"
    made.append(Trigger(name, table, f"CREATE TRIGGER {name} BEFORE INSERT ON {table} WHEN {exists} {refused}"))
    if table == "ledger_head":
        made.append(Trigger("ledger_head_forward", table, _SQLITE_FORWARD))
    return made


def _postgresql(table: str) -> list[Trigger]:
    refuse = "ledger_refuse_change"
    made = [
        _calling(f"{table}_append_only", table, _ACTS.get(table, _FROZEN), "ROW", refuse),
        _calling(f"{table}_no_truncate", table, ("TRUNCATE",), "STATEMENT", refuse),
    ]
    if table == "ledger_entries":
        made.append(_calling("ledger_entries_in_order", table, ("INSERT",), "ROW", "ledger_next_only"))
    elif table == "ledger_head":
        made.append(_calling("ledger_head_forward", table, ("UPDATE",), "ROW", "ledger_head_moves_on"))
    return made


def _calling(name: str, table: str, acts: tuple[str, ...], each: str, function: str) -> Trigger:
    statement = (
        f"CREATE TRIGGER {name} BEFORE {' OR '.join(acts)} ON {table} FOR EACH {each} EXECUTE FUNCTION {function}()"
    )
    return Trigger(name, table, statement, function, sum(_BITS[word] for word in (*acts, "BEFORE")) + (each == "ROW"))


_SQLITE_ORDER = f"""
CREATE TRIGGER ledger_entries_in_order BEFORE INSERT ON ledger_entries
WHEN NEW.seq <> coalesce((SELECT max(seq) FROM ledger_entries), 0) + 1
  OR NEW.prev <> coalesce((SELECT leaf FROM ledger_entries WHERE seq = NEW.seq - 1), x'{ZERO_HEX}')
BEGIN SELECT RAISE(ABORT, 'ledger_entries: not the next entry'); END
""".strip()  # noqa: S608 - constants

_SQLITE_FORWARD = """
CREATE TRIGGER ledger_head_forward BEFORE UPDATE ON ledger_head WHEN NEW.seq <> OLD.seq + 1
BEGIN SELECT RAISE(ABORT, 'ledger_head only moves on'); END
""".strip()

_REFUSED = "USING ERRCODE = 'integrity_constraint_violation'"
POSTGRESQL_FUNCTIONS = {
    "ledger_refuse_change": """
CREATE OR REPLACE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING
    MESSAGE = TG_TABLE_NAME || ' is append-only', ERRCODE = 'integrity_constraint_violation';
END $$
""".strip(),
    "ledger_next_only": f"""
CREATE OR REPLACE FUNCTION ledger_next_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.leaf <> sha256('\\x00'::bytea || NEW.entry)
    OR NEW.seq <> coalesce((SELECT max(seq) FROM ledger_entries), 0) + 1
    OR NEW.prev <> coalesce((SELECT leaf FROM ledger_entries WHERE seq = NEW.seq - 1), '\\x{ZERO_HEX}'::bytea)
  THEN
    RAISE EXCEPTION 'ledger_entries: not the next entry' {_REFUSED};
  END IF;
  RETURN NEW;
END $$
""".strip(),  # noqa: S608 - constants
    "ledger_head_moves_on": f"""
CREATE OR REPLACE FUNCTION ledger_head_moves_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.seq <> OLD.seq + 1 THEN
    RAISE EXCEPTION 'ledger_head only moves on' {_REFUSED};
  END IF;
  RETURN NEW;
END $$
""".strip(),
}
"""The functions that the triggers call, by name."""
