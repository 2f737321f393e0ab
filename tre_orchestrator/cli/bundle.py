"""`tre bundle`: verify what left a TRE, with its public key and nothing else. No running TRE is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tre_orchestrator.cli.public_key import public_key
from tre_orchestrator.cli.up import State
from tre_orchestrator.errors import Invalid, TreError
from tre_orchestrator.ledger.tre_verify import DEFAULT_MAX_BYTES, NotVerified, say_bundle, verify_bundle

app = typer.Typer(help="Released bundles: verify one.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Released bundles."""


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The bundle, a zip file")],
    key: Annotated[Path | None, typer.Option("--key", help="A public key file. Default: this TRE's own")] = None,
    state: State = None,
    max_bytes: Annotated[int, typer.Option(help="Refuse a bundle that unpacks to more")] = DEFAULT_MAX_BYTES,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Verify a released bundle: signature, every file, and that the ledger holds its approval.

    Exit code 1 and the reason when it does not hold.
    """
    try:
        verdict = verify_bundle(file, public_key(key, state), max_bytes)
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("unreadable", f"A file cannot be read: {error}") from error
    except NotVerified as error:
        raise TreError("not-verified", f"NOT VERIFIED: {error}") from error
    if not as_json:
        typer.echo(say_bundle(verdict).rstrip())
        return
    facts = {
        "verified": True,
        "files": verdict.files,
        "bytes": verdict.bytes,
        "entry": verdict.seq,
        "checkpoint": {"size": verdict.checkpoint.size, "time": verdict.checkpoint.time},
        "release": verdict.predicate,
    }
    typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
