"""Who may sign in at the hub, and what a sign-in proved. Rules here, JupyterHub's classes in `authenticator.py`.

A person signs in only while they are a valid person (P1). Whether a second factor was proven is remembered for the
minutes between the hub's and the gate's part of one sign-in, by the hub's session id, which is new for each.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.names import PersonId, is_name
from tre_orchestrator.errors import Refusal, Refused, refuse_if
from tre_orchestrator.governance.load import find_person, projects_of
from tre_orchestrator.governance.people import why_not_person

REMEMBERED = dt.timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Record:
    """One sign-in: who, whether with a second factor, when."""

    person: PersonId
    mfa: bool
    at: dt.datetime


class SignIns:
    """The sign-ins of the last minutes, by the hub's session id."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def add(self, session_id: str, record: Record) -> None:
        """Remember one; forget the old ones."""
        old = [key for key, kept in self._records.items() if record.at - kept.at >= REMEMBERED]
        for key in old:
            del self._records[key]
        self._records[session_id] = record

    def of(self, session_id: str, now: dt.datetime) -> Record | None:
        """The sign-in that made this session of the hub, if it was a moment ago."""
        record = self._records.get(session_id)
        return record if record is not None and now - record.at < REMEMBERED else None


def groups_of(session: Session, person: PersonId, now: dt.datetime) -> list[str]:
    """The hub's groups of a person: their projects. Raises `Refused` when this is no valid person now."""
    refuse_if(why_not_person(find_person(session, person), now))
    return [project.metadata.name for project in projects_of(session, person)]


def claimed_person(claims: Mapping[str, object], claim: str) -> PersonId:
    """The person whom the identity provider's answer names; raises `Refused` when the name is none of ours."""
    name = claims.get(claim)
    if not isinstance(name, str) or not is_name(name):
        raise Refused(
            [Refusal("claim", f"Your organisation's sign-in did not say who you are here (claim '{claim}'). Tell ops.")]
        )
    return PersonId(name)


def has_claim(claims: Mapping[str, object], wanted: str) -> bool:
    """Whether the claims hold `name=value`; the claim may be one text or a list of texts (OpenID Connect `amr`)."""
    name, equals, value = wanted.partition("=")
    found = claims.get(name)
    if not equals or not value:
        return False
    return value == found or (isinstance(found, list) and value in found)
