"""One database for state and ledger, so that a decision and its entry commit together (R1).

SQLite on one machine (WAL, `synchronous=FULL`: a committed decision survives power loss), PostgreSQL by URL.
`Database.write()` takes SQLite's write lock at its start, so two writers queue instead of failing half way.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import JSON, DateTime, Engine, LargeBinary, MetaData, TypeDecorator, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from tre_orchestrator.errors import Unavailable
from tre_orchestrator.ledger.tre_verify import leaf_hash

_BUSY_SECONDS = 30
_WRITE = "tre_write"
_ONE_WRITER = text("SELECT pg_advisory_xact_lock(8370371)")
"""What BEGIN IMMEDIATE is to SQLite: a start and the revocation of its grant cannot both read the other's past (D2)."""


class UtcDateTime(TypeDecorator[dt.datetime]):
    """A moment in UTC; refuses a naive datetime, always returns an aware one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Any) -> dt.datetime | None:
        """Refuse a naive moment and convert to UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without time zone")
        moment = value.astimezone(dt.UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: dt.datetime | None, dialect: Any) -> dt.datetime | None:
        """Give the stored moment its time zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


class Base(DeclarativeBase):
    """All tables of the project share this metadata; each package declares its own in its `tables.py`."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        dt.datetime: UtcDateTime,
        bytes: LargeBinary,
        dict[str, Any]: JSON,
        list[Any]: JSON,
    }


class Database:
    """Sessions on one engine. `read()` never writes; `write()` is one transaction that commits at its end."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the one-machine database."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading, of one moment; whatever it changed is rolled back. What it loaded stays readable."""
        with _reachable(), self._sessions() as session:
            if not self.is_sqlite:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            try:
                yield session
            finally:
                session.expunge_all()  # a rollback would expire the objects
                session.rollback()

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: all of it is committed, or nothing; one at a time, so that what it decides on holds."""
        with _reachable(), self._sessions() as session:
            session.info[_WRITE] = True
            if self.is_sqlite:
                session.connection(execution_options={"tre_write": True})
            else:
                session.execute(_ONE_WRITER)
            try:
                yield session
                session.commit()
            except BaseException:
                session.rollback()
                raise

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def is_write(session: Session) -> bool:
    """Whether the session is one that commits: what is appended in any other would be lost."""
    return session.info.get(_WRITE) is True


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise Unavailable(
            "database",
            "The database cannot be reached, so nothing was decided. Try again; if it stays, see `tre doctor`.",
        ) from error


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's own BEGIN below decides
        connection.create_function("ledger_leaf", 1, leaf_hash, deterministic=True)
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={_BUSY_SECONDS * 1000}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        write = connection.get_execution_options().get("tre_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine
