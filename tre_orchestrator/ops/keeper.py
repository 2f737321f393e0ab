"""Starts the supervisor of workspaces again when it is gone.

The supervisor replaces a worker that dies, but nobody inside it survives its own death. The keeper is a child of
`tre up` from before root is given up, because only root can start a supervisor in the root modes: it takes no input,
reads nothing that the services can write, and ends with its parent, whatever ends that.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress

from tre_orchestrator.errors import TreError

EVERY_SECONDS = 1.0


class Keeper:
    """`is_up` tells whether a supervisor answers, `start` starts one, `tell` takes a sentence for people."""

    def __init__(self, is_up: Callable[[], bool], start: Callable[[], object], tell: Callable[[str], None]) -> None:
        self._held_by_parent, writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(writer)
            try:
                _keep(self._held_by_parent, is_up, start, tell)
            finally:
                os._exit(0)
        os.close(self._held_by_parent)
        self._writer = writer

    def stop(self) -> None:
        """End the keeper; returns when it is gone, so that what is shut down afterwards stays down."""
        os.close(self._writer)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def _keep(parent: int, is_up: Callable[[], bool], start: Callable[[], object], tell: Callable[[str], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    while not select.select([parent], [], [], EVERY_SECONDS)[0]:
        try:
            if not is_up():
                start()
                tell("The supervisor of workspaces was gone, and every workspace with it; it was started again.")
        except TreError as error:
            tell(error.sentence)
