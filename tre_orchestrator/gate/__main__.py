"""`python -m tre_orchestrator.gate`: the gate as a process, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import datetime as dt
import signal
import sys

from tre_orchestrator.errors import TreError
from tre_orchestrator.gate.app import serving
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ops.logs import configure_logs
from tre_orchestrator.settings import Settings, load_settings

SWITCH_SECONDS = 0.0005
"""How soon a thread that waits for the database lets requests go on: a tenth of Python's default."""


def main() -> int:
    """Serve; 1 with a sentence on standard error when it cannot start."""
    try:
        settings = load_settings()
        configure_logs("gate", settings.log_level)
        sys.setswitchinterval(SWITCH_SECONDS)
        asyncio.run(_serve(settings))
    except TreError as error:
        print(error.sentence, file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings) -> None:
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    db = Database(settings.sqlalchemy_url)
    try:
        async with serving(settings, db, _now):
            await end.wait()
    finally:
        db.dispose()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


if __name__ == "__main__":
    sys.exit(main())
