"""The sandbox as a `Backend`: each call is one request to the supervisor over its socket.

When no supervisor answers, nothing can be running (workspaces die with it), so `poll`, `running` and `stop` say so and
everything else is refused with what to do.
"""

from __future__ import annotations

import datetime as dt
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tre_orchestrator.catalogue.names import ProjectName, WorkspaceId
from tre_orchestrator.errors import Unavailable
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces.backend import BackendStatus, CollectedFile, Handle, Progress, Status
from tre_orchestrator.workspaces.plan import WorkspacePlan
from tre_orchestrator.workspaces.proof import ProofRecord, record_from
from tre_orchestrator.workspaces.sandbox import wire

READY_SECONDS = 90.0
_ANSWER_SECONDS = 30.0
_PROOF_SECONDS = 120.0
_ERASE_SECONDS = 310.0
_EXPECTED_START_SECONDS = 3.0
_STEP_SECONDS = 0.3
_LAST_WORDS_SECONDS = 3.0


class SandboxBackend:
    """Workspaces of one state folder."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.run_dir / "supervisor.sock"

    def is_up(self) -> bool:
        """Whether a supervisor answers; raises `Unavailable` when it cannot be told."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(5)
                connection.connect(str(self._path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise _unreachable(error) from error
        return True

    def start(self, plan: WorkspacePlan, lock: str, progress: Progress) -> Handle:
        """Start the workspace whose plan lies in its folder; returns when its server answers."""
        request = {"op": "start", "workspace": plan.workspace, "lock": lock}
        with self._conversation(request, _ANSWER_SECONDS * 3) as stream:
            while True:
                said = _checked(wire.read_line(stream))
                if "ok" in said:
                    break
                progress(said["step"], said["percent"])
        handle = _handle(said)
        self._wait_until_it_answers(handle, progress)
        self._ask({"op": "ready", "workspace": handle.workspace})
        progress("JupyterLab answers", 100)
        return handle

    def stop(self, workspace: WorkspaceId) -> None:
        """End it; returns when its last process is gone."""
        if self.is_up():
            self._ask({"op": "stop", "workspace": workspace})

    def poll(self, workspace: WorkspaceId) -> Status:
        """Whether it runs now, and what it has used."""
        if not self.is_up():
            return Status(False, "The supervisor of workspaces ended, and every workspace with it.", 0.0, 0)
        said = self._ask({"op": "poll", "workspace": workspace})
        return Status(said["running"], said["reason"], said["cpu"], said["memory"])

    def running(self) -> tuple[Handle, ...]:
        """Every workspace that runs now."""
        if not self.is_up():
            return ()
        return tuple(_handle(said) for said in self._ask({"op": "list"})["workspaces"])

    def lease(self, workspaces: Sequence[WorkspaceId], seconds: float) -> None:
        """Let these go on for `seconds`, at most as long as the supervisor was told to allow."""
        self._ask({"op": "lease", "workspaces": list(workspaces), "seconds": seconds})

    def collect(self, workspace: WorkspaceId, folder: str) -> Iterator[CollectedFile]:
        """The files of a folder below /outputs, frozen while they are read.

        Raises `Refused` with every reason, `NotFound` for no such folder. After any error throw away what came before.
        """
        request = {"op": "collect", "workspace": workspace, "folder": folder}
        with self._conversation(request, _PROOF_SECONDS) as stream:
            while True:
                said = _checked(wire.read_line(stream))
                if "ok" in said:
                    return
                chunks = wire.receive_chunks(stream)
                yield CollectedFile(said["file"], said["size"], chunks)
                for _ in chunks:  # what the caller did not read stands before the next file
                    pass

    def erase(self, workspace: WorkspaceId, project: ProjectName) -> None:
        """Delete all that the workspace and its project's shared folder hold; refused while one of them runs."""
        with self._conversation({"op": "erase", "workspace": workspace, "project": project}, _ERASE_SECONDS) as stream:
            _checked(wire.read_line(stream))

    def prove(self, plan: WorkspacePlan) -> ProofRecord:
        """Try the lock from inside. The lock is the same for every plan, so only its presence matters here."""
        with self._conversation({"op": "prove"}, _PROOF_SECONDS) as stream:
            return record_from(_checked(wire.read_line(stream))["record"])

    def status(self) -> BackendStatus:
        """How workspaces run on this machine."""
        said = self._ask({"op": "status"})
        warnings = tuple(said["warnings"])
        return BackendStatus(said["mode"], said["lock_digest"], said["limits"], said["disk_cap"], warnings)

    def shutdown(self) -> bool:
        """End the supervisor with every workspace; returns when it is gone. False: none was running."""
        if not self.is_up():
            return False
        self._ask({"op": "shutdown"})
        deadline = time.monotonic() + _ANSWER_SECONDS
        while self._path.exists():
            if time.monotonic() > deadline:
                raise Unavailable("supervisor-stuck", "The supervisor of workspaces does not end. Look at its log.")
            time.sleep(0.02)
        return True

    def _wait_until_it_answers(self, handle: Handle, progress: Progress) -> None:
        """The listener takes the connection at once; the answer comes when the server inside is ready."""
        begin = time.monotonic()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
            raw.settimeout(_ANSWER_SECONDS)
            with suppress(ConnectionError, FileNotFoundError):  # it has ended; the supervisor knows why
                raw.connect(str(handle.socket))
                raw.sendall(b"GET /api HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                while not select.select([raw], [], [], _STEP_SECONDS)[0]:
                    spent = time.monotonic() - begin
                    progress("Starting JupyterLab", 40 + int(55 * spent / (spent + _EXPECTED_START_SECONDS)))
                    if spent > READY_SECONDS:
                        self.stop(handle.workspace)
                        raise Unavailable("not-ready", f"JupyterLab did not answer within {READY_SECONDS:g} seconds.")
                if raw.recv(5) == b"HTTP/":
                    return
        deadline = time.monotonic() + _LAST_WORDS_SECONDS
        while (status := self.poll(handle.workspace)).running and time.monotonic() < deadline:
            time.sleep(0.02)
        self.stop(handle.workspace)
        why = status.reason or "Its server closed the connection."
        raise Unavailable("not-started", f"The workspace ended while it was starting. {why}")

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._conversation(request, _ANSWER_SECONDS) as stream:
            return _checked(wire.read_line(stream))

    @contextmanager
    def _conversation(self, request: dict[str, Any], seconds: float) -> Iterator[IO[bytes]]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            try:
                connection.connect(str(self._path))
                connection.sendall(wire.line(request))
                with connection.makefile("rb") as stream:
                    yield stream
            except OSError as error:
                raise _unreachable(error) from error


def _unreachable(error: OSError) -> Unavailable:
    why = error.strerror or "no answer in time"
    return Unavailable(
        "supervisor",
        f"The supervisor of workspaces does not answer ({why}). `tre up` starts it.",
    )


def _checked(said: dict[str, Any]) -> dict[str, Any]:
    if "error" in said:
        raise wire.error_from(said["error"])
    return said


def _handle(said: dict[str, Any]) -> Handle:
    return Handle(
        workspace=WorkspaceId(said["workspace"]),
        socket=Path(said["socket"]),
        nonce=said["nonce"],
        pid=said["pid"],
        started_at=dt.datetime.fromisoformat(said["started_at"]),
    )
