"""Verify this TRE's own database: what an outsider would check of an export, and what only the database can show.

Entries, chain and every checkpoint by the outsiders' verifier; then that look-up columns, kept subtree hashes, the
head row and the bodies agree with the entries' bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.ledger.checkpoints import latest_checkpoint
from tre_orchestrator.ledger.export import EntryRow, entry_lines, entry_rows
from tre_orchestrator.ledger.nodes import STEP, WIDTH
from tre_orchestrator.ledger.tables import LedgerCheckpoint, LedgerHead, LedgerNode
from tre_orchestrator.ledger.tre_verify import (
    Checkpoint,
    EntryReader,
    Key,
    NotVerified,
    check_continues,
    complete_root,
    read_checkpoint,
)


@dataclass(frozen=True, slots=True)
class DatabaseVerdict:
    """What held: all `entries`, of which the newest checkpoint covers `signed`; `bodies` opened, `erased` gone."""

    entries: int
    signed: int
    checkpoints: int
    bodies: int
    erased: int
    root: str


def verify_database(session: Session, key: Key, since: Checkpoint | None = None) -> DatabaseVerdict:
    """Verify the ledger as it lies in the database; raises `NotVerified` at the first thing that does not hold.

    `key` is the public key of the TRE, `since` an earlier checkpoint that was kept elsewhere.
    """
    head_seq, head_leaf = session.execute(select(LedgerHead.seq, LedgerHead.leaf)).one()
    signed = [read_checkpoint(text, key) for text in session.execute(select(LedgerCheckpoint.text)).scalars()]
    columns = _Columns(session, head_seq)
    sizes = {checkpoint.size for checkpoint in signed} | ({since.size} if since else set())
    reader = EntryReader(columns.lines(), sizes)
    reader.run()
    if columns.leaf != head_leaf:
        raise NotVerified("The head row does not name the newest entry.")
    for checkpoint in signed:
        if checkpoint.size > head_seq or reader.roots[checkpoint.size] != checkpoint.root:
            raise NotVerified(
                f"The checkpoint of {checkpoint.time} over {checkpoint.size} entries is not of the {head_seq} entries "
                "that are here: entries were changed or cut off."
            )
    if since is not None:
        origin = signed[0].origin if signed else since.origin
        check_continues(since, Checkpoint(origin, head_seq, reader.tree.root(), "now"), reader.roots)
    _check_nodes(session, columns.blocks)
    latest = latest_checkpoint(session)
    return DatabaseVerdict(
        entries=head_seq,
        signed=latest.size if latest else 0,
        checkpoints=len(signed),
        bodies=reader.bodies,
        erased=columns.erased,
        root=reader.tree.root().hex(),
    )


class _Columns:
    """Hands the rows to the reader as lines and checks meanwhile what stands beside the bytes."""

    def __init__(self, session: Session, size: int) -> None:
        self._session = session
        self._size = size
        self.leaf = bytes(32)
        self.erased = 0
        self.blocks: list[bytes] = []
        self._open: list[bytes] = []

    def lines(self) -> Iterator[bytes]:
        for row in entry_rows(self._session, self._size):
            self._check(row)
            yield from entry_lines(row, bodies=True)
        yield b"{}\n"

    def _check(self, row: EntryRow) -> None:
        try:
            said = json.loads(row.entry)
            agrees = isinstance(row.entry, bytes) and (said["seq"], said["kind"], said["subject"]) == (
                row.seq,
                row.kind,
                row.subject,
            )
            self.erased += said["body"] is not None and row.body is None
        except (ValueError, KeyError, TypeError):
            agrees = False
        if not agrees:
            raise NotVerified(f"Entry {row.seq} is filed under another number, kind or subject than its bytes say.")
        self.leaf = row.leaf
        self._open.append(row.leaf)
        if len(self._open) == WIDTH:
            self.blocks.append(complete_root(self._open))
            self._open = []


def _check_nodes(session: Session, level_hashes: list[bytes]) -> None:
    """Every kept subtree hash is the one its entries have. `level_hashes`: the true ones of the lowest kept level."""
    level = STEP
    while True:
        query = select(LedgerNode.position, LedgerNode.hash).where(LedgerNode.level == level)
        kept = session.execute(query.order_by(LedgerNode.position)).all()
        if not kept:
            return
        for position, kept_hash in kept:
            if position >= len(level_hashes) or level_hashes[position] != kept_hash:
                raise NotVerified(f"A kept subtree hash (level {level}, number {position}) is not of these entries.")
        level_hashes = [
            complete_root(level_hashes[start : start + WIDTH])
            for start in range(0, len(level_hashes) - WIDTH + 1, WIDTH)
        ]
        level += STEP
