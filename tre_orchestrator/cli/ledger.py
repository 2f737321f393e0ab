"""`tre ledger`: read, export and verify the ledger on the machine where it lies. Nothing here writes to it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from tre_orchestrator.cli.up import State
from tre_orchestrator.errors import Invalid, NotFound, TreError
from tre_orchestrator.ledger import checkpoints, read
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.export import export_lines
from tre_orchestrator.ledger.keys import load_signer
from tre_orchestrator.ledger.tre_verify import (
    Checkpoint,
    Key,
    NotVerified,
    read_checkpoint,
    read_key,
    read_lines,
    say_ledger,
    verify_export,
)
from tre_orchestrator.ledger.verify import verify_database
from tre_orchestrator.settings import Settings, load_settings

app = typer.Typer(help="What was agreed and done: show it, export it, verify it.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON")]
KeyFile = Annotated[Path | None, typer.Option("--key", help="A public key file. Default: this TRE's own")]


@app.command()
def show(
    state: State = None,
    subject: Annotated[str | None, typer.Option(help="Only this subject, such as request/heart/12")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind, such as project.approved")] = None,
    since: Annotated[int, typer.Option(help="Only entries after this number")] = 0,
    limit: Annotated[int, typer.Option(help="At most this many, the newest", min=1)] = 50,
    as_json: Json = False,
) -> None:
    """Show the newest entries, oldest first."""
    with _database(load_settings(state)) as db, db.read() as session:
        found = read.entries(session, subject=subject, kind=kind, since=since, limit=limit, newest_first=True)[::-1]
    if as_json:
        typer.echo(json.dumps([_as_json(entry) for entry in found], indent=2, ensure_ascii=False))
        return
    if not found:
        typer.echo("No entry matches.")
        return
    for entry in found:
        typer.echo(
            f"{entry.seq:>6}  {entry.at[:19].replace('T', ' ')}  {entry.kind}  {entry.subject}  "
            f"by {entry.actor.kind} {entry.actor.id}"
        )
        for line in (entry.facts, entry.body):
            if line:
                typer.echo(f"        {_in_words(line)}")
        if entry.erased:
            typer.echo("        (text erased)")


@app.command()
def checkpoint(
    state: State = None,
    size: Annotated[int | None, typer.Option(help="The one at this many entries. Default: the newest")] = None,
    as_json: Json = False,
) -> None:
    """Print a signed checkpoint. Keep it outside this machine: it shows later whether the past was rewritten."""
    with _database(load_settings(state)) as db, db.read() as session:
        found = _newest(session) if size is None else checkpoints.checkpoint_at(session, size)
    if as_json:
        facts = {"size": found.size, "root": found.root.hex(), "at": found.at.isoformat(), "text": found.text}
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        typer.echo(found.text, nl=False)


@app.command()
def key(
    state: State = None,
    line: Annotated[bool, typer.Option("--line", help="As a C2SP name+hash+key line instead of PEM")] = False,
) -> None:
    """Print the public key that verifies this TRE's checkpoints and bundles."""
    signer = load_signer(load_settings(state).keys_dir)
    typer.echo(f"{signer.verifier_key}\n" if line else signer.public_pem, nl=False)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to write it. An existing file is not replaced")],
    state: State = None,
    bodies: Annotated[bool, typer.Option("--bodies", help="With personal and free text, where not erased")] = False,
    as_json: Json = False,
) -> None:
    """Write all entries up to the newest checkpoint, for anyone to verify."""
    if file.exists():
        raise Invalid("file-exists", f"{file} exists. Choose another name or remove it.")
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with _database(load_settings(state)) as db, db.read() as session:
        newest = _newest(session)
        later = read.size(session) - newest.size
        try:
            with draft.open("xb") as out:
                for text in export_lines(session, newest, bodies=bodies):
                    out.write(text)
                out.flush()
                os.fsync(out.fileno())
            os.link(draft, file)
        except OSError as error:
            raise TreError("export", f"The export could not be written to {file}: {error.strerror}.") from error
        finally:
            draft.unlink(missing_ok=True)
    if as_json:
        typer.echo(json.dumps({"file": str(file), "entries": newest.size, "not_yet_signed": later}))
    else:
        typer.echo(f"{newest.size} entries written to {file}; {later} newer ones wait for the next checkpoint.")


@app.command()
def verify(
    file: Annotated[Path | None, typer.Argument(help="An export. Default: this TRE's database")] = None,
    state: State = None,
    key_file: KeyFile = None,
    since: Annotated[Path | None, typer.Option(help="A checkpoint you kept: was the past rewritten since?")] = None,
    as_json: Json = False,
) -> None:
    """Verify the ledger in the database, or an export of it. Exit code 1 and the reason when it does not hold."""
    settings = load_settings(state)
    try:
        public = _public_key(settings, key_file)
        earlier = read_checkpoint(since.read_text(encoding="utf-8"), public) if since else None
        facts, sentence = _verify_file(file, public, earlier) if file else _verify_here(settings, public, earlier)
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("unreadable", f"A file cannot be read: {error}") from error
    except NotVerified as error:
        if as_json:
            typer.echo(json.dumps({"verified": False, "reason": str(error)}))
            raise typer.Exit(1) from error
        raise TreError("not-verified", f"NOT VERIFIED: {error}") from error
    typer.echo(json.dumps({"verified": True, **facts}) if as_json else sentence)


def _verify_file(file: Path, public: Key, since: Checkpoint | None) -> tuple[dict[str, Any], str]:
    with file.open("rb") as lines:
        verdict = verify_export(read_lines(lines), public, since)
    facts = {"entries": verdict.checkpoint.size, "root": verdict.checkpoint.root.hex(), "bodies": verdict.bodies}
    return facts, say_ledger(verdict).rstrip()


def _verify_here(settings: Settings, public: Key, since: Checkpoint | None) -> tuple[dict[str, Any], str]:
    with _database(settings) as db, db.read() as session:
        verdict = verify_database(session, public, since)
    facts = {name: getattr(verdict, name) for name in verdict.__dataclass_fields__}
    kept = f"It continues your checkpoint over {since.size} entries. " if since else ""
    return facts, (
        f"Verified: {verdict.entries} entries, {verdict.signed} of them under {verdict.checkpoints} signed "
        f"checkpoints; {verdict.bodies} texts are as recorded, {verdict.erased} were erased. {kept}"
        "A rewrite with the signing key shows only against a checkpoint kept elsewhere (--since)."
    )


def _public_key(settings: Settings, file: Path | None) -> Key:
    return read_key(file.read_text(encoding="utf-8")) if file else load_signer(settings.keys_dir).key


def _newest(session: Any) -> checkpoints.Checkpoint:
    found = checkpoints.latest_checkpoint(session)
    if found is None:
        raise NotFound("no-checkpoint", "No checkpoint was made yet. The running TRE makes one soon after each change.")
    return found


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    """The database, which must exist: opening must not create an empty one."""
    url = settings.sqlalchemy_url
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise NotFound("no-database", f"There is no ledger in {settings.state_dir}. Is --state right?")
    db = Database(url)
    try:
        yield db
    finally:
        db.dispose()


def _as_json(entry: read.EntryView) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "at": entry.at,
        "kind": entry.kind,
        "actor": {"kind": entry.actor.kind, "id": entry.actor.id},
        "subject": entry.subject,
        "facts": entry.facts,
        "body": entry.body,
        "erased": entry.erased,
        "leaf": entry.leaf.hex(),
    }


def _in_words(values: Mapping[str, Any]) -> str:
    """Names and values on one line; text that could steer a terminal is shown escaped."""
    return ", ".join(
        f"{name} {value if isinstance(value, str) and value.isprintable() else json.dumps(value)}"
        for name, value in values.items()
    )
