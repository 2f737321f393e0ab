"""`tre up`: one machine's TRE as a whole.

`tre up` prepares the state folder, starts the supervisor (which keeps people's workspaces through crashes and
restarts), then the web, hub, gate and controller, watches them, and says how to get in. Ending it ends the workspaces,
after a warning.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import getpass
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.markup import escape

from tre_orchestrator.airlock.store import make_store
from tre_orchestrator.catalogue.names import PersonId, WorkspaceId
from tre_orchestrator.cli.terminal import console
from tre_orchestrator.demo.seed import seed
from tre_orchestrator.errors import TreError
from tre_orchestrator.governance.credentials import issue_login_link
from tre_orchestrator.governance.load import list_people
from tre_orchestrator.governance.people import why_not_person
from tre_orchestrator.governance.secrets import create_all_secrets
from tre_orchestrator.ledger.append import Actor
from tre_orchestrator.ledger.append import console as at_console
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.schema import upgrade
from tre_orchestrator.ops import machine, privilege
from tre_orchestrator.ops.keeper import Keeper
from tre_orchestrator.ops.watch import Watcher
from tre_orchestrator.settings import Settings, load_settings, save_settings
from tre_orchestrator.workspaces import environment, rows
from tre_orchestrator.workspaces.ending import EndReason, end
from tre_orchestrator.workspaces.sandbox.client import SandboxBackend
from tre_orchestrator.workspaces.sandbox.supervisor import ensure_running
from tre_orchestrator.workspaces.tables import WorkspaceState

_STOPPED = EndReason("tre-stopped", "The TRE on this machine was stopped. Start the workspace again when it is back.")
_WARNING_SECONDS = 5.0

State = Annotated[Path | None, typer.Option("--state", help="The state folder. Default: TRE_STATE_DIR, else .tre")]


def up(
    state: State = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Invented people, projects and data to try everything with")
    ] = False,
    host: Annotated[str | None, typer.Option(help="Address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on")] = None,
) -> None:
    """Bring this machine's TRE up and keep it up until Ctrl-C or `tre down`."""
    given = {"listen_host": host, "listen_port": port, "demo": demo or None}
    settings = load_settings(state, **{key: value for key, value in given.items() if value is not None})
    settings = settings.model_copy(update={"cache_dir": settings.cache})  # the same one after root has been given up
    machine.refuse_public_demo(settings)
    machine.refuse_without_room(settings.state_dir)
    machine.prepare(settings)
    operator = at_console(getpass.getuser())
    with machine.only_one(settings):
        machine.refuse_taken_port(settings)
        built = environment.build(settings, _told_progress)
        save_settings(settings)
        signals = _Signals()
        backend = SandboxBackend(settings)
        survived = backend.is_up()
        mode = ensure_running(settings)
        keeper = Keeper(backend.is_up, lambda: ensure_running(settings), _warn)
        try:
            console.print(f"Workspaces run in {mode.name} mode: {mode.reason}")
            if privilege.is_root():
                privilege.reveal(privilege.needed_paths(settings.state_dir, built, *settings.data_roots))
                privilege.drop()
            db, watcher = _start(settings, signals)
        except BaseException:
            keeper.stop()
            if not survived:  # workspaces that outlived an earlier crash are left to the next try
                backend.shutdown()
            raise
        _keep_up(db, settings, watcher, signals, operator)
        _end(db, settings, watcher, signals, keeper)
        db.dispose()


def _start(settings: Settings, signals: _Signals) -> tuple[Database, Watcher]:
    """Everything up to the moment when every process answers; nothing but the supervisor is left by a failure."""
    create_all_secrets(settings.keys_dir)
    make_store(settings)
    db = Database(settings.sqlalchemy_url)
    upgrade(db)
    if settings.demo:
        seed(db, settings, _now(), _told_progress)
    watcher = Watcher(settings, _warn, lambda: signals.end > 0)
    try:
        watcher.start()
    except BaseException:
        watcher.stop()
        raise
    return db, watcher


def _keep_up(db: Database, settings: Settings, watcher: Watcher, signals: _Signals, operator: Actor) -> None:
    if not signals.end:
        _say_ready(db, settings, operator)
    while not signals.end:
        if signals.take_restart():
            _restart(settings, watcher)
        watcher.tick()
        time.sleep(0.1)


def _restart(settings: Settings, watcher: Watcher) -> None:
    _say("Restarting; workspaces keep running.")
    try:
        watcher.restart()
    except TreError as error:
        _warn(f"{error.sentence} It is tried again.")
    else:
        _say(f"Ready again: {settings.people_origin}")


class _Signals:
    """Ctrl-C and a closed terminal ask to end, a second one and SIGTERM ask for it at once, SIGUSR1 to restart."""

    def __init__(self) -> None:
        self.end = 0
        self._restart = False
        signal.signal(signal.SIGINT, self._on_end)
        signal.signal(signal.SIGTERM, self._on_end_now)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            signal.signal(signal.SIGHUP, self._on_end)
        signal.signal(signal.SIGUSR1, self._on_restart)

    def take_restart(self) -> bool:
        """Whether a restart was asked for since the last call."""
        asked, self._restart = self._restart, False
        return asked

    def _on_end(self, _number: int, _frame: FrameType | None) -> None:
        self.end += 1

    def _on_end_now(self, _number: int, _frame: FrameType | None) -> None:
        self.end += 2

    def _on_restart(self, _number: int, _frame: FrameType | None) -> None:
        self._restart = True


def _end(db: Database, settings: Settings, watcher: Watcher, signals: _Signals, keeper: Keeper) -> None:
    """End workspaces (their ends are recorded), then the processes, then the supervisor: nothing stays behind."""
    backend = SandboxBackend(settings)
    try:
        if (count := len(_open_workspaces(db))) and signals.end < 2:
            _warn(
                f"{count} workspaces are running and will be ended in {_WARNING_SECONDS:g} s: what is not saved is "
                "lost, home folders and outputs stay. Ctrl-C again ends them now."
            )
            deadline = time.monotonic() + _WARNING_SECONDS
            while signals.end < 2 and time.monotonic() < deadline:
                time.sleep(0.1)
        watcher.stop()
        for workspace in _open_workspaces(db):
            with _told():
                end(db, settings, backend, workspace, _STOPPED, _now())
    except TreError as error:
        _warn(f"{error.sentence} Workspaces end all the same; the next start records it.")
    finally:
        watcher.stop()
        keeper.stop()
        backend.shutdown()
    _say("Stopped. `tre up` picks up where it was.")


def _open_workspaces(db: Database) -> list[WorkspaceId]:
    with db.read() as session:
        views = rows.in_state(session, WorkspaceState.starting, WorkspaceState.running, WorkspaceState.ending)
        return [view.id for view in views]


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """One workspace's trouble is told; the others are ended all the same."""
    try:
        yield
    except TreError as error:
        _warn(error.sentence)


def _say_ready(db: Database, settings: Settings, operator: Actor) -> None:
    console.print(f"\n[bold green]Ready:[/] {settings.people_origin}")
    with db.read() as session:
        has_people = bool(list_people(session))
    if not settings.demo and has_people:
        return
    if not settings.demo:
        console.print(
            "The first person gets in so: describe yourself in a YAML file (`tre schema Person` shows its form), with "
            "the role ops, and run `tre person first FILE` here: it prints a one-time link."
        )
        return
    console.print("One-time links, valid for 10 minutes, each for one sign-in (`tre demo links` prints fresh ones):")
    say_links(db, settings, operator)
    console.print(
        "\nTry first: open the link of Ana Silva, start the workspace of a project, read a dataset, write a table to "
        "/outputs, and ask for its release. Then sign in as the two checkers and vote.\n"
        "Ctrl-C ends everything."
    )


def say_links(db: Database, settings: Settings, operator: Actor) -> None:
    """Print one fresh sign-in link for every person."""
    now = _now()
    with db.write() as session:
        people = [(person, why_not_person(person, now)) for person in list_people(session)]
        links = [
            (person, issue_login_link(session, PersonId(person.metadata.name), now, actor=operator))
            for person, why_not in people
            if why_not is None
        ]
    width = max((len(person.spec.full_name) for person, _ in links), default=0)
    for person, token in links:
        what = ", ".join([*person.spec.roles, *(f"controller for {name}" for name in person.spec.controller_of)])
        name = escape(f"{person.spec.full_name:<{width}}")
        console.print(f"  {name}  {settings.sign_in_link(token)}  ({what})")
    for person, why_not in people:
        if why_not is not None:
            console.print(escape(f"  {person.spec.full_name}: no link. {why_not.sentence}"))


def _say(sentence: str) -> None:
    """Tell the terminal; one that has been closed must not end the TRE half way."""
    with contextlib.suppress(OSError):
        console.print(sentence)


def _warn(sentence: str) -> None:
    _say(f"[yellow]{escape(sentence)}[/]")


def _told_progress(step: str, percent: int) -> None:
    console.print(f"  {percent:3d} %  {step}")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
