"""The rows of workspaces, of the proofs of their lock, and of the bytes that went to browsers.

A workspace's row is made at its first start and kept: the opaque id, its folders and its host name stay the same for
this person in this project. `claim` says which process is starting it now, and until when that is believed.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tre_orchestrator.ledger.database import Base


class WorkspaceState(StrEnum):
    """Where a workspace is in its life."""

    stopped = "stopped"
    starting = "starting"
    running = "running"
    ending = "ending"


class WorkspaceRow(Base):
    """One analyst's environment in one project."""

    __tablename__ = "workspaces"
    __table_args__ = (UniqueConstraint("person", "project"), Index("ix_workspaces_state", "state"))

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    person: Mapped[str] = mapped_column(String(30))
    project: Mapped[str] = mapped_column(String(30))
    state: Mapped[str] = mapped_column(String(10), default=WorkspaceState.stopped.value)
    nonce: Mapped[str] = mapped_column(String(16), default="")
    socket: Mapped[str] = mapped_column(String(200), default="")
    pid: Mapped[int] = mapped_column(default=0)
    pid_birth: Mapped[str] = mapped_column(String(60), default="")
    """Boot id and start tick of that process (empty: it had ended when it was looked at)."""
    claim: Mapped[str] = mapped_column(String(16), default="")
    claim_until: Mapped[dt.datetime | None]
    started_at: Mapped[dt.datetime | None]
    ends_at: Mapped[dt.datetime | None]
    """When it ends at the latest: the tier's maximum life, or sooner when the right was lost."""
    longest_until: Mapped[dt.datetime | None]
    """When the tier's maximum life is over; `ends_at` goes back to it when a lost right comes back."""
    right_lost_at: Mapped[dt.datetime | None]
    warning: Mapped[str] = mapped_column(default="")
    """What the banner says about the coming end; empty while none is near."""
    last_activity: Mapped[dt.datetime | None]
    end_code: Mapped[str] = mapped_column(String(40), default="")
    end_reason: Mapped[str] = mapped_column(default="")
    """Why it is stopped (or could not start), a sentence for the person."""
    datasets: Mapped[list[Any]] = mapped_column(default=list)
    """What was mounted at the last start: [{"name", "version", "manifest"}]."""
    project_digest: Mapped[str] = mapped_column(String(64), default="")


class ProofRow(Base):
    """One try of the lock: passed or not, for which lock, on which machine."""

    __tablename__ = "proofs"

    id: Mapped[int] = mapped_column(primary_key=True)
    lock_digest: Mapped[str] = mapped_column(String(64), index=True)
    at: Mapped[dt.datetime]
    node: Mapped[str] = mapped_column(String(100))
    passed: Mapped[bool]
    record: Mapped[dict[str, Any]]


class MeterRow(Base):
    """Bytes that went to one person's browser from one project on one day (UTC)."""

    __tablename__ = "meters"

    person: Mapped[str] = mapped_column(String(30), primary_key=True)
    project: Mapped[str] = mapped_column(String(30), primary_key=True)
    day: Mapped[dt.date] = mapped_column(primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger, default=0)
