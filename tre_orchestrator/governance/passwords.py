"""Passwords, hashed by argon2id; guessing is slowed per name, known or not, so an answer tells nobody who exists.

Each wrong attempt from one address makes the next one for the same name wait longer, there only: nobody can lock a
person out who comes from elsewhere.

An attempt is counted and committed before the password is looked at: parallel guesses cannot outrun the counter.
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
import hashlib
import math
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.names import PersonId, is_name
from tre_orchestrator.errors import Invalid, Refusal, Refused, Stale, refuse_if
from tre_orchestrator.governance.credentials import end_api_tokens, end_unused_links
from tre_orchestrator.governance.load import find_person
from tre_orchestrator.governance.people import why_not_person
from tre_orchestrator.governance.rows import insert_once
from tre_orchestrator.governance.tables import LoginAttemptRow, PasswordRow
from tre_orchestrator.ledger.append import Actor, append
from tre_orchestrator.ledger.database import Database

LENGTH_MIN, LENGTH_MAX = 12, 256
FREE_ATTEMPTS = 5
FIRST_WAIT, LONGEST_WAIT = dt.timedelta(seconds=30), dt.timedelta(minutes=15)
FORGOTTEN_AFTER = dt.timedelta(hours=1)
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


def set_first_password(session: Session, person: PersonId, password: str, actor: Actor, now: dt.datetime) -> None:
    """Give the person a password if they have none; raises `Stale` when one was set meanwhile, in another tab say."""
    if not insert_once(session, PasswordRow, person=person, argon2="", set_at=now):
        raise set_meanwhile()
    set_password(session, person, password, actor, now)


def set_meanwhile() -> Stale:
    """What a page hears that did not know of the password."""
    sentence = "Your password was set a moment ago, in another tab perhaps, and holds: sign in with that one. To "
    return Stale("password-set-before", sentence + "change it, load this page again and give it as your password now.")


def check_password(db: Database, person: str, password: str, now: dt.datetime, *, address: str) -> PersonId:
    """The person, if the password is theirs and they are valid now; raises `Refused` otherwise.

    `address` is where the attempt comes from, as the gate saw it.

    Runs its own transactions: a failed attempt stays counted, and no lock is held while argon2 works (about 50 ms).
    """
    if not is_name(person) or len(password) > LENGTH_MAX:
        raise _wrong()
    key = _key_of(person, address)
    with db.write() as session:
        _count_attempt(session, key, now)
    with db.read() as session:
        row = session.get(PasswordRow, person)
        stored = row.argon2 if row else _nobodys_hash()
        refusal = why_not_person(find_person(session, person), now)
    if not _matches(stored, password) or row is None:
        raise _wrong()
    refuse_if(refusal)
    with db.write() as session:
        session.execute(delete(LoginAttemptRow).where(LoginAttemptRow.key == key))
        if _HASHER.check_needs_rehash(stored):
            renewed = _HASHER.hash(password)
            session.execute(
                update(PasswordRow)
                .where(PasswordRow.person == person, PasswordRow.argon2 == stored)
                .values(argon2=renewed)
            )
    return PersonId(person)


def wait_after(attempts: int) -> dt.timedelta:
    """How long the next attempt has to wait after so many wrong ones in a row."""
    if attempts < FREE_ATTEMPTS:
        return dt.timedelta()
    return min(LONGEST_WAIT, FIRST_WAIT * (1 << min(attempts - FREE_ATTEMPTS, 16)))


def _count_attempt(session: Session, key: str, now: dt.datetime) -> None:
    session.execute(delete(LoginAttemptRow).where(LoginAttemptRow.last_at <= now - FORGOTTEN_AFTER))
    insert_once(session, LoginAttemptRow, key=key, last_at=now, attempts=0)
    row = session.get_one(LoginAttemptRow, key, with_for_update=True, populate_existing=True)
    wait = row.last_at + wait_after(row.attempts) - now
    if wait > dt.timedelta():
        seconds = math.ceil(wait.total_seconds())
        told = f"{seconds} s" if seconds < 60 else f"{math.ceil(seconds / 60)} min"
        sentence = f"Too many attempts for this name from where you are. Wait {told} and try again."
        raise Refused([Refusal("too-many-attempts", sentence)])
    row.attempts += 1
    row.last_at = now


def _key_of(person: str, address: str) -> str:
    digest = hashlib.sha256(f"{person}\n{address}".encode("utf-8", "surrogatepass")).digest()
    return base64.b32encode(digest).decode()[:26]


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
