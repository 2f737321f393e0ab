"""What the hub's classes share: settings, the TRE's database, the backend, a clock, threads.

JupyterHub makes our authenticator and spawners itself, so they find these here. `use` is called once, by the hub's
configuration. Calls that may take long run in threads of their own kind: a slow start holds up no sign-in.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from tre_orchestrator.errors import Unavailable
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces.backend import Backend

T = TypeVar("T")


@dataclass(frozen=True)
class Runtime:
    """The hub's surroundings."""

    settings: Settings
    db: Database
    backend: Backend
    clock: Callable[[], dt.datetime]
    _starts: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(64, "start"))
    _quick: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8, "quick"))

    async def long(self, work: Callable[[], T]) -> T:
        """Run a start or an end in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._starts, work)

    async def quick(self, work: Callable[[], T]) -> T:
        """Run a look-up in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._quick, work)


_current: list[Runtime] = []


def use(runtime: Runtime) -> None:
    """Make these the hub's surroundings."""
    _current[:] = [runtime]


def current() -> Runtime:
    """The hub's surroundings; raises `Unavailable` before `use`."""
    if not _current:
        raise Unavailable(
            "hub-unconfigured", "The hub was started without its configuration, tre_orchestrator/hub/config.py."
        )
    return _current[0]


def utc_now() -> dt.datetime:
    """This moment."""
    return dt.datetime.now(dt.UTC)
