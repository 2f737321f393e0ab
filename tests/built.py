"""The workspaces' environment that `make env` has built, where this user's settings and TRE_CACHE_DIR put it."""

from __future__ import annotations

from pathlib import Path

from tre_orchestrator.settings import load_settings
from tre_orchestrator.workspaces.environment import environment_dir

BUILT = environment_dir(load_settings(Path("/nonexistent")))
