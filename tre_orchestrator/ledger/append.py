"""Append an entry in the transaction of the state it records (R1): both commit, or neither.

Every append takes the one head row, so entries have one order on SQLite and PostgreSQL alike and no two follow the
same one. The lock is held until the caller commits: change state first, append last, then commit.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sqlalchemy import Connection, delete
from sqlalchemy.orm import Session, SessionTransaction

from tre_orchestrator.errors import Invalid, NotFound, Unavailable
from tre_orchestrator.ledger.canonical import Json, canonical
from tre_orchestrator.ledger.commitments import SALT_BYTES, commitment_digest
from tre_orchestrator.ledger.database import is_write
from tre_orchestrator.ledger.entry import Actor, Around, around_link, console, person, software
from tre_orchestrator.ledger.tables import LedgerBody, LedgerEntry
from tre_orchestrator.ledger.tre_verify import leaf_hash

__all__ = ["Actor", "Appended", "append", "appended_in_this_transaction", "console", "erase_body", "person", "software"]

BODY_MAX_BYTES = 1024 * 1024
ERASED = "body.erased"
"""The kind of the entry that records an erasure; its fact `seq` names the entry whose text is gone."""
_NO_FACTS: Mapping[str, Json] = MappingProxyType({})
_APPENDED_IN = "tre_ledger_appended_in"
_Detached = tuple[bytes, bytes]
"""Salt and canonical bytes of a body."""


@dataclass(frozen=True, slots=True)
class Appended:
    """The new entry: its number (from 1), its leaf hash in the tree, its exact bytes."""

    seq: int
    leaf: bytes
    entry: bytes


def append(
    session: Session,
    kind: str,
    actor: Actor,
    subject: str,
    facts: Mapping[str, Json] = _NO_FACTS,
    *,
    body: Mapping[str, Json] | None = None,
    now: dt.datetime,
) -> Appended:
    """Add one entry to the ledger, in the session's transaction.

    `kind` is dotted ("project.approved"), `subject` a path ("request/heart/12"). `facts` are safe to publish (ids,
    digests, numbers, dates). Personal or free text goes into `body`: the entry then holds only a salted commitment.
    Raises `Invalid` for a value without canonical form, `Unavailable` when the ledger cannot take it.
    """
    if not is_write(session):
        raise RuntimeError("append() outside Database.write(): the entry would not be committed")
    detached = None if body is None else (secrets.token_bytes(SALT_BYTES), canonical(body))
    if detached is not None and len(detached[1]) > BODY_MAX_BYTES:
        raise Invalid("ledger-too-long", f"The text for the ledger is over {BODY_MAX_BYTES} bytes. Shorten it.")
    commitment = None if detached is None else commitment_digest(*detached)
    around = around_link(kind, actor, subject, facts, commitment, now)
    session.flush()
    connection = session.connection()
    chain = _insert_postgresql if connection.dialect.name == "postgresql" else _insert_sqlite
    appended = chain(connection, kind, subject, around, detached)
    session.info[_APPENDED_IN] = session.get_transaction()
    return appended


def appended_in_this_transaction(session: Session) -> bool:
    """Whether this session's open transaction holds an entry that is not committed yet."""
    transaction: SessionTransaction | None = session.info.get(_APPENDED_IN)
    return transaction is not None and transaction is session.get_transaction()


def erase_body(session: Session, seq: int, actor: Actor, reason: str, now: dt.datetime) -> Appended:
    """Erase the body and salt of entry `seq`; the erasure is an entry of its own, with the reason as its body.

    The tree stays whole: it only ever held the commitment. Copies in backups and in the database's unused pages
    go when those are rotated or overwritten. Raises `NotFound` when the entry has no body (any more).
    """
    entry = session.get(LedgerEntry, seq)
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    erased = connection.execute(delete(LedgerBody).where(LedgerBody.seq == seq)).rowcount
    if entry is None or not erased:
        raise NotFound("no-body", f"Entry {seq} holds no erasable text: it never had any, or it is erased already.")
    return append(session, ERASED, actor, entry.subject, {"seq": seq}, body={"reason": reason}, now=now)


_POSTGRESQL = """
WITH head AS (SELECT seq + 1 AS seq, leaf AS prev FROM ledger_head WHERE id = 1 FOR UPDATE),
said AS (
  SELECT seq, prev,
    %s::bytea || convert_to(encode(prev, 'hex') || '","seq":' || seq || ',', 'UTF8') || %s::bytea AS entry FROM head
),
next AS (SELECT seq, prev, entry, sha256('\\x00'::bytea || entry) AS leaf FROM said),
moved AS (UPDATE ledger_head SET seq = next.seq, leaf = next.leaf FROM next WHERE ledger_head.id = 1){detached}
INSERT INTO ledger_entries (seq, kind, subject, prev, leaf, entry)
SELECT seq, %s, %s, prev, leaf, entry FROM next
RETURNING seq, leaf, entry
"""
_PLAIN = _POSTGRESQL.format(detached="")
_WITH_BODY = _POSTGRESQL.format(
    detached=",\ndetached AS (INSERT INTO ledger_bodies (seq, salt, body) SELECT seq, %s, %s FROM next)"
)


def _insert_postgresql(
    connection: Connection, kind: str, subject: str, around: Around, detached: _Detached | None
) -> Appended:
    statement = _PLAIN if detached is None else _WITH_BODY
    values = (around.before, around.after, *(detached or ()), kind, subject)
    row = connection.exec_driver_sql(statement, values).one_or_none()
    if row is None:
        raise _headless()
    return Appended(row[0], bytes(row[1]), bytes(row[2]))


def _insert_sqlite(
    connection: Connection, kind: str, subject: str, around: Around, detached: _Detached | None
) -> Appended:
    head = connection.exec_driver_sql("SELECT seq + 1, leaf FROM ledger_head WHERE id = 1").one_or_none()
    if head is None:
        raise _headless()
    seq, prev = head
    entry = around.entry(seq, prev)
    leaf = leaf_hash(entry)
    connection.exec_driver_sql("UPDATE ledger_head SET seq = ?, leaf = ? WHERE id = 1", (seq, leaf))
    connection.exec_driver_sql(
        "INSERT INTO ledger_entries (seq, kind, subject, prev, leaf, entry) VALUES (?, ?, ?, ?, ?, ?)",
        (seq, kind, subject, prev, leaf, entry),
    )
    if detached is not None:
        connection.exec_driver_sql("INSERT INTO ledger_bodies (seq, salt, body) VALUES (?, ?, ?)", (seq, *detached))
    return Appended(seq, leaf, entry)


def _headless() -> Unavailable:
    return Unavailable("ledger-missing", "The ledger has no head row, so nothing can be decided. Restore the database.")
