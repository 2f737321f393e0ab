"""`tre ledger`: read, export and verify the ledger on the machine where it lies, and keep a witness's signature under
one of its checkpoints. Nothing here adds, changes or decides anything. An export is verified anywhere, with a key.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from tre_orchestrator.cli.public_key import public_key
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
    kept_checkpoint,
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
    size: Annotated[
        int | None, typer.Option(help="The one at this many entries. Default: the newest", min=0, max=2**53)
    ] = None,
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
def cosign(
    file: Annotated[Path, typer.Argument(help="The witness's signature line, or the checkpoint with it")],
    witness: Annotated[str, typer.Option(help="The witness's public key, a C2SP name+hash+key line")],
    size: Annotated[
        int | None,
        typer.Option(help="Of the checkpoint at this many entries. Default: as in the file", min=0, max=2**53),
    ] = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Keep a witness's signature under a checkpoint: another organisation saw this ledger at this size.

    It is checked first, and goes out with the checkpoint from then on.
    """
    settings = load_settings(state)
    note = _text_of(file)
    name = witness.partition("+")[0]
    line = next((line for line in note.splitlines() if line.startswith(f"\u2014 {name} ")), None)
    if line is None:
        raise Invalid("cosignature", f"{file} holds no signature line of '{name}'. Is --witness the right key?")
    size = _size_said(note) if size is None else size
    now = dt.datetime.now(dt.UTC)
    with _database(settings) as db, db.write() as session:
        at = _newest(session).size if size is None else size
        kept = checkpoints.add_cosignature(session, load_signer(settings.keys_dir), at, line, witness, now)
    if as_json:
        typer.echo(json.dumps({"size": kept.size, "witness": name, "text": kept.text}, ensure_ascii=False))
    else:
        typer.echo(f"'{name}' signed the checkpoint over {kept.size} entries. It is kept, and goes out with it.")


@app.command()
def verify(
    file: Annotated[Path | None, typer.Argument(help="An export. Default: this TRE's database")] = None,
    state: State = None,
    key_file: KeyFile = None,
    since: Annotated[
        Path | None, typer.Option(help="A checkpoint, bundle or export you kept: was the past rewritten since?")
    ] = None,
    witness: Annotated[
        list[str] | None, typer.Option(help="Key of a witness who must have signed the export's checkpoint")
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify the ledger in the database, or an export of it. Exit code 1 and the reason when it does not hold."""
    public = public_key(key_file, state)
    if witness and file is None:
        raise Invalid("witness", "--witness is about an export. Write one with `tre ledger export` and name it.")
    try:
        earlier = kept_checkpoint(since, public) if since else None
        if file:
            facts, sentence = _verify_file(file, public, earlier, [read_key(line) for line in witness or ()])
        else:
            facts, sentence = _verify_here(load_settings(state), public, earlier)
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("unreadable", f"A file cannot be read: {error}") from error
    except NotVerified as error:
        if as_json:
            typer.echo(json.dumps({"verified": False, "reason": str(error)}))
            raise typer.Exit(1) from error
        raise TreError("not-verified", f"NOT VERIFIED: {error}") from error
    typer.echo(json.dumps({"verified": True, **facts}) if as_json else sentence)


def _verify_file(file: Path, public: Key, since: Checkpoint | None, witnesses: list[Key]) -> tuple[dict[str, Any], str]:
    with file.open("rb") as lines:
        verdict = verify_export(read_lines(lines), public, since, witnesses)
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


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("unreadable", f"A file cannot be read: {error}") from error


def _size_said(note: str) -> int | None:
    """The size in a checkpoint's second line; None when there are signature lines only."""
    lines = note.splitlines()
    return int(lines[1]) if len(lines) > 4 and re.fullmatch(r"[0-9]{1,15}", lines[1]) else None


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
