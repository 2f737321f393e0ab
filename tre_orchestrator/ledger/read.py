"""Reading the ledger back for pages, the register and reconciliation: entries as the stored bytes say, bodies while
they exist.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.ledger.entry import Actor
from tre_orchestrator.ledger.tables import LedgerBody, LedgerEntry, LedgerHead

DEFAULT_LIMIT = 100


@dataclass(frozen=True, slots=True)
class EntryView:
    """One entry. `at` is UTC text as stored. `body` is None when there never was one or when it was erased."""

    seq: int
    at: str
    kind: str
    actor: Actor
    subject: str
    facts: Mapping[str, Any]
    body: Mapping[str, Any] | None
    leaf: bytes
    erased: bool


def entries(
    session: Session,
    *,
    subject: str | None = None,
    kind: str | None = None,
    since: int = 0,
    limit: int = DEFAULT_LIMIT,
    newest_first: bool = False,
) -> list[EntryView]:
    """Entries after number `since`, at most `limit`, of one subject and one kind when these are given."""
    query = (
        select(LedgerEntry.seq, LedgerEntry.entry, LedgerEntry.leaf, LedgerBody.body)
        .outerjoin(LedgerBody, LedgerBody.seq == LedgerEntry.seq)
        .where(LedgerEntry.seq > since)
        .order_by(LedgerEntry.seq.desc() if newest_first else LedgerEntry.seq)
        .limit(limit)
    )
    if subject is not None:
        query = query.where(LedgerEntry.subject == subject)
    if kind is not None:
        query = query.where(LedgerEntry.kind == kind)
    return [_view(entry, leaf, body) for _seq, entry, leaf, body in session.execute(query)]


def size(session: Session) -> int:
    """How many entries there are."""
    return session.execute(select(LedgerHead.seq)).scalar_one()


def _view(entry: bytes, leaf: bytes, body: bytes | None) -> EntryView:
    said = json.loads(entry)
    return EntryView(
        seq=said["seq"],
        at=said["at"],
        kind=said["kind"],
        actor=Actor(said["actor"]["kind"], said["actor"]["id"]),
        subject=said["subject"],
        facts=said["facts"],
        body=None if body is None else json.loads(body),
        leaf=leaf,
        erased=said["body"] is not None and body is None,
    )
