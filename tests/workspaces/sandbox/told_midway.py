"""A supervisor whose worker is told to end at the worst moment: when it has just let go of a workspace."""

from __future__ import annotations

import os
import signal
import sys

from tre_orchestrator.workspaces.sandbox.running import Running
from tre_orchestrator.workspaces.sandbox.supervisor import main

_clear = Running._clear


def clear_and_be_told(workspace: Running) -> None:
    _clear(workspace)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    Running._clear = clear_and_be_told  # type: ignore[method-assign]
    sys.exit(main())
