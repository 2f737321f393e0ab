"""`tre down` and `tre restart`: what is asked of a TRE that runs. Both return when it is done, or say why it is not."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Annotated

import typer

from tre_orchestrator.cli.terminal import console
from tre_orchestrator.cli.up import State
from tre_orchestrator.errors import TreError
from tre_orchestrator.ops import health, machine
from tre_orchestrator.settings import Settings, load_settings
from tre_orchestrator.workspaces.sandbox.client import SandboxBackend

_PATIENCE_SECONDS = 60.0


def down(
    state: State = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask when workspaces are running")] = False,
) -> None:
    """End this machine's TRE with its workspaces; asks first when any are running."""
    settings = load_settings(state)
    process = machine.running_process(settings)
    backend = SandboxBackend(settings)
    running = backend.running()
    if running and not yes:
        typer.confirm(f"{len(running)} workspaces are running. End them? What is not saved is lost", abort=True)
    if process is None:
        if backend.shutdown():
            console.print("No `tre up` was running; the supervisor it left behind has been ended with its workspaces.")
        else:
            console.print("Nothing runs here.")
        return
    machine.signal_running(settings, process, signal.SIGTERM)
    _wait_until(lambda: machine.running_process(settings) is None, "not-stopped", f"Process {process} has not ended")
    console.print("Stopped.")


def restart(state: State = None) -> None:
    """Restart hub, web, gate and controller, and wait until they answer; workspaces keep running."""
    settings = load_settings(state)
    process = machine.running_process(settings)
    if process is None:
        raise TreError("not-up", "No TRE runs on this state folder. Start one with `tre up`.")
    before = {record.process: record for record in health.read_records(settings)}
    machine.signal_running(settings, process, signal.SIGUSR1)
    _wait_until(lambda: _is_restarted(settings, process, before), "not-restarted", "Not every process has answered")
    console.print(f"Restarted; every process answers: {settings.people_origin}")


def _is_restarted(settings: Settings, process: int, before: dict[str, health.ProcessRecord]) -> bool:
    """Whether every process is a new one and answers; raises `TreError` once it is known that one has failed."""
    if machine.running_process(settings) != process:
        raise TreError("not-restarted", f"`tre up` (process {process}) has ended meanwhile. See its terminal.")
    answering = 0
    for record in health.read_records(settings):
        old = before.get(record.process)
        if old is not None and record.restarts <= old.restarts:
            continue
        if record.last_exit != (old.last_exit if old else None):
            log = settings.log_dir / f"{record.process}.log"
            raise TreError("not-restarted", f"{record.process} {record.last_exit} after its restart; {log} says why.")
        answering += record.pid > 0 and health.health_of(settings, record.process).ok
    return answering == len(health.PROCESSES)


def _wait_until(done: Callable[[], bool], code: str, what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise TreError(code, f"{what} within {_PATIENCE_SECONDS:g} s. See its terminal and the folder log/.")
        time.sleep(0.1)
