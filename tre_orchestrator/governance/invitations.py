"""Letting a person in who cannot sign in yet, without becoming them.

An operator may make a one-time link only for somebody who has no way of their own to sign in: no password, and never a
link that was used. Whoever has signed in sets a password on their account page; an operator cannot open their account
again, so nobody acts in the name of a person who is already here (P2).
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.errors import Refusal, refuse_if
from tre_orchestrator.governance.credentials import issue_login_link
from tre_orchestrator.governance.tables import LoginLinkRow, PasswordRow
from tre_orchestrator.ledger.append import person as actor


def why_not_invite(session: Session, person: PersonId) -> Refusal | None:
    """Why no operator may make a link for `person`, or None."""
    if session.get(PasswordRow, person) is not None:
        return Refusal("has-password", f"{person} signs in with a password of their own and needs no invitation.")
    used = select(LoginLinkRow.token_hash).where(LoginLinkRow.person == person, LoginLinkRow.used_at.is_not(None))
    if session.scalar(used.limit(1)) is not None:
        return Refusal(
            "signed-in-before",
            f"{person} has signed in before; a link would let its holder act as them. They sign in with the password "
            "they set on their account page.",
        )
    return None


def invite(session: Session, person: PersonId, operator: PersonId, now: dt.datetime) -> str:
    """A token for one sign-in of `person`; the ledger names the operator. Raises `Refused`."""
    refuse_if(why_not_invite(session, person))
    return issue_login_link(session, person, now, actor=actor(operator))
