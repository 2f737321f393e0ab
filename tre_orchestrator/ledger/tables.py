"""The ledger's tables. Entries, subtree hashes and checkpoints are only ever added to; `guards.py` makes the database
itself refuse anything else. A body may be deleted (erasure), never changed.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, SmallInteger, Text
from sqlalchemy.orm import Mapped, mapped_column

from tre_orchestrator.ledger.database import Base
from tre_orchestrator.ledger.guards import guard

_Big = BigInteger().with_variant(Integer, "sqlite")


class LedgerEntry(Base):
    """One entry: `entry` holds the exact bytes that are hashed; `kind` and `subject` repeat them for look-up only."""

    __tablename__ = "ledger_entries"
    __table_args__ = (Index("ix_ledger_entries_subject", "subject"), Index("ix_ledger_entries_kind", "kind"))

    seq: Mapped[int] = mapped_column(_Big, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    prev: Mapped[bytes]
    leaf: Mapped[bytes]
    entry: Mapped[bytes]


class LedgerHead(Base):
    """One row: number and leaf of the newest entry. Locked by every append, so that there is one order."""

    __tablename__ = "ledger_head"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(_Big)
    leaf: Mapped[bytes]


class LedgerBody(Base):
    """The detachable part of an entry, and the salt of its commitment. Deleting the row erases it."""

    __tablename__ = "ledger_bodies"

    seq: Mapped[int] = mapped_column(_Big, ForeignKey("ledger_entries.seq"), primary_key=True, autoincrement=False)
    salt: Mapped[bytes]
    body: Mapped[bytes]


class LedgerNode(Base):
    """Hash of a complete subtree of 2^level entries, number `position` from the left; levels 8, 16, 24, …"""

    __tablename__ = "ledger_nodes"

    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(_Big, primary_key=True, autoincrement=False)
    hash: Mapped[bytes]


class LedgerCheckpoint(Base):
    """A signed statement: the first `size` entries have this root. `text` is the signed note as it was given out."""

    __tablename__ = "ledger_checkpoints"

    size: Mapped[int] = mapped_column(_Big, primary_key=True, autoincrement=False)
    root: Mapped[bytes]
    text: Mapped[str] = mapped_column(Text)
    at: Mapped[dt.datetime]


class LedgerCosignature(Base):
    """A witness's signature line for a checkpoint: another organisation saw this root."""

    __tablename__ = "ledger_cosignatures"

    size: Mapped[int] = mapped_column(
        _Big, ForeignKey("ledger_checkpoints.size"), primary_key=True, autoincrement=False
    )
    witness: Mapped[str] = mapped_column(Text, primary_key=True)
    line: Mapped[str] = mapped_column(Text)
    at: Mapped[dt.datetime]


for _model in (LedgerEntry, LedgerHead, LedgerBody, LedgerNode, LedgerCheckpoint, LedgerCosignature):
    guard(_model.__table__)
