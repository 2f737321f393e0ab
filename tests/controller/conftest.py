"""The fixtures of the workspaces' tests: a governed TRE and a backend in memory."""

from tests.workspaces.conftest import backend, environment, settings, world

__all__ = ["backend", "environment", "settings", "world"]
