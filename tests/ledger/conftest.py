"""A ledger to attack: its signer, its export and its public key as files in a folder of their own."""

from __future__ import annotations

import base64
import datetime as dt
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.ledger import tre_verify
from tre_orchestrator.ledger.append import append, person
from tre_orchestrator.ledger.checkpoints import make_checkpoint
from tre_orchestrator.ledger.database import Base, Database
from tre_orchestrator.ledger.export import checkpoint_line, export_lines
from tre_orchestrator.ledger.keys import Signer, load_or_create_signer
from tre_orchestrator.ledger.tables import LedgerEntry

VERIFIER = Path(tre_verify.__file__)
NOW = dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC)


def fill(db: Database, count: int, start: int = 0, text: str = "as agreed") -> None:
    """Append `count` entries, every third with a body, in one transaction."""
    with db.write() as session:
        for number in range(start, start + count):
            append(
                session,
                "grant.given",
                person(f"controller-{number % 3}"),
                f"dataset/heart-{number % 5}",
                {"number": number, "until": "2027-01-31"},
                body={"conditions": text} if number % 3 == 0 else None,
                now=NOW + dt.timedelta(seconds=number),
            )


def newest(session: Session) -> LedgerEntry:
    """The entry that was appended last, as it lies in the database."""
    return session.scalars(select(LedgerEntry).order_by(LedgerEntry.seq.desc()).limit(1)).one()


@dataclass(frozen=True)
class Exported:
    """An export as lines, and the checkpoints that were kept while it grew."""

    signer: Signer
    lines: tuple[bytes, ...]
    checkpoints: dict[int, str]


def exported(folder: Path, sizes: tuple[int, ...], signer: Signer, *, bodies: bool = True) -> Exported:
    """A ledger with a checkpoint at each of `sizes`, exported at the last."""
    db = Database(f"sqlite:///{folder / 'ledger.sqlite'}")
    Base.metadata.create_all(db.engine)
    checkpoints, done = {}, 0
    for size in sizes:
        fill(db, size - done, done)
        done = size
        with db.write() as session:
            newest = make_checkpoint(session, signer, NOW + dt.timedelta(days=1, seconds=size))
        checkpoints[size] = newest.text
    with db.read() as session:
        lines = tuple(export_lines(session, newest, bodies=bodies))
    db.dispose()
    return Exported(signer, lines, checkpoints)


def signed_again(ledger: Exported, entries: Sequence[bytes]) -> list[bytes]:
    """An export that the TRE's own key signs: what its operator could make of the past."""
    grown = tre_verify.Tree()
    grown.extend([tre_verify.leaf_hash(line[:-1]) for line in entries])
    root = base64.b64encode(grown.root()).decode()
    note = ledger.signer.note(f"{ledger.signer.name}\n{len(entries)}\n{root}\ntime 2027-01-01T00:00:00.000000Z\n")
    return [ledger.lines[0], *entries, checkpoint_line(note)]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """40 entries with checkpoints at 12, 25 and 40, and bodies."""
    folder = tmp_path_factory.mktemp("ledger")
    return exported(folder, (12, 25, 40), load_or_create_signer(folder))


@dataclass(frozen=True)
class Said:
    """What the stand-alone verifier answered."""

    code: int
    out: str
    error: str


RunVerifier = Callable[..., Said]


@pytest.fixture
def outsider(tmp_path: Path) -> RunVerifier:
    """Runs a copy of the verifier in an empty folder, isolated: it cannot import the package it comes from."""
    folder = tmp_path / "outsider"
    folder.mkdir()
    copy = folder / "tre_verify.py"
    copy.write_bytes(VERIFIER.read_bytes())

    def run(*arguments: str | Path) -> Said:
        done = subprocess.run(
            [sys.executable, "-I", copy, *arguments], cwd=folder, env={}, capture_output=True, text=True, timeout=120
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def key_file(tmp_path: Path, ledger: Exported) -> Path:
    """The ledger's public key, as an outsider has it."""
    path = tmp_path / "key.pem"
    path.write_text(ledger.signer.public_pem)
    return path
