"""Fixtures every test may use: a fixed moment, a state folder short enough for sockets, settings, and a database.

`db` runs a test on SQLite and, when `TEST_POSTGRES_URL` names a server (`make test` starts one), on PostgreSQL
too, in a schema of the test's own.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tre_orchestrator.ledger.database import Base, Database
from tre_orchestrator.settings import Settings

POSTGRES = os.environ.get("TEST_POSTGRES_URL")


@pytest.fixture
def now() -> dt.datetime:
    return dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC)


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A state folder below /tmp: pytest's own are too long for a unix socket's address."""
    folder = Path(tempfile.mkdtemp(prefix="tre-", dir="/tmp"))
    for name in ("keys", "run", "log", "data", "workspaces", "shared", "store"):
        (folder / name).mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def settings(state_dir: Path) -> Settings:
    return Settings(state_dir=state_dir)


def _databases() -> list[object]:
    reason = "TEST_POSTGRES_URL is not set: run `make test`, which starts a PostgreSQL server"
    skip = pytest.mark.skipif(POSTGRES is None, reason=reason)
    return ["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres, skip])]


@pytest.fixture(params=_databases())
def db(request: pytest.FixtureRequest, state_dir: Path) -> Iterator[Database]:
    """An empty database with every table that the test's imports have declared."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{state_dir / 'tre.sqlite'}")
        Base.metadata.create_all(database.engine)
        yield database
        database.dispose()
        return
    assert POSTGRES is not None
    schema = f"t{uuid.uuid4().hex}"
    admin = create_engine(POSTGRES, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    separator = "&" if "?" in POSTGRES else "?"
    database = Database(f"{POSTGRES}{separator}options=-csearch_path%3D{schema}")
    Base.metadata.create_all(database.engine)
    yield database
    database.dispose()
    with admin.connect() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    admin.dispose()
