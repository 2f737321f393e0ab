"""The gate's rows: tickets that open a frame once, and the frames that were opened.

Both are kept by the SHA-256 of a random token, so that a reader of the database cannot become anybody. They are rows
and not memory so that a restart of the gate, or a second gate, neither forgets nor doubles one.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from tre_orchestrator.ledger.database import Base


class TicketRow(Base):
    """A promise to open one workspace for one session, once, within seconds."""

    __tablename__ = "gate_tickets"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    workspace: Mapped[str] = mapped_column(String(16))
    nonce: Mapped[str] = mapped_column(String(16))
    person: Mapped[str] = mapped_column(String(30))
    session_id: Mapped[str] = mapped_column(String(16))
    expires_at: Mapped[dt.datetime]
    used_at: Mapped[dt.datetime | None]


class FrameRow(Base):
    """A browser that a ticket let into one start of one workspace."""

    __tablename__ = "gate_frames"
    __table_args__ = (Index(None, "expires_at"),)

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    workspace: Mapped[str] = mapped_column(String(16))
    nonce: Mapped[str] = mapped_column(String(16))
    person: Mapped[str] = mapped_column(String(30))
    session_id: Mapped[str] = mapped_column(String(16))
    opened_at: Mapped[dt.datetime]
    expires_at: Mapped[dt.datetime]
