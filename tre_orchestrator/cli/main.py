"""`tre`: one command for everybody. Reads are local or go through the API; decisions only through the API."""

from __future__ import annotations

import sys

import typer

from tre_orchestrator.cli import bundle, catalogue, env, governance, ledger, person, requests, state, up
from tre_orchestrator.errors import TreError

app = typer.Typer(
    name="tre",
    help="Run a Trusted Research Environment: locked workspaces on approved data, and one checked way out.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
app.command()(up.up)
app.command()(up.down)
app.command()(up.restart)
for part in (state, person, catalogue, governance):
    part.add_to(app)
app.add_typer(ledger.app, name="ledger")
app.add_typer(bundle.app, name="bundle")
app.add_typer(requests.app, name="request")
app.add_typer(env.app, name="env")


def main() -> None:
    """Run the command; a failure is one sentence on standard error and exit code 1."""
    try:
        app()
    except TreError as error:
        sys.stderr.write(f"tre: {error.sentence} [{error.code}]\n")
        sys.exit(1)
