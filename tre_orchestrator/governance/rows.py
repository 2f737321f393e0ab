"""Makes a row exist, whoever else does the same at this moment: on both databases, without a lost race."""

from __future__ import annotations

from typing import Any

from sqlalchemy import literal
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tre_orchestrator.ledger.database import Base


def insert_once(session: Session, table: type[Base], **values: Any) -> bool:
    """Insert the row unless one with its key is there; then that one stays as it is. Whether it was inserted."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    once = insert(table).values(**values).on_conflict_do_nothing().returning(literal(1))
    return session.execute(once).first() is not None
