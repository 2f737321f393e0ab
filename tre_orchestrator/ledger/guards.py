"""The database's own refusal to change the past, as DDL that runs when the tables are made (and in the migrations).

Entries, subtree hashes, checkpoints and cosignatures cannot be updated, deleted or replaced, a body cannot be updated
or replaced, an entry can only follow the newest one and moves the head row on: no fork, whoever writes.
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
_BITS = {"BEFORE": 2, "INSERT": 4, "DELETE": 8, "UPDATE": 16, "TRUNCATE": 32}


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger: what it is called, on which table, and the statement that makes it. On PostgreSQL also the function
    that it calls, the `tgtype` bits of `pg_trigger` and its condition: the head is moved by nothing but a trigger."""

    name: str
    table: str
    statement: str
    function: str = ""
    bits: int = 0
    when: str = ""


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
        order = Trigger("ledger_entries_in_order", table, _SQLITE_ORDER)
        return [*made, order, Trigger("ledger_entries_head", table, _SQLITE_HEAD)]
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
        made.append(_calling("ledger_head_forward", table, ("UPDATE",), "ROW", refuse, "pg_trigger_depth() = 0"))
    return made


def _calling(name: str, table: str, acts: tuple[str, ...], each: str, function: str, when: str = "") -> Trigger:
    narrowed = f" WHEN ({when})" if when else ""
    statement = (
        f"CREATE TRIGGER {name} BEFORE {' OR '.join(acts)} ON {table} FOR EACH {each}{narrowed} "
        f"EXECUTE FUNCTION {function}()"
    )
    bits = sum(_BITS[word] for word in (*acts, "BEFORE")) + (each == "ROW")
    return Trigger(name, table, statement, function, bits, when)


_SQLITE_ORDER = """
CREATE TRIGGER ledger_entries_in_order BEFORE INSERT ON ledger_entries
WHEN NOT EXISTS (SELECT 1 FROM ledger_head WHERE id = 1 AND seq = NEW.seq - 1 AND leaf = NEW.prev)
BEGIN SELECT RAISE(ABORT, 'ledger_entries: not the next entry'); END
""".strip()

_SQLITE_HEAD = """
CREATE TRIGGER ledger_entries_head AFTER INSERT ON ledger_entries
BEGIN UPDATE ledger_head SET seq = NEW.seq, leaf = NEW.leaf WHERE id = 1; END
""".strip()

_SQLITE_FORWARD = """
CREATE TRIGGER ledger_head_forward BEFORE UPDATE ON ledger_head
WHEN NEW.seq <> OLD.seq + 1 OR NOT EXISTS (SELECT 1 FROM ledger_entries WHERE seq = NEW.seq AND leaf = NEW.leaf)
BEGIN SELECT RAISE(ABORT, 'ledger_head only moves on'); END
""".strip()

POSTGRESQL_FUNCTIONS = {
    "ledger_refuse_change": """
CREATE OR REPLACE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING
    MESSAGE = TG_TABLE_NAME || ' is append-only', ERRCODE = 'integrity_constraint_violation';
END $$
""".strip(),
    "ledger_next_only": """
CREATE OR REPLACE FUNCTION ledger_next_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE ledger_head SET seq = NEW.seq, leaf = NEW.leaf WHERE id = 1 AND seq = NEW.seq - 1 AND leaf = NEW.prev;
  IF NOT FOUND OR NEW.leaf <> sha256('\\x00'::bytea || NEW.entry) THEN
    RAISE EXCEPTION USING
      MESSAGE = 'ledger_entries: not the next entry', ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$
""".strip(),
}
"""The functions that the triggers call, by name."""
