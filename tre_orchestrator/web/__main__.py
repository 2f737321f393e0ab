"""`python -m tre_orchestrator.web`: serves the web application on its unix socket until SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import uvicorn

from tre_orchestrator.errors import TreError
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ops.logs import configure_logs
from tre_orchestrator.settings import load_settings
from tre_orchestrator.web.app import create_app, surroundings

_STOP_SECONDS = 5


def main() -> int:
    """Run; 0 after a clean stop, 1 with a sentence when it cannot start."""
    try:
        settings = load_settings()
        configure_logs("web", settings.log_level)
        db = Database(settings.sqlalchemy_url)
        app = create_app(surroundings(settings, db))
    except TreError as error:
        print(error.sentence, file=sys.stderr)
        return 1
    os.umask(0o077)
    config = uvicorn.Config(
        app,
        uds=str(settings.run_dir / "web.sock"),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    signal.signal(signal.SIGTERM, _stop)  # uvicorn stops by itself, then gives the signal back
    uvicorn.Server(config).run()
    return 0


def _stop(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
