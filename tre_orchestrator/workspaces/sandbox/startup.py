"""Makes sure that a supervisor runs for a state folder; of two calls at once one starts it and both find it running."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tre_orchestrator.errors import Unavailable
from tre_orchestrator.workspaces.sandbox import kernel, wire
from tre_orchestrator.workspaces.sandbox.arguments import Mode
from tre_orchestrator.workspaces.sandbox.modes import Choice
from tre_orchestrator.workspaces.sandbox.options import ROOT_STATE, Options

if TYPE_CHECKING:
    from tre_orchestrator.settings import Settings

SERVICE_UID = 1_999_999_999
"""Whom a supervisor that root started takes orders from; just below the workspaces' own uids."""

START_SECONDS = 20.0
_MODULE = "tre_orchestrator.workspaces.sandbox.supervisor"


def ensure_running(settings: Settings) -> Choice:
    """Start the supervisor unless it runs; returns the privilege mode it chose, and why.

    Raises `Unavailable` with the supervisor's own words when it cannot run on this machine.
    """
    return ensure_running_with(options_for(settings), settings.log_dir / "supervisor.log")


def options_for(settings: Settings) -> Options:
    """What the supervisor is told, from the settings as its starter sees them."""
    from tre_orchestrator.workspaces.environment import environment_dir, inside_dir

    return Options(
        state_dir=settings.state_dir,
        run_dir=settings.run_dir,
        data_roots=settings.all_data_roots,
        environment=environment_dir(settings),
        inside=inside_dir(),
        software=settings.software_dir,
        privilege=settings.privilege,
        lease_seconds=settings.lease_seconds,
        service=SERVICE_UID if os.geteuid() == 0 else os.geteuid(),
        root_state=ROOT_STATE,
    )


def ensure_running_with(options: Options, log: Path) -> Choice:
    """The same for given options; the supervisor writes its log to `log`."""
    choice = _ask(options.socket)
    if choice:
        return choice
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    descriptor = kernel.open_beneath(str(options.state_dir), str(log), flags, 0o600)
    begin = os.fstat(descriptor).st_size
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-m", _MODULE, *options.words()],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(Path(__file__).parents[3])},
        )
    finally:
        os.close(descriptor)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        choice = _ask(options.socket)
        if choice:
            return choice
        if process.poll() not in (None, 0):  # 0: another one was first and is about to answer
            break
        time.sleep(0.02)
    words = _last_words(log, begin)
    raise Unavailable("supervisor-not-started", f"The supervisor of workspaces did not start. {words}".strip())


def _ask(path: Path) -> Choice | None:
    """The running supervisor's mode, or None when none answers."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(5)
            connection.connect(str(path))
            connection.sendall(wire.line({"op": "status"}))
            with connection.makefile("rb") as stream:
                said = wire.read_line(stream)
    except (OSError, Unavailable):
        return None
    return Choice(Mode(said["mode"]), said["reason"])


def _last_words(log: Path, begin: int) -> str:
    """The sentence that the supervisor ended with; its log lines are JSON and are passed over."""
    with open(log, "rb") as stream:
        stream.seek(begin)
        lines = stream.read(64 * 1024).decode(errors="replace").splitlines()
    spoken = [line.strip() for line in lines if line.strip() and not _is_json(line)]
    return spoken[-1] if spoken else f"Its log {log} may say why."


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
