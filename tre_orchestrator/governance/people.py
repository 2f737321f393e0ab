"""Who counts as a valid person right now (P1). Pure: the same answer for a session, a token, a start and a vote.

Analysts and checkers work with data and need an accreditation in date; a controller's or an ops person's right comes
from their organisation and needs none.
"""

from __future__ import annotations

import datetime as dt

from tre_orchestrator.catalogue.models import Membership, Person, Project, Role
from tre_orchestrator.errors import Refusal

ACCREDITED_ROLES = frozenset({Role.analyst, Role.checker})
"""Roles that see data or results before release."""


def why_not_person(
    person: Person | None, now: dt.datetime, *, mfa: bool | None = None, needs_mfa: bool = False
) -> Refusal | None:
    """The first reason why this person may do nothing now, or None.

    `mfa` says whether the session proved a second factor; None leaves that unjudged (no session is being looked at).
    """
    return next(iter(why_not_person_all(person, now, mfa=mfa, needs_mfa=needs_mfa)), None)


def why_not_person_all(
    person: Person | None, now: dt.datetime, *, mfa: bool | None = None, needs_mfa: bool = False
) -> tuple[Refusal, ...]:
    """Every reason why this person may do nothing now."""
    if person is None:
        return (Refusal("person-unknown", "Nobody of this name is in the catalogue. Ask ops to add you."),)
    refusals = []
    if not person.spec.active:
        refusals.append(Refusal("person-inactive", "This person has been set inactive. Ask ops if that is a mistake."))
    if ACCREDITED_ROLES & set(person.spec.roles):
        accreditation = person.spec.accreditation
        if accreditation is None:
            refusals.append(Refusal("accreditation-missing", "No accreditation is recorded. Send yours to ops."))
        elif now >= end_of_day(accreditation.expires):
            refusals.append(
                Refusal(
                    "accreditation-expired",
                    f"The accreditation ran out on {day(accreditation.expires)}. Send the renewed one to ops.",
                )
            )
    if needs_mfa and mfa is False:
        refusals.append(
            Refusal("mfa-needed", "This needs a session with a second factor. Sign out and sign in again with one.")
        )
    return tuple(refusals)


def has_role(person: Person, role: Role) -> bool:
    """Whether the person holds this role."""
    return role in person.spec.roles


def controls_for(person: Person, organisation: str) -> bool:
    """Whether the person decides for this organisation."""
    return organisation in person.spec.controller_of


def membership(project: Project, person: str) -> Membership | None:
    """The person's place in the project, in date or not."""
    return next((member for member in project.spec.members if member.person == person), None)


def end_of_day(date: dt.date) -> dt.datetime:
    """The first moment (UTC) after the last valid day."""
    return dt.datetime.combine(date + dt.timedelta(days=1), dt.time(), dt.UTC)


def day(date: dt.date) -> str:
    """A date as people write it: 5 March 2026."""
    return f"{date.day} {date:%B %Y}"
