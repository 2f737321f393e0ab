"""Signed checkpoints, and proofs against them: what lets an outsider notice a rewritten ledger.

A checkpoint is only ever made of committed entries, and only when it continues the one before: a signature cannot
cover what was rolled back, and this machine does not sign a history that contradicts its own last word.
"""

from __future__ import annotations

import base64
import datetime as dt
from dataclasses import dataclass
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.errors import Invalid, NotFound
from tre_orchestrator.ledger import tree
from tre_orchestrator.ledger.append import appended_in_this_transaction
from tre_orchestrator.ledger.database import is_write
from tre_orchestrator.ledger.entry import utc_text
from tre_orchestrator.ledger.keys import Signer
from tre_orchestrator.ledger.nodes import WIDTH, checked_leaves, damaged, extend_nodes, node_hash_of
from tre_orchestrator.ledger.tables import LedgerCheckpoint, LedgerCosignature, LedgerHead
from tre_orchestrator.ledger.tre_verify import Key, NotVerified, read_checkpoint, read_key


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The first `size` entries have this root; `text` is the signed note, with the witnesses' lines."""

    size: int
    root: bytes
    text: str
    at: dt.datetime


def make_checkpoint(session: Session, signer: Signer, now: dt.datetime) -> Checkpoint:
    """Sign the ledger as it stands, in a transaction of its own. With no new entry, the latest one is returned.

    Raises `Unavailable` when the ledger contradicts itself or its latest checkpoint was signed by another key.
    """
    if not is_write(session) or appended_in_this_transaction(session):
        raise RuntimeError("make_checkpoint() needs a Database.write() of its own: it signs committed entries only")
    head = session.execute(select(LedgerHead.seq, LedgerHead.leaf).with_for_update()).one()
    latest = latest_checkpoint(session)
    if latest is not None:
        _must_continue(session, latest, head.seq, signer)
        if latest.size == head.seq:
            return latest
    extend_nodes(session, head.seq)
    tail = head.seq % WIDTH
    if tail and checked_leaves(session, head.seq - tail, tail)[-1] != head.leaf:
        raise damaged("its head is not its newest entry")
    root = tree.root(head.seq, partial(node_hash_of, session))
    at = now.astimezone(dt.UTC)
    text = signer.note(f"{signer.name}\n{head.seq}\n{base64.b64encode(root).decode()}\ntime {utc_text(at)}\n")
    session.add(LedgerCheckpoint(size=head.seq, root=root, text=text, at=at))
    session.flush()
    return Checkpoint(head.seq, root, text, at)


def latest_checkpoint(session: Session) -> Checkpoint | None:
    """The newest checkpoint with its cosignatures, or None before the first."""
    row = session.execute(select(LedgerCheckpoint).order_by(LedgerCheckpoint.size.desc()).limit(1)).scalar()
    return None if row is None else _with_witnesses(session, row)


def checkpoint_at(session: Session, size: int) -> Checkpoint:
    """The checkpoint that covers exactly `size` entries. Raises `NotFound` when none was made."""
    row = session.get(LedgerCheckpoint, size)
    if row is None:
        raise NotFound("no-checkpoint", f"No checkpoint was made at {size} entries.")
    return _with_witnesses(session, row)


def inclusion_proof(session: Session, seq: int, size: int) -> list[bytes]:
    """Proof that entry `seq` (from 1) is among the first `size`; at most 64 hashes, no neighbour's entry."""
    return tree.inclusion(seq - 1, size, partial(node_hash_of, session))


def consistency_proof(session: Session, old: int, new: int) -> list[bytes]:
    """Proof that the ledger at `new` entries continues the one at `old`."""
    return tree.consistency(old, new, partial(node_hash_of, session))


def add_cosignature(
    session: Session, signer: Signer, size: int, line: str, witness: str, now: dt.datetime
) -> Checkpoint:
    """Keep a witness's signature line for the checkpoint at `size`; `witness` is its C2SP `name+hash+key`.

    Raises `Invalid` unless the line is one, by that witness, over exactly that checkpoint.
    """
    checkpoint = checkpoint_at(session, size)
    line = line.rstrip("\n")
    try:
        key: Key = read_key(witness)
        if not key.name or key.name == signer.name or "\n" in line:
            raise NotVerified("A witness signs one line, under a name of its own.")
        read_checkpoint(f"{checkpoint.text}{line}\n", signer.key, [key])
    except NotVerified as error:
        raise Invalid("cosignature", f"The witness's signature was not added: {error}") from error
    if session.get(LedgerCosignature, (size, key.name)) is None:
        session.add(LedgerCosignature(size=size, witness=key.name, line=line, at=now))
        session.flush()
    return checkpoint_at(session, size)


def _must_continue(session: Session, latest: Checkpoint, size: int, signer: Signer) -> None:
    try:
        signed = read_checkpoint(latest.text, signer.key)
    except NotVerified as error:
        raise damaged(f"its latest checkpoint was not signed by this machine's key ({error})") from error
    if signed.size != latest.size or size < signed.size:
        raise damaged(f"it has {size} entries, but {signed.size} were signed")
    if tree.root(signed.size, partial(node_hash_of, session)) != signed.root:
        raise damaged(f"its first {signed.size} entries are not those that were signed")


def _with_witnesses(session: Session, row: LedgerCheckpoint) -> Checkpoint:
    lines = session.execute(
        select(LedgerCosignature.line).where(LedgerCosignature.size == row.size).order_by(LedgerCosignature.witness)
    ).scalars()
    return Checkpoint(row.size, row.root, row.text + "".join(f"{line}\n" for line in lines), row.at)
