from __future__ import annotations

import datetime as dt

import pytest

from tests.airlock.build import Airlock, make
from tre_orchestrator.airlock import tables as _tables  # noqa: F401 - declares the airlock's tables
from tre_orchestrator.governance import tables as _governance_tables  # noqa: F401 - declares the catalogue's tables
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings


@pytest.fixture
def air(db: Database, settings: Settings, now: dt.datetime) -> Airlock:
    return make(db, settings, now)
