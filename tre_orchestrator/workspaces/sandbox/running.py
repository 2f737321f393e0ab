"""One workspace while the supervisor holds it: from the fork to the moment when its last process is gone.

Standard library only.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from tre_orchestrator.errors import Unavailable
from tre_orchestrator.workspaces.sandbox import processes
from tre_orchestrator.workspaces.sandbox.journal import note
from tre_orchestrator.workspaces.sandbox.launcher import Start
from tre_orchestrator.workspaces.sandbox.limits import Limits, Usage
from tre_orchestrator.workspaces.sandbox.options import Options

LOG_BYTES = 32 * 1024
"""What is kept, in memory only, of what a workspace prints until its server answers: enough to say why it did not
start. From then on everything is read and thrown away, and nothing of it is ever written down: a workspace's output is
the analyst's (R3)."""

_BUDGET = 256 * 1024
_START_SECONDS = 60.0


class Keeper(Protocol):
    """What a workspace needs of the worker that holds it."""

    def watch(self, descriptor: int, act: Callable[[], object]) -> None:
        """Call `act` whenever the descriptor can be read."""

    def unwatch(self, descriptor: int) -> None:
        """Forget it."""

    def send(self, connection: socket.socket, message: dict[str, Any]) -> None:
        """Answer a client."""

    def ended(self, workspace: Running) -> None:
        """It is gone."""


def boot_clock() -> float:
    """Seconds since boot, sleep included: a lease runs out while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Running:
    """One workspace's processes, pipes, lease and group."""

    def __init__(
        self,
        keeper: Keeper,
        options: Options,
        limits: Limits,
        start: Start,
        child: int,
        report: socket.socket,
        log: int,
        status: int,
        client: socket.socket,
        token: str,
    ) -> None:
        self.plan = start.plan
        self.id = start.plan.workspace
        self.project = start.plan.project
        self.reason, self.last_words = "", ""
        self.lease_until = boot_clock() + options.lease_seconds
        self.outputs: int | None = None
        self.first: int | None = None
        self.owner = start.owners.workspace if start.owners else os.getuid()
        self.group = start.group
        self.gone = False
        self._keeper = keeper
        self._options = options
        self._limits = limits
        self._start = start
        self._pid = child
        self._client: socket.socket | None = client
        self._token = token
        self._began = boot_clock()
        self._started_at = dt.datetime.now(dt.UTC)
        self._report = report
        self._status, self._status_text = status, b""
        self._log, self._log_text, self._log_budget = log, bytearray(), _BUDGET
        self._is_ready = False
        self._endings: list[Callable[[], None]] = []
        self._pidfd = os.pidfd_open(child)
        self._first_pidfd: int | None = None
        self._exit_code = 0
        self._holders = 0
        for descriptor in (log, status):
            os.set_blocking(descriptor, False)
        report.setblocking(False)
        keeper.watch(self._pidfd, self._on_exit)
        keeper.watch(report.fileno(), self._on_report)
        keeper.watch(status, self._on_status)
        keeper.watch(log, self._on_log)

    @property
    def handle(self) -> dict[str, Any] | None:
        """What a client needs to reach it; None until it runs."""
        if self.first is None or self.reason:
            return None
        path = self._options.run_dir / "ws" / self._start.plan.socket_name
        return {
            "workspace": self.id,
            "socket": str(path),
            "nonce": self._start.plan.nonce,
            "pid": self.first,
            "started_at": self._started_at.isoformat(),
        }

    def usage(self) -> Usage:
        """What it has used so far."""
        counted = self._limits.usage(self.group)
        return counted or processes.usage_of(self._pid)

    def is_ready(self) -> None:
        """Its server has answered: from now on what it prints is the analyst's."""
        self._is_ready = True
        self._log_text.clear()

    def on_end(self, act: Callable[[], None]) -> None:
        """Call `act` once it is gone."""
        self._endings.append(act)

    def kill(self, why: str) -> None:
        """End it at once; its first process takes all others with it."""
        self.reason = self.reason or why
        self._limits.thaw(self.group)  # a frozen process of a version 1 group does not even die
        for descriptor in (self._first_pidfd, self._pidfd):
            if descriptor is not None:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)

    def tick(self, now: float) -> None:
        """Give the log a new budget; give up on a start that hangs."""
        if self._log_budget <= 0:
            self._keeper.watch(self._log, self._on_log)
        self._log_budget = _BUDGET
        if self.first is None and now - self._began > _START_SECONDS:
            self.kill(f"It did not start within {_START_SECONDS:g} seconds.")

    def hold(self) -> None:
        """Freeze it until `release`; several may hold at once. Raises `Unavailable` when it does not come to rest."""
        if self._holders == 0 and not (self._limits.freeze(self.group) or self._stopped()):
            raise Unavailable("not-frozen", "The workspace did not hold still for the copy. Try again in a moment.")
        self._holders += 1

    def release(self) -> None:
        """The last holder lets it go on."""
        self._holders -= 1
        if self._holders == 0 and not self.gone:
            self._limits.thaw(self.group)
            processes.continue_all(self._pid)

    def _stopped(self) -> bool:
        return self.first is not None and processes.stop_all(self.first)

    def _on_report(self) -> bool:
        """Take one message of the launcher; False when there was none."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._report, 4096, 1)
        except BlockingIOError:
            return False
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
            self.outputs = descriptor
        if not data:
            self._keeper.unwatch(self._report.fileno())
            return False
        message = json.loads(data)
        if "error" in message:
            self.reason = self.reason or message["error"]["sentence"]
            self._tell(message, last=True)
        elif "step" in message:
            self._tell(message, last=False)
        return True

    def _on_status(self) -> None:
        """bwrap tells the process id of the workspace's first process as soon as there is one."""
        data = os.read(self._status, 4096)
        if not data:
            self._keeper.unwatch(self._status)
            return
        self._status_text += data
        if self.first is None and b"\n" in self._status_text:
            self.first = int(json.loads(self._status_text.split(b"\n", 1)[0])["child-pid"])
            with suppress(ProcessLookupError):
                self._first_pidfd = os.pidfd_open(self.first)
            if self.handle:
                self._tell({"ok": True, **self.handle}, last=True)

    def _on_log(self) -> bool:
        """Take what it printed; False when there was nothing."""
        try:
            data = os.read(self._log, 65536)
        except BlockingIOError:
            return False
        if not data:
            self._keeper.unwatch(self._log)
            return False
        if not self._is_ready:
            self._log_text += data
            del self._log_text[:-LOG_BYTES]
        self._log_budget -= len(data)
        if self._log_budget <= 0:  # somebody inside floods us: read on at the next tick
            self._keeper.unwatch(self._log)
        return True

    def _on_exit(self) -> None:
        """bwrap has ended. Its first process inside may still be ending; the kernel lets it go after all others."""
        self._keeper.unwatch(self._pidfd)
        _, status = os.waitpid(self._pid, 0)
        self._exit_code = os.waitstatus_to_exitcode(status)
        if self._first_pidfd is None:
            self._finish()
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._first_pidfd, signal.SIGKILL)
        self._keeper.watch(self._first_pidfd, self._finish)

    def _finish(self) -> None:
        """Nothing of it runs any more: clear away and tell."""
        while self._on_report():
            pass
        while self._log_budget > 0 and self._on_log():
            pass
        if not self.reason:
            self.reason = self._why_ended(self._exit_code)
            self.last_words = self._last_words()
        self.gone = True
        self._clear()
        code = "not-started" if self.first is None else "ended"
        self._tell({"error": {"code": code, "sentence": self.reason + self.last_words, "status": 503}}, last=True)
        self._keeper.ended(self)
        for act in self._endings:
            act()

    def _why_ended(self, code: int) -> str:
        if self.first is None:
            return "The sandbox could not be made."
        return f"It ended by itself ({f'signal {-code}' if code < 0 else f'code {code}'})."

    def _last_words(self) -> str:
        """The last line it printed before its server answered, when nobody had worked in it yet."""
        lines = self._log_text.decode(errors="replace").replace(self._token, "[token]").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f" Its last words: {last[:200]}" if last else ""

    def _clear(self) -> None:
        for descriptor in (self._report.fileno(), self._status, self._log, self._first_pidfd):
            if descriptor is not None:
                self._keeper.unwatch(descriptor)
        self._report.close()
        for number in (self._status, self._log, self._pidfd, self._first_pidfd, self.outputs):
            if number is not None:
                os.close(number)
        try:
            self._limits.clear(self.group)
        except OSError as error:  # the next supervisor sweeps it
            note("group-left", workspace=self.id, error=error.strerror)
        with suppress(FileNotFoundError):
            os.unlink(self._start.plan.socket_name, dir_fd=self._start.sockets)
        os.close(self._start.sockets)

    def _tell(self, message: dict[str, Any], *, last: bool) -> None:
        if self._client is not None:
            self._keeper.send(self._client, message)
        if last:
            self._client = None
