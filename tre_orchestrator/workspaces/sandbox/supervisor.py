"""`python -m tre_orchestrator.workspaces.sandbox.supervisor`: the process that people's workspaces live under.

A small parent forks the worker again, with growing pauses, when it dies; workspaces die with the worker, and a new one
clears away what is left. A lock file makes a second start on the same state folder end at once, quietly. In root mode
this and the keeper of `tre up`, which starts it again, are the only processes of a TRE that stay root. Standard
library only.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from tre_orchestrator.errors import TreError
from tre_orchestrator.workspaces.sandbox import kernel
from tre_orchestrator.workspaces.sandbox.arguments import arguments
from tre_orchestrator.workspaces.sandbox.journal import note, told
from tre_orchestrator.workspaces.sandbox.launcher import Build
from tre_orchestrator.workspaces.sandbox.lock import lock_of
from tre_orchestrator.workspaces.sandbox.modes import examine
from tre_orchestrator.workspaces.sandbox.options import Options, parse
from tre_orchestrator.workspaces.sandbox.startup import ensure_running
from tre_orchestrator.workspaces.sandbox.worker import Worker

__all__ = ["ensure_running", "main", "run"]

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
LIVED_WELL_SECONDS = 60.0
"""A worker that lived this long gets the short pause again."""

_TO_END = (signal.SIGTERM, signal.SIGINT)


def main(words: Sequence[str] | None = None) -> int:
    """Run until told to end. Returns the exit code; a `TreError`'s sentence goes to standard error."""
    options = parse(sys.argv[1:] if words is None else words)
    try:
        return run(options)
    except TreError as error:
        print(error.sentence, file=sys.stderr, flush=True)
        return 1


def run(options: Options, build: Build = arguments) -> int:
    """Hold the state folder's supervisor lock and keep a worker alive. `build` makes bwrap's arguments."""
    held = _only_one(options)
    if held is None:
        note("already-running")
        return 0
    os.umask(0o077)
    orders = _Orders()
    pause = FIRST_PAUSE
    while True:
        began, last = time.monotonic(), orders.to_end
        code = orders.one_worker(lambda: _work(options, build, orders.to_end))
        if code in (0, 1) or last:  # ended as asked, or this machine cannot run workspaces: a new start changes nothing
            return code
        pause = FIRST_PAUSE if time.monotonic() - began > LIVED_WELL_SECONDS else min(pause * 2, LONGEST_PAUSE)
        note("worker-died", code=code, pause=pause)
        orders.wait(pause)


class _Orders:
    """SIGTERM and SIGINT, remembered and passed on: whenever they come, no worker goes on as if they had not.

    When they come while no worker listens, one more worker is started: it clears away what is left, and ends.
    """

    def __init__(self) -> None:
        self.to_end = False
        self._worker: int | None = None
        for number in _TO_END:
            signal.signal(number, self._take)

    def one_worker(self, work: Callable[[], int]) -> int:
        """Fork a worker; returns its exit code (negative: the signal that killed it)."""
        parent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, _TO_END)
        child = os.fork()
        if child == 0:
            _become_worker(work, parent)
        self._worker = os.pidfd_open(child)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_END)
        _, status = os.waitpid(child, 0)
        gone, self._worker = self._worker, None
        os.close(gone)
        return os.waitstatus_to_exitcode(status)

    def wait(self, seconds: float) -> None:
        """Let so many seconds pass, or fewer when told to end."""
        until = time.monotonic() + seconds
        while not self.to_end and time.monotonic() < until:
            time.sleep(0.05)

    def _take(self, number: int, _frame: object) -> None:
        self.to_end = True
        if self._worker is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._worker, number)


def _only_one(options: Options) -> int | None:
    """The held lock file's descriptor, or None when another supervisor holds it."""
    folder = options.open_run_dir()
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    try:
        descriptor = kernel.openat2(folder, "supervisor.lock", flags, kernel.BENEATH, 0o600)
    finally:
        os.close(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _become_worker(work: Callable[[], int], parent: int) -> NoReturn:
    """In the child, with the signals still held back: until the worker catches them, they just end it."""
    code = 70
    try:
        for number in _TO_END:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_END)
        kernel.die_with_parent(signal.SIGKILL, parent)
        code = work()
    except Exception as error:  # noqa: BLE001  # the parent starts another one
        note("worker-failed", error=told(error))
    finally:
        os._exit(code)


def _work(options: Options, build: Build, to_end: bool) -> int:
    try:
        own = options.root_state if os.geteuid() == 0 else options.run_dir
        machine = examine(options.privilege, own)
        worker = Worker(options, machine, lock_of(machine, build), to_end)
        for number in _TO_END:
            signal.signal(number, worker.take_signal)
        started = {"mode": machine.choice.name, "limits": machine.limits.kind, "disk_cap": machine.disk_cap}
        worker.run(lambda: note("started", pid=os.getpid(), **started))
    except TreError as error:
        print(error.sentence, file=sys.stderr, flush=True)
        return 1
    note("ended-all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
