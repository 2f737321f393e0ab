"""The ledger as JSON lines for outsiders: a header, every entry's exact bytes, the checkpoint that covers them.

With `bodies`, the text of an entry follows it, with its salt, where it was not erased. The entries are those of the
checkpoint, no more: what came later is in the next export.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.ledger.canonical import canonical
from tre_orchestrator.ledger.checkpoints import Checkpoint
from tre_orchestrator.ledger.tables import LedgerBody, LedgerEntry

_BATCH = 2000


class EntryRow(NamedTuple):
    """An entry as it lies in the database, with its body where there is one."""

    seq: int
    kind: str
    subject: str
    prev: bytes
    leaf: bytes
    entry: bytes
    salt: bytes | None
    body: bytes | None


def export_lines(session: Session, checkpoint: Checkpoint, *, bodies: bool = False) -> Iterator[bytes]:
    """The lines of an export up to `checkpoint`, each with its newline."""
    yield header_line(checkpoint.text.partition("\n")[0])
    for row in entry_rows(session, checkpoint.size):
        yield from entry_lines(row, bodies=bodies)
    yield checkpoint_line(checkpoint.text)


def header_line(origin: str) -> bytes:
    """The first line of an export."""
    return canonical({"export": "tre-ledger", "origin": origin, "v": 1}) + b"\n"


def checkpoint_line(text: str) -> bytes:
    """The last line of an export."""
    return canonical({"checkpoint": text}) + b"\n"


def entry_rows(session: Session, size: int) -> Iterator[EntryRow]:
    """The first `size` entries in order, with their bodies where there are any; read in batches."""
    done = 0
    while done < size:
        query = (
            select(
                LedgerEntry.seq,
                LedgerEntry.kind,
                LedgerEntry.subject,
                LedgerEntry.prev,
                LedgerEntry.leaf,
                LedgerEntry.entry,
                LedgerBody.salt,
                LedgerBody.body,
            )
            .outerjoin(LedgerBody, LedgerBody.seq == LedgerEntry.seq)
            .where(LedgerEntry.seq > done, LedgerEntry.seq <= min(done + _BATCH, size))
            .order_by(LedgerEntry.seq)
        )
        yield from map(EntryRow._make, session.execute(query))
        done += _BATCH


def entry_lines(row: EntryRow, *, bodies: bool) -> Iterator[bytes]:
    """One entry as its line, and its text as the next when that is asked for and there."""
    yield row.entry + b"\n"
    if bodies and row.body is not None and row.salt is not None:
        yield canonical({"body": row.body.decode(), "salt": row.salt.hex(), "seq": row.seq}) + b"\n"
