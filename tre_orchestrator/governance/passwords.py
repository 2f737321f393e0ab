"""Passwords, hashed by argon2id; guessing is slowed per name, known or not, so an answer tells nobody who exists.

An attempt is counted and committed before the password is looked at: parallel guesses cannot outrun the counter.
"""

from __future__ import annotations

import datetime as dt
import functools
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.names import PersonId, is_name
from tre_orchestrator.errors import Invalid, Refusal, Refused, refuse_if
from tre_orchestrator.governance.credentials import end_api_tokens, end_unused_links
from tre_orchestrator.governance.load import find_person
from tre_orchestrator.governance.people import why_not_person
from tre_orchestrator.governance.rows import insert_once
from tre_orchestrator.governance.tables import LoginAttemptRow, PasswordRow
from tre_orchestrator.ledger.append import Actor, append
from tre_orchestrator.ledger.database import Database

LENGTH_MIN, LENGTH_MAX = 12, 256
ATTEMPTS = 5
WINDOW = dt.timedelta(minutes=15)
_HASHER = PasswordHasher()


def has_password(session: Session, person: PersonId) -> bool:
    """Whether this person has set a password."""
    return session.get(PasswordRow, person) is not None


def set_password(session: Session, person: PersonId, password: str, actor: Actor, now: dt.datetime) -> None:
    """Give the person this password; links and tokens from before end. Who set it stands in the ledger."""
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        raise Invalid("password-length", f"A password has {LENGTH_MIN} to {LENGTH_MAX} characters.")
    if person.lower() in password.lower():
        raise Invalid("password-name", "The password contains your name. Choose another one.")
    refuse_if(why_not_person(find_person(session, person), now))
    hashed = _HASHER.hash(password)
    insert_once(session, PasswordRow, person=person, argon2=hashed, set_at=now)
    session.execute(update(PasswordRow).where(PasswordRow.person == person).values(argon2=hashed, set_at=now))
    end_unused_links(session, person, now)
    end_api_tokens(session, person, now)
    append(session, "password.set", actor, f"person/{person}", {}, now=now)


def check_password(db: Database, person: str, password: str, now: dt.datetime) -> PersonId:
    """The person, if the password is theirs and they are valid now; raises `Refused` otherwise.

    Runs its own transactions: a failed attempt stays counted, and no lock is held while argon2 works (about 50 ms).
    """
    if not is_name(person) or len(password) > LENGTH_MAX:
        raise _wrong()
    with db.write() as session:
        _count_attempt(session, person, now)
    with db.read() as session:
        row = session.get(PasswordRow, person)
        stored = row.argon2 if row else _nobodys_hash()
        refusal = why_not_person(find_person(session, person), now)
    if not _matches(stored, password) or row is None:
        raise _wrong()
    refuse_if(refusal)
    with db.write() as session:
        session.execute(delete(LoginAttemptRow).where(LoginAttemptRow.person == person))
        if _HASHER.check_needs_rehash(stored):
            renewed = _HASHER.hash(password)
            session.execute(
                update(PasswordRow)
                .where(PasswordRow.person == person, PasswordRow.argon2 == stored)
                .values(argon2=renewed)
            )
    return PersonId(person)


def _count_attempt(session: Session, person: str, now: dt.datetime) -> None:
    session.execute(delete(LoginAttemptRow).where(LoginAttemptRow.window_began <= now - WINDOW))
    insert_once(session, LoginAttemptRow, person=person, window_began=now, attempts=0)
    count = session.execute(
        update(LoginAttemptRow)
        .where(LoginAttemptRow.person == person)
        .values(attempts=LoginAttemptRow.attempts + 1)
        .returning(LoginAttemptRow.window_began, LoginAttemptRow.attempts)
    ).one()
    if count.attempts > ATTEMPTS:
        minutes = max(1, round((count.window_began + WINDOW - now).total_seconds() / 60))
        raise Refused(
            [
                Refusal(
                    "too-many-attempts",
                    f"Too many attempts for this name. Wait {minutes} min and try again.",
                )
            ]
        )


def _matches(stored: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


@functools.cache
def _nobodys_hash() -> str:
    """Compared for names without a password, so that both answers take the same time."""
    return _HASHER.hash(secrets.token_urlsafe(32))


def _wrong() -> Refused:
    return Refused([Refusal("wrong-login", "Name and password do not match. Check both and try again.")])
