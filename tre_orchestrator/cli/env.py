"""`tre env`: the locked environment that workspaces run in. Works on this machine, needs nobody signed in."""

from __future__ import annotations

import typer
from rich.progress import BarColumn, Progress, TextColumn

from tre_orchestrator.errors import Unavailable
from tre_orchestrator.settings import load_settings
from tre_orchestrator.workspaces import environment

app = typer.Typer(help="Build and check the workspaces' environment.", no_args_is_help=True)


@app.command()
def build() -> None:
    """Build the environment from its lock, unless it is there and whole."""
    with Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %")) as bar:
        task = bar.add_task("Workspace environment", total=100)

        def show(step: str, percent: int) -> None:
            bar.update(task, description=step, completed=percent)

        folder = environment.build(load_settings(), show)
    typer.echo(f"Workspace environment: {folder}")


@app.command()
def path() -> None:
    """Print the environment's folder."""
    typer.echo(str(environment.environment_dir(load_settings())))


@app.command()
def verify() -> None:
    """Check every file of the environment against the lock."""
    folder = environment.find_environment(load_settings())
    reason = environment.why_not_whole(folder)
    if reason:
        raise Unavailable("environment-broken", f"{folder} is not what the lock says: {reason}. Run `tre env build`.")
    typer.echo(f"{folder}: {len(environment.pins())} packages, every file as locked.")
