from __future__ import annotations

import datetime as dt

import pytest

from tests.governance.build import World, ready
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings


@pytest.fixture
def world(db: Database, settings: Settings, now: dt.datetime) -> World:
    """A TRE in which Ana may work in `heart` on `lungs`."""
    return ready(db, settings, now)
