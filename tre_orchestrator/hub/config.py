"""Read by JupyterHub: `python -m jupyterhub -f tre_orchestrator/hub/config.py`. Ends with a sentence when it cannot."""

from __future__ import annotations

import sys

from tre_orchestrator.errors import TreError
from tre_orchestrator.hub import runtime
from tre_orchestrator.hub.configure import configure, prepare_process
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import load_settings
from tre_orchestrator.workspaces.sandbox.client import SandboxBackend

try:
    _settings = load_settings()
    prepare_process(_settings)
    runtime.use(
        runtime.Runtime(_settings, Database(_settings.sqlalchemy_url), SandboxBackend(_settings), runtime.utc_now)
    )
    configure(get_config(), _settings)  # type: ignore[name-defined]  # noqa: F821 - JupyterHub puts it here
except TreError as error:
    print(error.sentence, file=sys.stderr)
    sys.exit(1)
