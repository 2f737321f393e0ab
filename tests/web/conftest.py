"""A fresh seeded world per test; seeding once and copying the database file keeps that fast."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.world import Clock, World, build, dress
from tre_orchestrator.ledger.database import Database


@pytest.fixture(scope="session")
def seeded() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tre-web-", dir="/tmp"))
    (folder / "keys").mkdir(mode=0o700)
    world = build(folder)
    world.db.dispose()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def world(seeded: Path) -> Iterator[World]:
    """The seeded world, with a database of this test's own."""
    own = Path(tempfile.mkdtemp(prefix="tre-web-", dir="/tmp"))
    settings = build_settings(seeded, own)
    shutil.copy(seeded / "tre.sqlite", own / "tre.sqlite")
    db = Database(settings.sqlalchemy_url)
    made = dress(settings, db, Clock())
    yield made
    db.dispose()
    shutil.rmtree(own, ignore_errors=True)


def build_settings(seeded: Path, own: Path):  # type: ignore[no-untyped-def]
    from tre_orchestrator.settings import Settings

    return Settings(state_dir=seeded, demo=True, database_url=f"sqlite:///{own / 'tre.sqlite'}")
