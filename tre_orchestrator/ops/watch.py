"""Starts the TRE's processes and keeps them running.

A process that ends is started again after a wait that doubles from half a second to half a minute, and the fact is
written down and told. All of them end with the watcher, whatever ends it (PR_SET_PDEATHSIG); the supervisor and the
workspaces it owns do not, so a crash or a restart leaves people's work running.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tre_orchestrator.errors import Unavailable
from tre_orchestrator.ops.health import ProcessRecord, health_of, write_records
from tre_orchestrator.settings import Settings

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
_STEADY_SECONDS = 60.0
_STOP_SECONDS = 10.0
_LOG_BYTES = 20 * 1024 * 1024
_PR_SET_PDEATHSIG = 1


def commands(settings: Settings) -> dict[str, list[str]]:
    """What to run, in the order of start."""
    hub_config = Path(__file__).resolve().parents[1] / "hub" / "config.py"
    return {
        "web": [sys.executable, "-m", "tre_orchestrator.web"],
        "hub": [sys.executable, "-m", "jupyterhub", "-f", str(hub_config)],
        "gate": [sys.executable, "-m", "tre_orchestrator.gate"],
        "controller": [sys.executable, "-m", "tre_orchestrator.controller"],
    }


@dataclass
class _Watched:
    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    started_at: str = ""
    restarts: int = 0
    last_exit: str | None = None
    wait: float = _FIRST_WAIT
    due: float = 0.0


@dataclass
class Watcher:
    """Owns the processes of one TRE. `tell` receives a sentence for each thing a person should know; once `is_over`
    says so, no answer is waited for."""

    settings: Settings
    tell: Callable[[str], None]
    is_over: Callable[[], bool] = lambda: False
    _all: list[_Watched] = field(default_factory=list)

    def start(self) -> None:
        """Start everything; returns when every process answers, or raises `Unavailable` with its last words."""
        self._all = [_Watched(name, command) for name, command in commands(self.settings).items()]
        for watched in self._all:
            self._launch(watched)
        self._await_answers()

    def tick(self) -> None:
        """Start again what has ended and is due."""
        moment = time.monotonic()
        for watched in self._all:
            process = watched.process
            if process is not None and process.poll() is not None:
                watched.last_exit = _told(process.returncode)
                watched.process = None
                if moment - watched.started > _STEADY_SECONDS:
                    watched.wait = _FIRST_WAIT
                watched.due = moment + watched.wait
                self.tell(f"{watched.name} {watched.last_exit}; starting it again in {watched.wait:g} s.")
                watched.wait = min(watched.wait * 2, _LONGEST_WAIT)
                self._write()
            elif process is None and moment >= watched.due:
                watched.restarts += 1
                try:
                    self._launch(watched)
                except OSError as error:
                    watched.due = moment + watched.wait
                    self.tell(f"{watched.name} cannot be started ({error.strerror}); again in {watched.wait:g} s.")

    def restart(self) -> None:
        """Stop and start every process; the supervisor and its workspaces are not touched."""
        self.stop()
        for watched in self._all:
            watched.restarts += 1
            self._launch(watched)
        self._await_answers()

    def stop(self) -> None:
        """End every process by its own id, last started first; kill what does not end in time."""
        for watched in reversed(self._all):
            if watched.process is not None and watched.process.poll() is None:
                watched.process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for watched in self._all:
            if watched.process is None:
                continue
            try:
                watched.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                watched.process.kill()
                watched.process.wait()
            watched.process = None
        self._write()

    def _launch(self, watched: _Watched) -> None:
        environment = {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.settings.state_dir),
            "USER": "tre",
            "LOGNAME": "tre",
            "PYTHONUNBUFFERED": "1",
            "TRE_STATE_DIR": str(self.settings.state_dir),
        }
        log = _log_file(self.settings.log_dir / f"{watched.name}.log")
        parent = os.getpid()
        with log.open("ab") as sink:
            watched.process = subprocess.Popen(
                watched.command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=environment,
                cwd=self.settings.state_dir,
                start_new_session=True,
                preexec_fn=lambda: _end_with(parent),
            )
        watched.started = time.monotonic()
        watched.started_at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        self._write()

    def _await_answers(self, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        for watched in self._all:
            while not self.is_over() and not health_of(self.settings, watched.name).ok:
                ended = watched.process is not None and watched.process.poll() is not None
                if ended or time.monotonic() > deadline:
                    what = "ended at its start" if ended else f"did not answer within {seconds:g} s"
                    raise Unavailable("no-start", f"{watched.name} {what}. {self._last_words(watched.name)}")
                time.sleep(0.05)

    def _last_words(self, name: str) -> str:
        path = self.settings.log_dir / f"{name}.log"
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"Its log {path} ends: {lines[-1][:500]}" if lines else f"Its log {path} is empty."

    def _write(self) -> None:
        records = [
            ProcessRecord(w.name, w.process.pid if w.process else 0, w.started_at, w.restarts, w.last_exit)
            for w in self._all
        ]
        try:
            write_records(self.settings, records)
        except OSError as error:  # a full disk must not end what runs
            self.tell(f"What runs could not be noted for `tre status` ({error.strerror}).")


def _log_file(path: Path) -> Path:
    """`path`, after its full predecessor has been put aside as `.1`."""
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path


def _end_with(parent: int) -> None:
    """Ask the kernel to end this process when its parent ends, also when that has just happened."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def _told(returncode: int) -> str:
    if returncode < 0:
        return f"was ended by {signal.Signals(-returncode).name}"
    return f"ended with code {returncode}"
