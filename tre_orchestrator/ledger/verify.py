"""Verify this TRE's own database: what an outsider would check of an export, and what only the database can show.

Entries, chain and every checkpoint by the outsiders' verifier; then that every column beside the bytes, the kept
subtree hashes, the head row and the bodies agree with the entries' bytes, that a body that is gone was erased on the
record, and that the database still refuses to change the past.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tre_orchestrator.ledger.append import ERASED
from tre_orchestrator.ledger.entry import utc_text
from tre_orchestrator.ledger.export import EntryRow, entry_lines, entry_rows
from tre_orchestrator.ledger.guarded import why_unguarded
from tre_orchestrator.ledger.nodes import STEP, WIDTH
from tre_orchestrator.ledger.tables import (
    LedgerBody,
    LedgerCheckpoint,
    LedgerCosignature,
    LedgerEntry,
    LedgerHead,
    LedgerNode,
)
from tre_orchestrator.ledger.tre_verify import (
    Checkpoint,
    EntryReader,
    Key,
    NotVerified,
    check_continues,
    complete_root,
    leaf_hash,
    read_checkpoint,
    signature_line,
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
    signed = _checkpoints(session, key)
    columns = _Columns(session, head_seq)
    sizes = {checkpoint.size for checkpoint in signed} | ({since.size} if since else set())
    reader = EntryReader(columns.lines(), sizes)
    reader.run()
    if columns.leaf != head_leaf or _count(session, LedgerEntry) != head_seq:
        raise NotVerified("The head row does not name the newest entry.")
    if _count(session, LedgerBody) != reader.bodies:
        raise NotVerified("A text lies here that belongs to no entry.")
    columns.check_erasures()
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
    unguarded = why_unguarded(session)
    if unguarded is not None:
        raise NotVerified(f"What is here holds, but the database no longer refuses to change it: {unguarded}.")
    return DatabaseVerdict(
        entries=head_seq,
        signed=max((checkpoint.size for checkpoint in signed), default=0),
        checkpoints=len(signed),
        bodies=reader.bodies,
        erased=len(columns.erased),
        root=reader.tree.root().hex(),
    )


def _checkpoints(session: Session, key: Key) -> list[Checkpoint]:
    """Every stored checkpoint, once its signature held and its row and its witnesses' lines say the same."""
    signed = []
    for row in session.scalars(select(LedgerCheckpoint).order_by(LedgerCheckpoint.size)):
        said = read_checkpoint(row.text, key)
        if (said.size, said.root, said.time) != (row.size, row.root, utc_text(row.at)):
            raise NotVerified(f"The checkpoint of {said.time} is filed under another size, root or time than it says.")
        signed.append(said)
    for line in session.scalars(select(LedgerCosignature)):
        if signature_line(line.line)[0] != line.witness:
            raise NotVerified(f"A signature of the checkpoint over {line.size} entries is filed under another witness.")
    return signed


def _count(session: Session, table: type[LedgerEntry | LedgerBody | LedgerNode]) -> int:
    return session.execute(select(func.count()).select_from(table)).scalar_one()


class _Columns:
    """Hands the rows to the reader as lines and checks meanwhile what stands beside the bytes."""

    def __init__(self, session: Session, size: int) -> None:
        self._session = session
        self._size = size
        self.leaf = bytes(32)
        self.erased: set[int] = set()
        self.blocks: list[bytes] = []
        self._open: list[bytes] = []
        self._gone: set[int] = set()

    def lines(self) -> Iterator[bytes]:
        for row in entry_rows(self._session, self._size):
            self._check(row)
            yield from entry_lines(row, bodies=True)
        yield b"{}\n"

    def check_erasures(self) -> None:
        """A text that is gone was erased on the record, and what was erased is gone."""
        if lost := self._gone - self.erased:
            raise NotVerified(f"The text of entry {min(lost)} is gone, and no entry records that it was erased.")
        if back := self.erased - self._gone:
            raise NotVerified(
                f"The text of entry {min(back)} was erased, as an entry says, but it is here or never was."
            )

    def _check(self, row: EntryRow) -> None:
        try:
            said = json.loads(row.entry)
            filed = isinstance(row.entry, bytes) and (said["seq"], said["kind"], said["subject"], said["prev"]) == (
                row.seq,
                row.kind,
                row.subject,
                row.prev.hex(),
            )
            if said["body"] is not None and row.body is None:
                self._gone.add(row.seq)
            if said["kind"] == ERASED:
                self.erased.add(int(said["facts"]["seq"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            filed = False
        if not filed:
            raise NotVerified(
                f"Entry {row.seq} is filed under another number, kind, subject or predecessor than its bytes say."
            )
        if leaf_hash(row.entry) != row.leaf:
            raise NotVerified(f"The hash that is filed with entry {row.seq} is not that of its bytes.")
        self.leaf = row.leaf
        self._open.append(row.leaf)
        if len(self._open) == WIDTH:
            self.blocks.append(complete_root(self._open))
            self._open = []


def _check_nodes(session: Session, level_hashes: list[bytes]) -> None:
    """Every kept subtree hash is the one its entries have. `level_hashes`: the true ones of the lowest kept level."""
    level, checked = STEP, 0
    while True:
        query = select(LedgerNode.position, LedgerNode.hash).where(LedgerNode.level == level)
        kept = session.execute(query.order_by(LedgerNode.position)).all()
        if not kept:
            break
        for place, (position, kept_hash) in enumerate(kept):
            if position != place or position >= len(level_hashes) or level_hashes[position] != kept_hash:
                raise NotVerified(f"A kept subtree hash (level {level}, number {position}) is not of these entries.")
        level_hashes = [
            complete_root(level_hashes[start : start + WIDTH])
            for start in range(0, len(level_hashes) - WIDTH + 1, WIDTH)
        ]
        level, checked = level + STEP, checked + len(kept)
    if _count(session, LedgerNode) != checked:
        raise NotVerified("A subtree hash is kept at a level that these entries do not have.")
