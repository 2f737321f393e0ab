"""`python -m tre_orchestrator.controller`: the controller as a process, until SIGTERM or SIGINT."""

from __future__ import annotations

import datetime as dt
import signal
import sys
import threading

from tre_orchestrator.airlock.store import open_store
from tre_orchestrator.controller.app import Controller
from tre_orchestrator.controller.metrics import Metrics
from tre_orchestrator.errors import TreError
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.keys import load_or_create_signer
from tre_orchestrator.ops.logs import configure_logs
from tre_orchestrator.settings import Settings, load_settings
from tre_orchestrator.workspaces.sandbox.client import SandboxBackend


def main() -> int:
    """Work; 1 with a sentence on standard error when it cannot start."""
    try:
        settings = load_settings()
        configure_logs("controller", settings.log_level)
        _work(settings)
    except TreError as error:
        print(error.sentence, file=sys.stderr)
        return 1
    return 0


def _work(settings: Settings) -> None:
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: end.set())
    db = Database(settings.sqlalchemy_url)
    backend = SandboxBackend(settings)
    controller = Controller(
        db=db,
        settings=settings,
        backend=backend,
        eraser=backend,
        store=open_store(settings),
        signer=load_or_create_signer(settings.keys_dir),
        clock=lambda: dt.datetime.now(dt.UTC),
        metrics=Metrics(),
    )
    try:
        with controller.running():
            end.wait()
    finally:
        db.dispose()


if __name__ == "__main__":
    sys.exit(main())
