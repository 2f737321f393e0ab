"""Letting a person in who cannot sign in yet, without becoming them.

An operator may make a one-time link only for somebody who has no way of their own to sign in: no password, and never a
link that was used. For somebody who lost their password there is `reset`, which takes two operators, so that none of
them can become somebody alone (P2); it ends the password, every session and every token, so the person notices.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.errors import Refusal, refuse_if
from tre_orchestrator.governance.credentials import close_all_sessions, end_api_tokens, issue_login_link
from tre_orchestrator.governance.tables import LoginLinkRow, PasswordRow
from tre_orchestrator.ledger.append import append
from tre_orchestrator.ledger.append import person as actor
from tre_orchestrator.ledger.read import entries

ASKED_FOR = dt.timedelta(days=1)
"""How long one operator's request for a reset waits for another's."""


def why_not_invite(session: Session, person: PersonId) -> Refusal | None:
    """Why no operator may make a link for `person`, or None."""
    if session.get(PasswordRow, person) is not None:
        return Refusal("has-password", f"{person} signs in with a password of their own and needs no invitation.")
    used = select(LoginLinkRow.token_hash).where(LoginLinkRow.person == person, LoginLinkRow.used_at.is_not(None))
    if session.scalar(used.limit(1)) is not None:
        return Refusal(
            "signed-in-before",
            f"{person} has signed in before; a link would let its holder act as them. They sign in with the password "
            "they set on their account page, or you reset it.",
        )
    return None


def invite(session: Session, person: PersonId, operator: PersonId, now: dt.datetime) -> str:
    """A token for one sign-in of `person`; the ledger names the operator. Raises `Refused`."""
    refuse_if(why_not_invite(session, person))
    return issue_login_link(session, person, now, actor=actor(operator))


def why_not_reset(person: PersonId, operator: PersonId) -> Refusal | None:
    """Why this operator may not reset the password of `person`, or None."""
    if person == operator:
        return Refusal("own-reset", "You change your own password on your account page; another operator resets it.")
    return None


def reset(session: Session, person: PersonId, operator: PersonId, now: dt.datetime) -> str | None:
    """End the person's password, sessions and tokens; a token for one sign-in, after which they set a new password.

    None when no other operator asked for it within `ASKED_FOR`: then this asks, and nothing has ended yet. Raises
    `Refused`; nothing has ended then either.
    """
    refuse_if(why_not_reset(person, operator))
    asked = _asked_by(session, person, now)
    if asked in (None, operator):
        if asked is None:
            append(session, "password.reset.asked", actor(operator), f"person/{person}", {}, now=now)
        return None
    session.execute(delete(PasswordRow).where(PasswordRow.person == person))
    closed = close_all_sessions(session, person, now)
    end_api_tokens(session, person, now)
    append(session, "password.reset", actor(operator), f"person/{person}", {"sessions": closed}, now=now)
    return issue_login_link(session, person, now, actor=actor(operator))


def _asked_by(session: Session, person: PersonId, now: dt.datetime) -> str | None:
    """The operator whose request to reset this password still waits for another one."""
    about = f"person/{person}"
    asked = entries(session, subject=about, kind="password.reset.asked", limit=1, newest_first=True)
    done = entries(session, subject=about, kind="password.reset", limit=1, newest_first=True)
    if not asked or (done and done[0].seq > asked[0].seq):
        return None
    is_fresh = now < dt.datetime.fromisoformat(asked[0].at) + ASKED_FOR
    return asked[0].actor.id if is_fresh else None
