"""Whether the database still refuses to change the past: exactly the triggers of `guards.py` stand on the ledger's
tables, with their functions, switched on, and no rule rewrites what is written there.
"""

from __future__ import annotations

import re

from sqlalchemy import BindParameter, bindparam, text
from sqlalchemy.orm import Session

from tre_orchestrator.ledger.guards import KEYS, POSTGRESQL_FUNCTIONS, Trigger, guard_triggers


def why_unguarded(session: Session) -> str | None:
    """What is missing, changed or too much among the guards, in words; None when all is as it was made."""
    dialect = session.get_bind().dialect.name
    expected = {trigger.name: _of(trigger, dialect) for table in KEYS for trigger in guard_triggers(table, dialect)}
    found = _found_sqlite(session) if dialect == "sqlite" else _found_postgresql(session)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"trigger {name} is missing"
        if name not in expected:
            return f"{name} was added"
        if found[name] != expected[name]:
            return f"trigger {name} was changed or switched off"
    return None


_Facts = tuple[str, ...]


def _of(trigger: Trigger, dialect: str) -> _Facts:
    if dialect == "sqlite":
        return (trigger.table, _words(trigger.statement))
    body = POSTGRESQL_FUNCTIONS[trigger.function].split("$$")[1]
    return (trigger.table, str(trigger.bits), "A", trigger.when, trigger.function, _words(body))


def _found_sqlite(session: Session) -> dict[str, _Facts]:
    query = text("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN :tables")
    rows = session.execute(query.bindparams(bindparam("tables", list(KEYS), expanding=True)))
    return {name: (table, _words(statement)) for name, table, statement in rows}


_TRIGGERS = """
SELECT t.tgname, c.relname, t.tgtype, t.tgenabled, pg_get_triggerdef(t.oid), p.proname, p.prosrc
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace AND c.relname IN :tables
"""
_RULES = """
SELECT r.rulename, c.relname FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname IN :tables
"""


def _found_postgresql(session: Session) -> dict[str, _Facts]:
    tables: BindParameter[list[str]] = bindparam("tables", list(KEYS), expanding=True)
    found: dict[str, _Facts] = {}
    for name, table, bits, enabled, definition, function, source in session.execute(text(_TRIGGERS).bindparams(tables)):
        said = enabled.decode() if isinstance(enabled, bytes) else enabled
        found[name] = (table, str(bits), said, _narrowed(definition), function, _words(source))
    for name, table in session.execute(text(_RULES).bindparams(tables)):
        found[f"rule {name}"] = (table,)
    return found


def _narrowed(definition: str) -> str:
    """The condition or the columns that a trigger of PostgreSQL is limited to; empty when it is not."""
    when = re.search(r" WHEN \(\((.*)\)\) EXECUTE ", definition)
    columns = re.search(r" UPDATE OF .* ON ", definition)
    return (columns[0] if columns else "") + (when[1] if when else "")


def _words(source: str) -> str:
    """The text without its line breaks and indentation: migrations may lay the same statement out differently."""
    return " ".join(source.split())
