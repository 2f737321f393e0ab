"""Read by JupyterHub in tests: our whole configuration on a backend that runs tiny servers instead of sandboxes."""

from __future__ import annotations

import datetime as dt
import time

from tests.hub.process_backend import ProcessBackend
from tre_orchestrator.hub import runtime
from tre_orchestrator.hub.configure import configure, prepare_process
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import load_settings

settings = load_settings()
prepare_process(settings)
began = dt.datetime.fromisoformat((settings.state_dir / "now").read_text())
started = time.monotonic()
runtime.use(
    runtime.Runtime(
        settings,
        Database(settings.sqlalchemy_url),
        ProcessBackend(settings),
        lambda: began + dt.timedelta(seconds=time.monotonic() - started),
    )
)
configure(get_config(), settings)  # type: ignore[name-defined]  # noqa: F821 - JupyterHub puts it here
