"""Append an entry in the transaction of the state it records (R1): both commit, or neither.

Every append moves the one head row, so entries have one order on SQLite and PostgreSQL alike and no two follow the
same one. Its lock is held until the caller commits: change state first, append last, then commit.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Mapping
from types import MappingProxyType

from sqlalchemy import Connection, delete
from sqlalchemy.orm import Session, SessionTransaction

from tre_orchestrator.errors import Invalid, NotFound, Unavailable
from tre_orchestrator.ledger.canonical import Json, canonical
from tre_orchestrator.ledger.commitments import SALT_BYTES, commitment_digest
from tre_orchestrator.ledger.database import is_write
from tre_orchestrator.ledger.entry import Actor, Around, around_link, console, person, software
from tre_orchestrator.ledger.tables import LedgerBody, LedgerEntry

__all__ = ["Actor", "append", "appended_in_this_transaction", "console", "erase_body", "person", "software"]

BODY_MAX_BYTES = 1024 * 1024
ERASED = "body.erased"
"""The kind of the entry that records an erasure; its fact `seq` names the entry whose text is gone."""
_NO_FACTS: Mapping[str, Json] = MappingProxyType({})
_APPENDED_IN = "tre_ledger_appended_in"
_Detached = tuple[bytes, bytes]
"""Salt and canonical bytes of a body."""


def append(
    session: Session,
    kind: str,
    actor: Actor,
    subject: str,
    facts: Mapping[str, Json] = _NO_FACTS,
    *,
    body: Mapping[str, Json] | None = None,
    now: dt.datetime,
) -> None:
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
    _insert(session.connection(), kind, subject, around, detached)
    session.info[_APPENDED_IN] = session.get_transaction()


def appended_in_this_transaction(session: Session) -> bool:
    """Whether this session's open transaction holds an entry that is not committed yet."""
    transaction: SessionTransaction | None = session.info.get(_APPENDED_IN)
    return transaction is not None and transaction is session.get_transaction()


def erase_body(session: Session, seq: int, actor: Actor, reason: str, now: dt.datetime) -> None:
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
    append(session, ERASED, actor, entry.subject, {"seq": seq}, body={"reason": reason}, now=now)


_INTO = "INSERT INTO ledger_entries (seq, kind, subject, prev, leaf, entry)"
_SQLITE = f"""
{_INTO}
SELECT seq, ?, ?, prev, ledger_leaf(entry), entry FROM (
  SELECT seq + 1 AS seq, leaf AS prev,
    CAST(? || lower(hex(leaf)) || '","seq":' || (seq + 1) || ',' || ? AS BLOB) AS entry
  FROM ledger_head WHERE id = 1
)
"""  # noqa: S608 - constants
_SQLITE_BODY = "INSERT INTO ledger_bodies (seq, salt, body) VALUES (?, ?, ?)"
_POSTGRESQL = f"""
{_INTO}
SELECT seq, %s, %s, prev, sha256('\\x00'::bytea || entry), entry FROM (
  SELECT seq + 1 AS seq, leaf AS prev,
    %s::bytea || convert_to(encode(leaf, 'hex') || '","seq":' || seq + 1 || ',', 'UTF8') || %s::bytea AS entry
  FROM ledger_head WHERE id = 1
) AS next
"""  # noqa: S608 - constants
_POSTGRESQL_WITH_BODY = f"""
WITH made AS ({_POSTGRESQL} RETURNING seq) INSERT INTO ledger_bodies (seq, salt, body) SELECT seq, %s, %s FROM made
"""  # noqa: S608 - constants


def _insert(connection: Connection, kind: str, subject: str, around: Around, detached: _Detached | None) -> None:
    """Complete the bytes, hash and file them in one statement; the trigger on the entries moves the head row on."""
    values = (kind, subject, around.before, around.after)
    if connection.dialect.name == "sqlite":
        done = connection.exec_driver_sql(_SQLITE, values)
        if done.rowcount == 1 and detached is not None:
            connection.exec_driver_sql(_SQLITE_BODY, (done.lastrowid, *detached))
    elif detached is None:
        done = connection.exec_driver_sql(_POSTGRESQL, values)
    else:
        done = connection.exec_driver_sql(_POSTGRESQL_WITH_BODY, (*values, *detached))
    if done.rowcount != 1:
        raise _headless()


def _headless() -> Unavailable:
    return Unavailable("ledger-missing", "The ledger has no head row, so nothing can be decided. Restore the database.")
