"""The supervisor's work: starts, watches and ends workspaces, and has folders copied and the lock proven.

A workspace ends when it is stopped, when nobody renewed its lease
(P4), or with this process, whatever ends that (--die-with-parent). An end is reported only after its last process is
gone. Standard library only.
"""

from __future__ import annotations

import math
import os
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from tre_orchestrator.errors import Invalid, Stale, Unavailable
from tre_orchestrator.workspaces.plan import COMMAND, WorkspacePlan
from tre_orchestrator.workspaces.plan_form import is_name
from tre_orchestrator.workspaces.sandbox import errands, kernel
from tre_orchestrator.workspaces.sandbox.begin import begin
from tre_orchestrator.workspaces.sandbox.journal import note, put_aside_when_full
from tre_orchestrator.workspaces.sandbox.lock import MachineLock, refreshed
from tre_orchestrator.workspaces.sandbox.loop import LONGEST_REQUEST, Loop
from tre_orchestrator.workspaces.sandbox.modes import Machine
from tre_orchestrator.workspaces.sandbox.options import Options
from tre_orchestrator.workspaces.sandbox.running import Running, boot_clock
from tre_orchestrator.workspaces.sandbox.shared_disks import SharedDisks

TICK_SECONDS = 0.2
_REMEMBERED_ENDS = 1000
_WORKSPACE = re.compile(r"[a-z2-7]{16}")
_UNKNOWN = "It has not been started since the supervisor of workspaces last started."


class Worker(Loop):
    """Everything that runs, and the socket through which it is asked about."""

    def __init__(self, options: Options, machine: Machine, locked: MachineLock, to_end: bool = False) -> None:
        super().__init__(options)
        self._machine = machine
        self._locked = locked
        self._running: dict[str, Running] = {}
        self._ends: dict[str, str] = {}
        self._errands: dict[int, errands.Errand] = {}
        self._shared = SharedDisks(self, options)
        self._to_end, self._ending = to_end, False
        self.operations = {
            "start": self._start,
            "stop": self._stop,
            "poll": self._poll,
            "ready": self._ready,
            "list": self._list,
            "lease": self._lease,
            "collect": self._collect,
            "erase": self._erase,
            "prove": self._prove,
            "status": self._status,
            "shutdown": self._shutdown,
        }

    def run(self, on_ready: Callable[[], None]) -> None:
        """Serve until told to end; returns when every workspace is gone. `on_ready` is called when it listens."""
        self._sweep()
        listener = self.listen()
        on_ready()
        try:
            while True:
                self._tick()
                if self._ending and not (self._running or self._errands or self._shared.leaving):
                    return
                self.select(TICK_SECONDS)
        finally:
            self.hang_up_all(listener)
            self._machine.limits.close()

    def take_signal(self, _number: int, _frame: object) -> None:
        """Told to end: only noted here, because a signal comes between any two steps; the next turn acts on it."""
        self._to_end = True

    def _sweep(self) -> None:
        """Clear away what a supervisor that was killed left behind: groups (and anything in them), sockets."""
        for name in self._machine.limits.groups(self._options.prefix):
            self._machine.limits.clear(name)
            note("swept", group=name)
        with suppress(FileExistsError):
            kernel.made_as(self._options.service, lambda: os.mkdir("ws", 0o700, dir_fd=self._folder))
        try:
            sockets = kernel.openat2(self._folder, "ws", os.O_RDONLY | os.O_DIRECTORY, kernel.BENEATH)
        except OSError as error:
            sentence = f"{self._options.run_dir / 'ws'} is not the folder it should be ({error.strerror}). Remove it."
            raise Unavailable("run-folder", sentence) from error
        try:
            for name in os.listdir(sockets):
                os.unlink(name, dir_fd=sockets)
        finally:
            os.close(sockets)

    def _tick(self) -> None:
        put_aside_when_full(self._options.state_dir)
        now = boot_clock()
        if self._to_end and not self._ending:
            self._ending = True
            for workspace in self._running.values():
                self._end(workspace, "This TRE was stopped.")
            for errand in self._errands.values():
                errand.kill()
        for workspace in list(self._running.values()):
            if workspace.lease_until < now and not workspace.reason:
                note("lease-lapsed", workspace=workspace.id)
                sentence = "Nobody renewed its lease: the controller of this TRE was not running. Start it again."
                self._end(workspace, sentence)
            workspace.tick(now)
        for errand in list(self._errands.values()):
            errand.tick(now)

    # --- operations -------------------------------------------------------------------------------------------------

    def _start(self, connection: socket.socket, request: dict[str, Any]) -> None:
        name = _workspace_in(request)
        if self._ending:
            raise Unavailable("ending", "This TRE is being stopped; no workspace starts now.")
        if name in self._running:
            raise Stale("already-running", "This workspace is already running.")
        plan = self._read_plan(name)
        if any(errand.collected == name for errand in self._errands.values()):
            raise Unavailable("collecting", "Its outputs are being copied. Try again in a moment.")
        if any(errand.erased_project == plan.project for errand in self._errands.values()):
            raise Unavailable("erasing", "Copies of this project are being deleted. Try again in a moment.")
        locked = self._lock_now()
        if request.get("lock") != locked.digest:
            raise Stale("lock-changed", "The lock of this machine is not the one that was proven. Start again.")
        shared = self._shared.disk_for(plan, locked.lock, self._running.values())
        try:
            self._running[name] = begin(self, self._options, locked.lock, plan, connection, shared)
        finally:
            self._shared.keep_for(self._running.values())
        self._ends.pop(name, None)

    def _end(self, workspace: Running, why: str) -> None:
        """End it, and whatever copies its outputs: a child's open file would keep its disk mounted."""
        workspace.kill(why)
        for errand in self._errands.values():
            if errand.collected == workspace.id:
                errand.kill()

    def _read_plan(self, name: str) -> WorkspacePlan:
        state = str(self._options.state_dir)
        try:
            file = kernel.open_beneath(state, f"{state}/workspaces/{name}/plan.json", os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise Unavailable("no-plan", f"The workspace's plan cannot be read: {error.strerror}.") from error
        with open(file, encoding="utf-8") as stream:
            plan = WorkspacePlan.from_json(stream.read(LONGEST_REQUEST))
        if plan.workspace != name or plan.command != COMMAND:
            raise Invalid("plan", "The plan is another workspace's, or starts another program. It was not started.")
        return plan

    def _stop(self, connection: socket.socket, request: dict[str, Any]) -> None:
        workspace = self._running.get(_workspace_in(request))
        if workspace is None:
            self.send(connection, {"ok": True})
            return
        workspace.on_end(lambda: self.send(connection, {"ok": True}))
        self._end(workspace, "It was stopped.")

    def _poll(self, connection: socket.socket, request: dict[str, Any]) -> None:
        name = _workspace_in(request)
        workspace = self._running.get(name)
        if workspace is None:
            reason = self._ends.get(name, _UNKNOWN)
            self.send(connection, {"ok": True, "running": False, "reason": reason, "cpu": 0.0, "memory": 0})
            return
        usage = workspace.usage()
        told = {"running": True, "reason": None, "cpu": usage.cpu_seconds, "memory": usage.memory_bytes}
        self.send(connection, {"ok": True, **told})

    def _ready(self, connection: socket.socket, request: dict[str, Any]) -> None:
        workspace = self._running.get(_workspace_in(request))
        if workspace is None:
            raise Stale("not-running", "This workspace has ended.")
        workspace.is_ready()
        self.send(connection, {"ok": True})

    def _list(self, connection: socket.socket, _request: dict[str, Any]) -> None:
        handles = [workspace.handle for workspace in self._running.values() if workspace.handle]
        self.send(connection, {"ok": True, "workspaces": handles})

    def _lease(self, connection: socket.socket, request: dict[str, Any]) -> None:
        seconds = request.get("seconds")
        if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise Invalid("lease", "A lease is a number of seconds.")
        until = boot_clock() + min(seconds, self._options.lease_seconds)
        for name in request["workspaces"]:
            if name in self._running:
                self._running[name].lease_until = until
        self.send(connection, {"ok": True})

    def _collect(self, connection: socket.socket, request: dict[str, Any]) -> None:
        name = _workspace_in(request)
        folder = request.get("folder")
        if not isinstance(folder, str) or "\0" in folder:
            raise Invalid("folder", "The folder to collect must be given by its name.")
        errand = errands.collect(
            self._options, self._lock_now().lock, name, folder, self._running.get(name), connection
        )
        self._run_errand(errand, connection)

    def _erase(self, connection: socket.socket, request: dict[str, Any]) -> None:
        name, project = _workspace_in(request), request.get("project")
        if not isinstance(project, str) or not is_name(project):
            raise Invalid("project", "The project whose copies are to be deleted must be given by its name.")
        if any(running.id == name or running.project == project for running in self._running.values()):
            raise Stale("in-use", "A workspace of this project is running, so nothing was deleted.")
        done = partial(self.send, connection, {"ok": True})
        self._keep(errands.erase_copies(self._options, name, project, connection, done))

    def _prove(self, connection: socket.socket, _request: dict[str, Any]) -> None:
        self._run_errand(errands.prove(self._options, self._lock_now(), connection), connection)

    def _lock_now(self) -> MachineLock:
        self._locked = refreshed(self._locked, self._machine)
        return self._locked

    def _run_errand(self, errand: errands.Errand, connection: socket.socket) -> None:
        """The child speaks to the client itself; here its connection is closed and its end awaited."""
        self.hang_up(connection)
        self._keep(errand)

    def _keep(self, errand: errands.Errand) -> None:
        self._errands[errand.pidfd] = errand
        self.watch(errand.pidfd, lambda: self._errand_ended(errand))

    def _errand_ended(self, errand: errands.Errand) -> None:
        self.unwatch(errand.pidfd)
        del self._errands[errand.pidfd]
        errand.finish()

    def _status(self, connection: socket.socket, _request: dict[str, Any]) -> None:
        machine = self._machine
        told = {
            "mode": machine.choice.name,
            "reason": machine.choice.reason,
            "lock_digest": self._lock_now().digest,
            "limits": machine.limits.kind,
            "disk_cap": machine.disk_cap,
            "warnings": list(machine.warnings),
            "pid": os.getpid(),
            "workspaces": len(self._running),
        }
        self.send(connection, {"ok": True, **told})

    def _shutdown(self, connection: socket.socket, _request: dict[str, Any]) -> None:
        self._to_end = True
        self.send(connection, {"ok": True})

    # --- what running workspaces tell -------------------------------------------------------------------------------

    def ended(self, workspace: Running) -> None:
        """Its last process is gone and everything of it is cleared away."""
        self._running.pop(workspace.id, None)
        self._shared.keep_for(self._running.values())
        self._ends[workspace.id] = workspace.reason + workspace.last_words
        while len(self._ends) > _REMEMBERED_ENDS:
            self._ends.pop(next(iter(self._ends)))
        note("ended", workspace=workspace.id, reason=workspace.reason)  # never the last words


def _workspace_in(request: dict[str, Any]) -> str:
    name = request.get("workspace")
    if not isinstance(name, str) or not _WORKSPACE.fullmatch(name):
        raise Invalid("workspace", "A workspace is named by 16 letters and digits.")
    return name
