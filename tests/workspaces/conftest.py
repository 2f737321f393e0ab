"""A governed TRE whose workspaces start in memory: the logic of starting and ending without a sandbox."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from tests.governance import build
from tests.workspaces.fake_backend import FakeBackend
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces import tables as _tables  # noqa: F401 - declares the tables for the fixture `db`


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A folder that looks like the workspaces' environment."""
    folder = tmp_path / "env"
    for name in ("bin/python", "share/jupyter/lab/static/index.html"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
    return folder


@pytest.fixture
def settings(state_dir: Path, environment: Path) -> Settings:
    return Settings(state_dir=state_dir, environment_dir=environment)


@pytest.fixture
def world(db: Database, settings: Settings, now: dt.datetime) -> build.World:
    return build.ready(db, settings, now)


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()
