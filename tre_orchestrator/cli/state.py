"""Reading commands about this machine's TRE (`status`, `doctor`, `metrics`), signing in, and the demo's links."""

from __future__ import annotations

import datetime as dt
import getpass
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tre_orchestrator.cli.client import Url, api, is_token, token_path
from tre_orchestrator.cli.terminal import console
from tre_orchestrator.cli.up import State, say_links
from tre_orchestrator.demo.seed import is_demo
from tre_orchestrator.errors import Invalid, TreError
from tre_orchestrator.ledger.append import console as at_console
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ops import doctor as checks
from tre_orchestrator.ops import health, machine
from tre_orchestrator.settings import Settings, load_settings
from tre_orchestrator.workspaces import rows
from tre_orchestrator.workspaces.tables import WorkspaceState

Json = Annotated[bool, typer.Option("--json", help="Print JSON")]
demo = typer.Typer(help="The demo's own commands.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add these commands to `tre`."""
    app.command()(status)
    app.command()(doctor)
    app.command()(metrics)
    app.command()(login)
    app.command()(whoami)
    app.add_typer(demo, name="demo")


def status(state: State = None, as_json: Json = False) -> None:
    """What runs here: processes with their restarts, and workspaces. Exit code 1 when something does not run."""
    settings = load_settings(state)
    process = machine.running_process(settings)
    answers = {name: health.health_of(settings, name) for name in health.PROCESSES} if process else {}
    records = health.read_records(settings) if process else []
    workspaces, figures = _from_database(settings)
    supervisor = health.supervisor_health(settings)
    ok = process is not None and supervisor.ok and all(answer.ok for answer in answers.values())
    if as_json:
        facts = {
            "up": process is not None,
            "ok": ok,
            "process": process,
            "url": settings.people_origin,
            "processes": [{**asdict(record), **asdict(answers[record.process])} for record in records],
            "supervisor": {**asdict(supervisor), **(asdict(figures) if figures else {})},
            "workspaces": workspaces,
        }
        typer.echo(json.dumps(facts, indent=2))
        raise typer.Exit(0 if ok else 1)
    if process is None:
        console.print(f"No TRE runs on {settings.state_dir}. Start one with `tre up`.")
        raise typer.Exit(1)
    console.print(f"Up at {settings.people_origin} (process {process})")
    table = Table("process", "state", "since (UTC)", "restarts", "last end")
    for record in records:
        answer = answers[record.process]
        table.add_row(
            record.process, answer.detail, record.started_at, str(record.restarts), record.last_exit or "never ended"
        )
    console.print(table)
    console.print(f"The supervisor of workspaces {supervisor.detail}")
    if not workspaces:
        console.print("No workspace is running.")
    for workspace in workspaces:
        console.print(f"Workspace of {workspace['person']} in {workspace['project']}, since {workspace['started_at']}")
    raise typer.Exit(0 if ok else 1)


def doctor(state: State = None, as_json: Json = False) -> None:
    """What this machine lacks, and which guarantee that weakens. Exit code 1 when a workspace cannot run here."""
    results = checks.examine(load_settings(state))
    if as_json:
        typer.echo(json.dumps([asdict(result) for result in results], indent=2))
    else:
        for result in results:
            mark = {"ok": "[green]ok  [/]", "weaker": "[yellow]weak[/]", "missing": "[red]no  [/]"}[result.verdict]
            console.print(f"{mark}  {result.what}: {result.found}")
            if result.effect:
                console.print(f"      {result.effect}")
    raise typer.Exit(1 if any(result.verdict == "missing" for result in results) else 0)


def metrics(process: Annotated[str, typer.Argument(help="hub, web, gate or controller")], state: State = None) -> None:
    """Print a process's metrics (Prometheus text), which the front door does not serve."""
    if process not in health.PROCESSES:
        raise Invalid("no-process", f"There is no process '{process}': choose one of {', '.join(health.PROCESSES)}.")
    try:
        typer.echo(health.metrics(load_settings(state), process))
    except OSError as error:
        raise TreError("no-answer", f"{process} does not answer ({error}). Is the TRE up? See `tre status`.") from error


def login(
    token: Annotated[str, typer.Option(prompt="Token (from your account page)", hide_input=True)],
    state: State = None,
    url: Url = None,
) -> None:
    """Sign in with the short-lived token from your account page; it is kept for you alone."""
    if not is_token(token):
        raise Invalid(
            "not-a-token", "That is not a token of a TRE: it starts with tre_. Copy it from your account page."
        )
    path = token_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(token + "\n", encoding="utf-8")
    person = api(state, url).get("/api/me")
    console.print(f"Signed in as {person['full_name']}.")


def whoami(state: State = None, url: Url = None) -> None:
    """Who the kept token belongs to."""
    console.print(api(state, url).get("/api/me")["full_name"])


@demo.command("links")
def links(state: State = None) -> None:
    """Print a fresh one-time sign-in link for every invented person."""
    settings = load_settings(state)
    db = _database(settings)
    try:
        with db.read() as session:
            if not is_demo(session):
                raise TreError("not-a-demo", "This is not a demo: people here sign in with their own accounts.")
        say_links(db, settings, at_console(getpass.getuser()))
    finally:
        db.dispose()


def _from_database(settings: Settings) -> tuple[list[dict[str, str]], health.SupervisorFigures | None]:
    """The workspaces that run, and the supervisor's figures; nothing where there is no database yet."""
    if not _sqlite_exists(settings):
        return [], None
    db = _database(settings)
    try:
        with db.read() as session:
            views = rows.in_state(session, WorkspaceState.starting, WorkspaceState.running, WorkspaceState.ending)
            workspaces = [
                {
                    "workspace": view.id,
                    "person": view.person,
                    "project": view.project,
                    "state": view.state,
                    "started_at": view.started_at.isoformat(timespec="seconds") if view.started_at else "starting",
                }
                for view in views
            ]
            return workspaces, health.supervisor_figures(session, dt.datetime.now(dt.UTC))
    finally:
        db.dispose()


def _database(settings: Settings) -> Database:
    if not _sqlite_exists(settings):
        raise TreError("no-state", f"There is no TRE in {settings.state_dir}. Start one with `tre up`, or say --state.")
    return Database(settings.sqlalchemy_url)


def _sqlite_exists(settings: Settings) -> bool:
    return bool(settings.database_url) or Path(settings.state_dir / "tre.sqlite").exists()
