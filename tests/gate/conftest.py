from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.gate.build import GateWorld, gate_world
from tre_orchestrator.ledger.database import Database


@pytest_asyncio.fixture
async def gated(db: Database, state_dir: Path, now: dt.datetime) -> AsyncIterator[GateWorld]:
    async with gate_world(db, state_dir, now) as found:
        yield found
