"""A backend whose workspaces are tiny servers at the real listener's path; they outlive what started them."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.workspaces.fake_backend import START
from tre_orchestrator.catalogue.names import WorkspaceId
from tre_orchestrator.errors import Unavailable
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces.backend import BackendStatus, CollectedFile, Handle, Progress, Status
from tre_orchestrator.workspaces.plan import WorkspacePlan
from tre_orchestrator.workspaces.proof import ProbeResult, ProofRecord

_SERVER = """
import socket, sys, time
time.sleep(1.5)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
while True:
    peer, _ = listener.accept()
    peer.recv(65536)
    peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: 2\\r\\n\\r\\n[]")
    peer.close()
"""


class ProcessBackend:
    """Remembers in files, so that a restarted hub finds what runs. A file `fail` holds a reason to refuse a start;
    while there is a file `hold`, a start waits."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.state_dir / "running"
        self._folder.mkdir(exist_ok=True)

    def start(self, plan: WorkspacePlan, lock: str, progress: Progress) -> Handle:
        if (self._settings.state_dir / "fail").exists():
            raise Unavailable("no-room", (self._settings.state_dir / "fail").read_text())
        progress("Making the sandbox", 50)
        while (self._settings.state_dir / "hold").exists():
            time.sleep(0.02)
        socket = self._settings.run_dir / "ws" / plan.socket_name
        socket.parent.mkdir(exist_ok=True)
        process = subprocess.Popen([sys.executable, "-c", _SERVER, str(socket)], start_new_session=True)
        (self._folder / plan.workspace).write_text(f"{process.pid} {plan.nonce}")
        return self._handle(WorkspaceId(plan.workspace))

    def stop(self, workspace: WorkspaceId) -> None:
        path = self._folder / workspace
        if path.exists():
            pid = int(path.read_text().split()[0])
            path.unlink()
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
                while alive(pid):
                    time.sleep(0.01)

    def poll(self, workspace: WorkspaceId) -> Status:
        runs = any(handle.workspace == workspace for handle in self.running())
        return Status(runs, None if runs else "its server ended", 0.0, 0)

    def running(self) -> tuple[Handle, ...]:
        handles = [self._handle(WorkspaceId(path.name)) for path in self._folder.iterdir()]
        return tuple(handle for handle in handles if alive(handle.pid))

    def lease(self, workspaces: Sequence[WorkspaceId], seconds: float) -> None:
        pass

    def collect(self, workspace: WorkspaceId, folder: str) -> Iterator[CollectedFile]:
        return iter(())

    def erase(self, workspace: WorkspaceId, project: str) -> None:
        pass

    def prove(self, plan: WorkspacePlan) -> ProofRecord:
        return ProofRecord("a" * 64, dt.datetime.now(dt.UTC), "test", True, (ProbeResult("x", True, False, True),))

    def status(self) -> BackendStatus:
        return BackendStatus("test", "a" * 64, "none", False, ())

    def _handle(self, workspace: WorkspaceId) -> Handle:
        pid, nonce = (self._folder / workspace).read_text().split()
        socket = self._settings.run_dir / "ws" / f"{workspace}-{nonce}.sock"
        return Handle(workspace, Path(socket), nonce, int(pid), START)


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
