"""Tickets and frames: how a browser that is signed in at the people's host gets into one workspace's host.

A ticket lives 30 seconds and works once, however many hand it in at the same moment; handed in at another host it is
spent all the same. What it opens is bound to one start of one workspace, one person and the session it came from.
A person holds `FRAMES_MAX` frames at most: with one more the oldest ends.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.names import PersonId, WorkspaceId
from tre_orchestrator.errors import Refusal, Refused
from tre_orchestrator.gate.tables import FrameRow, TicketRow

TICKET_LIFE = dt.timedelta(seconds=30)
FRAME_LIFE = dt.timedelta(hours=12)
FRAMES_MAX = 32


@dataclass(frozen=True, slots=True)
class Frame:
    """A browser that was let into one start of one workspace. `key` is the hash of its cookie."""

    key: str
    workspace: WorkspaceId
    nonce: str
    person: PersonId
    session_id: str
    expires_at: dt.datetime


def issue(
    session: Session, workspace: WorkspaceId, nonce: str, person: PersonId, session_id: str, now: dt.datetime
) -> str:
    """A ticket for this start of the workspace."""
    token = secrets.token_urlsafe(32)
    session.add(
        TicketRow(
            token_hash=_hash(token),
            workspace=workspace,
            nonce=nonce,
            person=person,
            session_id=session_id,
            expires_at=now + TICKET_LIFE,
            used_at=None,
        )
    )
    return token


def redeem(session: Session, token: str, workspace: WorkspaceId, now: dt.datetime) -> tuple[str, Frame] | None:
    """The cookie and the frame that a ticket opens at `workspace`'s host; None when it was for another one.

    The caller commits in either case, so that the ticket stays spent. Raises `Refused` when it is spent or too old.
    """
    won = session.execute(
        update(TicketRow)
        .where(TicketRow.token_hash == _hash(token), TicketRow.used_at.is_(None), TicketRow.expires_at > now)
        .values(used_at=now)
        .returning(TicketRow.workspace, TicketRow.nonce, TicketRow.person, TicketRow.session_id)
    ).one_or_none()
    if won is None:
        raise Refused([Refusal("ticket-spent", "This way in was used before or is too old. Open the workspace again.")])
    if won.workspace != workspace:
        return None
    cookie = secrets.token_urlsafe(32)
    row = FrameRow(
        token_hash=_hash(cookie),
        workspace=workspace,
        nonce=won.nonce,
        person=won.person,
        session_id=won.session_id,
        opened_at=now,
        expires_at=now + FRAME_LIFE,
    )
    session.add(row)
    session.flush()
    _end_oldest(session, row.person)
    return cookie, _frame(row)


def frame_of(session: Session, cookie: str, now: dt.datetime) -> Frame | None:
    """The frame that a cookie belongs to, if it has not run out."""
    row = session.scalar(select(FrameRow).where(FrameRow.token_hash == _hash(cookie), FrameRow.expires_at > now))
    return _frame(row) if row else None


def open_frames(session: Session, people: set[PersonId]) -> frozenset[str]:
    """The keys of every frame that these people hold."""
    return frozenset(session.scalars(select(FrameRow.token_hash).where(FrameRow.person.in_(people))))


def key_of(cookie: str) -> str:
    """The name under which a cookie's frame is kept in memory and in the database."""
    return _hash(cookie)


def close_frames(session: Session, session_id: str) -> None:
    """Forget every frame and ticket of a session that was signed out."""
    session.execute(delete(FrameRow).where(FrameRow.session_id == session_id))
    session.execute(delete(TicketRow).where(TicketRow.session_id == session_id))


def forget_expired(session: Session, now: dt.datetime) -> None:
    """Remove what has run out."""
    session.execute(delete(TicketRow).where(TicketRow.expires_at <= now))
    session.execute(delete(FrameRow).where(FrameRow.expires_at <= now))


def _end_oldest(session: Session, person: str) -> None:
    newest = select(FrameRow.token_hash).where(FrameRow.person == person).order_by(FrameRow.opened_at.desc())
    held = session.scalars(newest).all()
    session.execute(delete(FrameRow).where(FrameRow.token_hash.in_(held[FRAMES_MAX:])))


def _frame(row: FrameRow) -> Frame:
    return Frame(
        row.token_hash, WorkspaceId(row.workspace), row.nonce, PersonId(row.person), row.session_id, row.expires_at
    )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
