"""Hashes of complete subtrees out of the database, so that a checkpoint or a proof over a million entries reads
hundreds of rows, not a million.

The roots of subtrees of 256, 65,536, … entries are kept (`ledger_nodes`, added to when a checkpoint is made); what
lies between is computed from at most 255 of the level below. What is not kept yet is computed from the entries.
"""

from __future__ import annotations

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from tre_orchestrator.errors import Unavailable
from tre_orchestrator.ledger.tables import LedgerEntry, LedgerNode
from tre_orchestrator.ledger.tre_verify import complete_root, leaf_hash
from tre_orchestrator.ledger.tree import Node

STEP = 8
"""Every eighth level is kept."""
WIDTH = 1 << STEP


def node_hash_of(session: Session, node: Node) -> bytes:
    """Hash of one complete subtree. All its entries must exist."""
    base = node.level // STEP * STEP
    count = 1 << (node.level - base)
    return complete_root(_row(session, base, node.position * count, count))


def extend_nodes(session: Session, size: int) -> None:
    """Keep the roots of all subtrees that the first `size` entries complete. The caller holds the head row.

    Raises `Unavailable` when an entry's bytes are not the ones its leaf was made from.
    """
    level = STEP
    while size >> level:
        kept = _kept(session, level)
        for position in range(kept, size >> level):
            if level == STEP:
                row = checked_leaves(session, position * WIDTH, WIDTH)
            else:
                row = _row(session, level - STEP, position * WIDTH, WIDTH)
            session.execute(insert(LedgerNode), {"level": level, "position": position, "hash": complete_root(row)})
        level += STEP


def checked_leaves(session: Session, start: int, count: int) -> list[bytes]:
    """Leaves of `count` entries from number `start` (from 0), each hashed again from its bytes."""
    query = (
        select(LedgerEntry.seq, LedgerEntry.entry, LedgerEntry.leaf)
        .where(LedgerEntry.seq > start, LedgerEntry.seq <= start + count)
        .order_by(LedgerEntry.seq)
    )
    leaves = []
    for seq, entry, leaf in session.execute(query):
        if not isinstance(entry, bytes) or leaf_hash(entry) != leaf:
            raise damaged(f"entry {seq} is not the one that was appended")
        leaves.append(leaf)
    if len(leaves) != count:
        raise damaged(f"entries are missing after number {start + len(leaves)}")
    return leaves


def damaged(what: str) -> Unavailable:
    """The error for a ledger that contradicts itself."""
    return Unavailable(
        "ledger-damaged",
        f"The ledger contradicts itself: {what}. Nothing is signed. Run `tre ledger verify` and restore a backup.",
    )


def _row(session: Session, level: int, start: int, count: int) -> list[bytes]:
    """`count` neighbouring hashes of a kept level, from number `start`."""
    if level == 0:
        leaves = select(LedgerEntry.leaf).where(LedgerEntry.seq > start, LedgerEntry.seq <= start + count)
        hashes = list(session.execute(leaves.order_by(LedgerEntry.seq)).scalars())
        if len(hashes) != count:
            raise damaged(f"entries are missing between number {start + 1} and {start + count}")
        return hashes
    nodes = select(LedgerNode.hash).where(
        LedgerNode.level == level, LedgerNode.position >= start, LedgerNode.position < start + count
    )
    hashes = list(session.execute(nodes.order_by(LedgerNode.position)).scalars())
    for position in range(start + len(hashes), start + count):
        hashes.append(complete_root(_row(session, level - STEP, position * WIDTH, WIDTH)))
    return hashes


def _kept(session: Session, level: int) -> int:
    last = session.execute(select(func.max(LedgerNode.position)).where(LedgerNode.level == level)).scalar()
    return 0 if last is None else last + 1
