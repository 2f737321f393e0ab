"""How the TRE's processes are, asked over their own unix sockets; never through the front door. The supervisor of
workspaces is one of them, though `tre up` does not own it."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tre_orchestrator.errors import TreError
from tre_orchestrator.ledger.tables import LedgerEntry
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces import rows
from tre_orchestrator.workspaces.sandbox.client import SandboxBackend
from tre_orchestrator.workspaces.tables import ProofRow, WorkspaceState

_HEALTH_PATHS = {"hub": "/hub/health", "web": "/health", "gate": "/health", "controller": "/health"}
_METRICS_PATHS = {"hub": "/hub/metrics", "web": "/metrics", "gate": "/metrics", "controller": "/metrics"}
PROCESSES = tuple(_HEALTH_PATHS)
SUPERVISOR = "supervisor"


@dataclass(frozen=True)
class Health:
    """One process: whether it answers, and what it said or why not."""

    process: str
    ok: bool
    detail: str


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float = 5) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(settings: Settings, process: str, path: str) -> tuple[int, bytes]:
    """Status and body of `GET path` at a process's socket; raises OSError when it does not answer."""
    connection = UnixConnection(settings.run_dir / f"{process}.sock")
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer: {error}") from error
    finally:
        connection.close()


def health_of(settings: Settings, process: str) -> Health:
    """Ask one process how it is."""
    try:
        status, _body = ask(settings, process, _HEALTH_PATHS[process])
    except OSError as error:
        return Health(process, False, f"does not answer ({error.strerror or error})")
    return Health(process, status == 200, "answers" if status == 200 else f"answers {status}")


def supervisor_health(settings: Settings) -> Health:
    """Ask the supervisor of workspaces how it is."""
    try:
        found = SandboxBackend(settings).status()
    except TreError:
        return Health(SUPERVISOR, False, "does not answer. `tre down` and `tre up` start it again.")
    return Health(SUPERVISOR, True, f"answers: mode {found.mode}, limits by {found.limits}")


@dataclass(frozen=True)
class SupervisorFigures:
    """What the supervisor has to do: workspaces now, starts so far, and how long ago the lock was last proven."""

    workspaces: int
    starts: int
    proof_age_seconds: float | None


def supervisor_figures(session: Session, now: dt.datetime) -> SupervisorFigures:
    """The figures as the database has them; the proof is the newest that held, None before the first."""
    open_states = (WorkspaceState.starting, WorkspaceState.running, WorkspaceState.ending)
    proven = session.scalar(select(func.max(ProofRow.at)).where(ProofRow.passed))
    starts = select(func.count()).select_from(LedgerEntry).where(LedgerEntry.kind == "workspace.started")
    return SupervisorFigures(
        workspaces=len(rows.in_state(session, *open_states)),
        starts=session.execute(starts).scalar_one(),
        proof_age_seconds=None if proven is None else (now - proven).total_seconds(),
    )


def health(settings: Settings) -> list[Health]:
    """Every process's health, the supervisor's last."""
    return [*(health_of(settings, process) for process in PROCESSES), supervisor_health(settings)]


def metrics(settings: Settings, process: str) -> str:
    """A process's metrics as Prometheus text."""
    _status, body = ask(settings, process, _METRICS_PATHS[process])
    return body.decode()


def status_file(settings: Settings) -> Path:
    """Where `tre up` keeps what it started, when, and how often it had to start it again."""
    return settings.run_dir / "status.json"


@dataclass(frozen=True)
class ProcessRecord:
    """What `tre up` knows of one process it watches."""

    process: str
    pid: int
    started_at: str
    restarts: int
    last_exit: str | None


def write_records(settings: Settings, records: list[ProcessRecord]) -> None:
    """Replace the status file in one step."""
    path = status_file(settings)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps([asdict(record) for record in records]), encoding="utf-8")
    fresh.replace(path)


def read_records(settings: Settings) -> list[ProcessRecord]:
    """What the running `tre up` last wrote; empty when none runs."""
    try:
        return [ProcessRecord(**record) for record in json.loads(status_file(settings).read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
