"""`tre`: one command for everybody. Reads are local or go through the API; decisions only through the API."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer
from sqlalchemy.exc import SQLAlchemyError

from tre_orchestrator.cli import bundle, catalogue, env, governance, ledger, person, requests, running, state, up
from tre_orchestrator.cli.terminal import as_typed
from tre_orchestrator.errors import TreError, Unavailable

app = typer.Typer(
    name="tre",
    help="Run a Trusted Research Environment: locked workspaces on approved data, and one checked way out.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
app.command()(up.up)
app.command()(running.down)
app.command()(running.restart)
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
        _fail(error)
    except OSError as error:
        _fail(_from_system(error))
    except SQLAlchemyError as error:
        _fail(_from_database(error))


def _fail(error: TreError) -> NoReturn:
    sys.stderr.write(f"tre: {as_typed(error.sentence)} [{error.code}]\n")
    sys.exit(1)


def _from_system(error: OSError) -> TreError:
    what = f"{error.filename}: " if error.filename else ""
    said = f"{what}{error.strerror or error}."
    if isinstance(error, PermissionError):
        return TreError(
            "not-permitted",
            f"{said} That belongs to another account, perhaps to the one that this TRE runs as. Run the command as "
            "that account; commands that act with your own token need only its address (--url).",
        )
    return TreError("system", f"{said} Nothing more was done. Correct that and run the command again.")


def _from_database(error: SQLAlchemyError) -> TreError:
    said = type(getattr(error, "orig", None) or error).__name__
    return Unavailable(
        "database",
        f"The database did not do what was asked ({said}). Is it the one of this TRE, and has `tre up` run on it with "
        "this version? See `tre doctor`.",
    )
