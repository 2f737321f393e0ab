"""How a person proves who they are: one-time links, sessions and API tokens.

Every token has 256 random bits and is stored as its SHA-256 only: a copy of the database opens nothing. A login link
works once, however many redeem it at the same moment. Every use asks again whether the person is valid now (P1).
"""

from __future__ import annotations

import datetime as dt
import getpass
import hashlib
import hmac
import secrets
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.errors import Invalid, NotFound, Refusal, Refused, refuse_if
from tre_orchestrator.governance.load import find_person
from tre_orchestrator.governance.people import why_not_person
from tre_orchestrator.governance.tables import ApiTokenRow, LoginLinkRow, SessionRow
from tre_orchestrator.ledger.append import Actor, append, console
from tre_orchestrator.ledger.append import person as person_actor

SESSION_LIFE = dt.timedelta(hours=12)
SESSION_IDLE = dt.timedelta(hours=2)
SEEN_EVERY = dt.timedelta(minutes=1)
"""A session's last use is written at most this often."""
TOKEN_PREFIX = "tre_"
TOKEN_HOURS = 8
TOKEN_HOURS_MAX = 24 * 7
LINK_MINUTES_MAX = 60


@dataclass(frozen=True, slots=True)
class WebSession:
    """A signed-in browser. `expires` is when it ends if the person stays active."""

    person: PersonId
    csrf: str
    mfa: bool
    expires: dt.datetime
    id: str
    seen_at: dt.datetime


@dataclass(frozen=True, slots=True)
class ApiToken:
    """What may be shown of an API token: never the token."""

    id: str
    issued_at: dt.datetime
    expires_at: dt.datetime


def issue_login_link(
    session: Session, person: PersonId, now: dt.datetime, *, minutes: int = 10, actor: Actor | None = None
) -> str:
    """A token that signs this person in once within `minutes`; who made it stands in the ledger.

    `actor` is the account at the machine's console when not given: whoever holds a link can act as the person, so
    making one is break glass and visible. Links made before for the same person end: of two, one could lie with
    somebody else.
    """
    if not 1 <= minutes <= LINK_MINUTES_MAX:
        raise Invalid("link-life", f"A login link lives between 1 and {LINK_MINUTES_MAX} minutes.")
    refuse_if(why_not_person(find_person(session, person), now))
    token = secrets.token_urlsafe(32)
    expires = now + dt.timedelta(minutes=minutes)
    end_unused_links(session, person, now)
    session.add(LoginLinkRow(token_hash=_hash(token), person=person, expires_at=expires, used_at=None))
    append(
        session,
        "login-link.issued",
        actor or console(getpass.getuser()),
        f"person/{person}",
        {"expires": expires.isoformat()},
        now=now,
    )
    return token


def has_anybody_signed_in(session: Session) -> bool:
    """Whether a session was ever opened on this TRE."""
    return session.scalar(select(SessionRow.id).limit(1)) is not None


def end_unused_links(session: Session, person: PersonId, now: dt.datetime) -> None:
    """No link of this person that was not used so far signs anybody in any more."""
    session.execute(
        update(LoginLinkRow)
        .where(LoginLinkRow.person == person, LoginLinkRow.used_at.is_(None), LoginLinkRow.expires_at > now)
        .values(expires_at=now)
    )


def redeem_login_link(session: Session, token: str, now: dt.datetime) -> PersonId:
    """The person a link signs in. Works once; of several at the same moment one wins. Raises `Refused` otherwise."""
    digest = _hash(token)
    won = session.execute(
        update(LoginLinkRow)
        .where(LoginLinkRow.token_hash == digest, LoginLinkRow.used_at.is_(None), LoginLinkRow.expires_at > now)
        .values(used_at=now)
        .returning(LoginLinkRow.person, LoginLinkRow.token_hash)
    ).one_or_none()
    if won is None or not hmac.compare_digest(won.token_hash, digest):
        raise Refused(
            [
                Refusal(
                    "link-spent",
                    "This link was used before, ran out or is incomplete. If you used it in another tab, go on "
                    "there; else ask for a new one.",
                )
            ]
        )
    person = PersonId(won.person)
    refuse_if(why_not_person(find_person(session, person), now))
    end_unused_links(session, person, now)
    append(session, "login-link.used", person_actor(person), f"person/{person}", {}, now=now)
    return person


def open_session(session: Session, person: PersonId, *, mfa: bool, now: dt.datetime) -> str:
    """Sign a valid person in; returns the cookie's value, which is stored nowhere."""
    refuse_if(why_not_person(find_person(session, person), now))
    cookie = secrets.token_urlsafe(32)
    row = SessionRow(
        id=secrets.token_hex(8),
        token_hash=_hash(cookie),
        person=person,
        csrf=secrets.token_hex(32),
        mfa=mfa,
        opened_at=now,
        seen_at=now,
        expires_at=now + SESSION_LIFE,
        closed_at=None,
    )
    session.add(row)
    append(
        session, "session.opened", person_actor(person), f"person/{person}", {"mfa": mfa, "session": row.id}, now=now
    )
    return cookie


def session_of(session: Session, cookie: str, now: dt.datetime) -> WebSession | None:
    """The live session of a cookie, or None: unknown, closed, idle for 2 h, 12 h old, or its person no longer valid.

    Reads only. The caller writes `touch_session` when `seen_at` is older than `SEEN_EVERY`.
    """
    digest = _hash(cookie)
    row = session.scalar(select(SessionRow).where(SessionRow.token_hash == digest))
    if row is None or not hmac.compare_digest(row.token_hash, digest) or row.closed_at is not None:
        return None
    expires = min(row.expires_at, row.seen_at + SESSION_IDLE)
    if now >= expires or why_not_person(find_person(session, row.person), now) is not None:
        return None
    return WebSession(PersonId(row.person), row.csrf, row.mfa, expires, row.id, row.seen_at)


def touch_session(session: Session, session_id: str, now: dt.datetime) -> None:
    """Note that the session was used now; never brings a closed or ended one back."""
    session.execute(
        update(SessionRow)
        .where(SessionRow.id == session_id, SessionRow.closed_at.is_(None), SessionRow.expires_at > now)
        .where(SessionRow.seen_at > now - SESSION_IDLE, SessionRow.seen_at < now)
        .values(seen_at=now)
    )


def close_session(session: Session, session_id: str, now: dt.datetime) -> None:
    """Sign this browser out."""
    session.execute(
        update(SessionRow).where(SessionRow.id == session_id, SessionRow.closed_at.is_(None)).values(closed_at=now)
    )


def close_all_sessions(session: Session, person: PersonId, now: dt.datetime) -> int:
    """Sign the person out everywhere; how many sessions that ended."""
    closed = session.scalars(
        update(SessionRow)
        .where(SessionRow.person == person, SessionRow.closed_at.is_(None))
        .values(closed_at=now)
        .returning(SessionRow.id)
    ).all()
    return len(closed)


def sessions_of_person(session: Session, person: PersonId, now: dt.datetime) -> list[WebSession]:
    """The person's live sessions, newest first; none when the person is not valid now."""
    if why_not_person(find_person(session, person), now) is not None:
        return []
    rows = session.scalars(
        select(SessionRow)
        .where(SessionRow.person == person, SessionRow.closed_at.is_(None), SessionRow.expires_at > now)
        .where(SessionRow.seen_at > now - SESSION_IDLE)
        .order_by(SessionRow.opened_at.desc())
    )
    return [
        WebSession(person, row.csrf, row.mfa, min(row.expires_at, row.seen_at + SESSION_IDLE), row.id, row.seen_at)
        for row in rows
    ]


def issue_api_token(session: Session, person: PersonId, now: dt.datetime, *, hours: int = TOKEN_HOURS) -> str:
    """A token for the API in the person's own name; shown once, stored as a hash."""
    if not 1 <= hours <= TOKEN_HOURS_MAX:
        raise Invalid("token-life", f"A token lives between 1 hour and {TOKEN_HOURS_MAX} hours.")
    refuse_if(why_not_person(find_person(session, person), now))
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    row = ApiTokenRow(
        id=secrets.token_hex(8),
        token_hash=_hash(token),
        person=person,
        issued_at=now,
        expires_at=now + dt.timedelta(hours=hours),
        revoked_at=None,
    )
    session.add(row)
    facts = {"token": row.id, "expires": row.expires_at.isoformat()}
    append(session, "api-token.issued", person_actor(person), f"person/{person}", facts, now=now)
    return token


def person_of_token(session: Session, token: str, now: dt.datetime) -> PersonId | None:
    """Whose token this is, if it is live and the person is valid now."""
    digest = _hash(token)
    row = session.scalar(select(ApiTokenRow).where(ApiTokenRow.token_hash == digest))
    if row is None or not hmac.compare_digest(row.token_hash, digest):
        return None
    if row.revoked_at is not None or now >= row.expires_at:
        return None
    if why_not_person(find_person(session, row.person), now) is not None:
        return None
    return PersonId(row.person)


def api_tokens(session: Session, person: PersonId, now: dt.datetime) -> list[ApiToken]:
    """The person's live tokens, newest first."""
    rows = session.scalars(
        select(ApiTokenRow)
        .where(ApiTokenRow.person == person, ApiTokenRow.revoked_at.is_(None), ApiTokenRow.expires_at > now)
        .order_by(ApiTokenRow.issued_at.desc())
    )
    return [ApiToken(row.id, row.issued_at, row.expires_at) for row in rows]


def revoke_api_token(session: Session, person: PersonId, token_id: str, now: dt.datetime) -> None:
    """End one of the person's own tokens; raises `NotFound` for anybody else's."""
    revoked = session.scalars(
        update(ApiTokenRow)
        .where(ApiTokenRow.id == token_id, ApiTokenRow.person == person, ApiTokenRow.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(ApiTokenRow.id)
    ).all()
    if not revoked:
        raise NotFound("token-unknown", "You have no such token. It may have been revoked before.")
    append(session, "api-token.revoked", person_actor(person), f"person/{person}", {"token": token_id}, now=now)


def end_api_tokens(session: Session, person: PersonId, now: dt.datetime) -> None:
    """End every token of the person, as for a changed password."""
    session.execute(
        update(ApiTokenRow).where(ApiTokenRow.person == person, ApiTokenRow.revoked_at.is_(None)).values(revoked_at=now)
    )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
