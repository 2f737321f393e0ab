"""The catalogue from the command line: check it, print its schema, apply it as yourself, and hash dataset versions.

Checking and printing are local. Applying goes through the API with your own token. Hashing works on this machine's
files and records what they are; it gives nobody access.
"""

from __future__ import annotations

import datetime as dt
import getpass
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.models import explicit_fields
from tre_orchestrator.catalogue.names import DatasetName
from tre_orchestrator.catalogue.read import CatalogueErrors, Fault, Located, read_path
from tre_orchestrator.catalogue.schema import catalogue_schema, kind_schema
from tre_orchestrator.cli.client import Url, api
from tre_orchestrator.cli.terminal import console
from tre_orchestrator.cli.up import State
from tre_orchestrator.governance import datasets
from tre_orchestrator.governance.apply import check_coherent
from tre_orchestrator.ledger.append import console as at_console
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import ForeignState, Settings, load_settings

dataset_app = typer.Typer(help="Hash a dataset version's files, and check them.", no_args_is_help=True)

Where = Annotated[Path, typer.Argument(help="A YAML file, or a folder with YAML files")]


def add_to(parent: typer.Typer) -> None:
    """Add `tre validate`, `tre schema`, `tre apply` and `tre dataset` to `tre`."""
    parent.command()(validate)
    parent.command()(schema)
    parent.command()(apply)
    parent.add_typer(dataset_app, name="dataset")


def validate(path: Where, state: State = None) -> None:
    """Check catalogue YAML as `tre apply` would; prints every error as file:line: field: reason.

    Where this machine's TRE may be read, the files are checked as a change of its catalogue, else on their own.
    """
    with _told_errors():
        found = read_path(path)
        objects = [one.obj for one in found]
        with _catalogue(state) as session:
            try:
                check_coherent(session, objects)
            except CatalogueErrors as errors:
                raise _placed(errors, found) from errors
    against = "on their own" if session is None else "with the catalogue of this TRE"
    console.print(f"{path}: {_counted(found)}, no errors. Checked {against}.")


@contextmanager
def _catalogue(state: Path | None) -> Iterator[Session | None]:
    """The database with this machine's catalogue; None where there is none or it is another account's."""
    try:
        settings = load_settings(state)
        here = bool(settings.database_url) or (settings.state_dir / "tre.sqlite").exists()
    except (PermissionError, ForeignState):
        here = False
    if not here:
        yield None
        return
    db = Database(settings.sqlalchemy_url)
    try:
        with db.read() as session:
            yield session
    finally:
        db.dispose()


def schema(
    kind: Annotated[str | None, typer.Argument(help="Project, Dataset, Person or PolicyProfile")] = None,
) -> None:
    """Print the JSON Schema of catalogue YAML, for your editor."""
    typer.echo(json.dumps(kind_schema(kind) if kind else catalogue_schema(), indent=2))


def apply(path: Where, state: State = None, url: Url = None) -> None:
    """Apply catalogue YAML as yourself (role ops): all of it, or nothing and every reason."""
    with _told_errors():
        found = read_path(path)
        try:
            answer = api(state, url).post("/api/catalogue", [explicit_fields(one.obj) for one in found])
        except CatalogueErrors as errors:
            raise _placed(errors, found) from errors
    for word in ("created", "changed", "unchanged"):
        for name in answer[word]:
            console.print(f"{word:<9} {name}")


@dataset_app.command("add")
def add(
    dataset: Annotated[str, typer.Argument(help="The dataset's name in the catalogue")],
    version: Annotated[str, typer.Argument(help="A version that the catalogue declares")],
    state: State = None,
) -> None:
    """Hash the declared folder of a version and record it, so that its controllers can grant it."""
    with _at_work(state) as (db, settings, told):
        manifest = datasets.add_version(
            db, settings, DatasetName(dataset), version, at_console(getpass.getuser()), dt.datetime.now(dt.UTC), told
        )
    console.print(f"Recorded {dataset} {version}: {manifest.files} files, {manifest.bytes:,} bytes")
    console.print(f"manifest {manifest.digest}")


@dataset_app.command("verify")
def verify(dataset: str, version: str, state: State = None) -> None:
    """Hash every file of a version again. Exit code 1 when anything differs from what was recorded."""
    with _at_work(state) as (db, settings, told):
        result = datasets.verify_version(
            db, settings, DatasetName(dataset), version, at_console(getpass.getuser()), dt.datetime.now(dt.UTC), told
        )
    for problem in result.problems:
        console.print(f"{dataset} {version}: {problem}")
    if result.problems:
        raise typer.Exit(1)
    console.print(f"{dataset} {version}: all {result.manifest.files} files are as recorded.")


@contextmanager
def _told_errors() -> Iterator[None]:
    """Print each fault on a line of its own, as editors and CI read them; exit code 1."""
    try:
        yield
    except CatalogueErrors as errors:
        for fault in errors.faults:
            typer.echo(str(fault), err=True)
        count = len(errors.faults)
        typer.echo(f"{count} error{'s' if count > 1 else ''}; nothing was applied.", err=True)
        raise typer.Exit(1) from errors


@contextmanager
def _at_work(state: Path | None) -> Iterator[tuple[Database, Settings, datasets.Progress]]:
    settings = load_settings(state)
    db = Database(settings.sqlalchemy_url)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("Hashing", total=100)

            def told(path: str, percent: int) -> None:
                bar.update(task, description=path, completed=percent)

            yield db, settings, told
    finally:
        db.dispose()


def _placed(errors: CatalogueErrors, found: list[Located]) -> CatalogueErrors:
    """The server's faults name objects; give each the file and line it was declared at."""
    by_name = {one.name: one for one in found}
    faults = []
    for fault in errors.faults:
        one = by_name.get(fault.file)
        faults.append(Fault(one.file, one.line_of(fault.field), fault.field, fault.reason) if one else fault)
    return CatalogueErrors(faults)


def _counted(found: list[Located]) -> str:
    kinds = [type(one.obj).__name__ for one in found]
    return ", ".join(f"{kinds.count(kind)} × {kind}" for kind in sorted(set(kinds)))
