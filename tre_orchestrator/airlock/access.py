"""Finding a request through its project, and on which side of it a person stands (P3, separation).

A request that is absent, in another project, or not to be seen by this person look the same: `NotFound`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.airlock.states import Guard, State, Who, why_not_move
from tre_orchestrator.airlock.tables import RequestRow
from tre_orchestrator.airlock.visibility import Side
from tre_orchestrator.catalogue.models import Dataset, Person, Project, Role
from tre_orchestrator.catalogue.names import is_name
from tre_orchestrator.errors import NotFound, Refusal, Stale, refuse_if
from tre_orchestrator.governance.load import find, find_person, load_project
from tre_orchestrator.governance.people import controls_for, has_role, membership, why_not_person

ID_MAX = 2**31 - 1
"""The largest number that a database gives to a request."""


def subject(row: RequestRow) -> str:
    """How the ledger names the request."""
    return f"request/{row.project}/{row.id}"


def find_request(session: Session, project: str, request_id: int, *, lock: bool = False) -> RequestRow:
    """The request `request_id` of `project`; with `lock`, held until the transaction ends. Raises `NotFound`."""
    if not 0 < request_id <= ID_MAX or not is_name(project):
        raise no_such_request(request_id)
    query = select(RequestRow).where(RequestRow.project == project, RequestRow.id == request_id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    row = session.scalar(query)
    if row is None:
        raise no_such_request(request_id)
    return row


def no_such_request(request_id: int) -> NotFound:
    """The one answer for a request that is not there or not to be seen."""
    return NotFound("no-request", f"There is no request {request_id} in this project, or you may not see it.")


@dataclass(frozen=True, slots=True)
class Standing:
    """What the catalogue says about a person and a request now."""

    person_id: str
    person: Person | None
    is_author: bool
    is_member: bool
    is_checker: bool
    is_controller: bool
    invalid: Refusal | None

    @property
    def side(self) -> Side | None:
        """From which side they may look; None: not at all."""
        if self.is_author:
            return Side.author
        if self.is_member:
            return Side.member
        if self.is_checker:
            return Side.checker
        return Side.member if self.is_controller else None


def standing(session: Session, row: RequestRow, person_id: str, now: dt.datetime) -> Standing:
    """Where `person_id` stands towards the request; `invalid` is why they may do nothing at all now (P1)."""
    person = find_person(session, person_id)
    project = load_project(session, row.project)
    return Standing(
        person_id=person_id,
        person=person,
        is_author=row.author == person_id,
        is_member=person_id in row.members or membership(project, person_id) is not None,
        is_checker=person is not None and has_role(person, Role.checker),
        is_controller=person is not None and controls_data_of(session, project, person),
        invalid=why_not_person(person, now),
    )


def controls_data_of(session: Session, project: Project, person: Person) -> bool:
    """Whether the person decides for an organisation that controls a dataset of the project."""
    for use in project.spec.datasets:
        dataset = find(session, Dataset, use.name)
        if dataset and any(controls_for(person, organisation) for organisation in dataset.spec.controllers):
            return True
    return False


def refuse_if_stale(row: RequestRow, version: int) -> None:
    """Raise `Stale` when the person acted on another version of the request than the one that stands."""
    if row.version != version:
        raise Stale(
            "stale-request",
            f"The request changed since you opened it and is now '{State(row.state).label}'. Look again, then decide.",
        )


def why_not_author(standing_: Standing) -> Refusal | None:
    """Why this person may not act as the request's author."""
    if standing_.invalid:
        return standing_.invalid
    if not standing_.is_author:
        return Refusal("not-author", "Only the person who wrote the request can do this.")
    return None


def why_not_checker(standing_: Standing) -> Refusal | None:
    """Why this person may not act as a checker of the request (P2: nobody has a way around this, admins neither)."""
    if standing_.is_author:
        return Refusal("own-request", "You wrote this request; other checkers must decide.")
    if standing_.is_member:
        return Refusal("own-project", "You are a member of this project; checkers from outside must decide.")
    if not standing_.is_checker:
        return Refusal("not-checker", "Only output checkers can do this.")
    return standing_.invalid


def acting_on(
    session: Session,
    project: str,
    request_id: int,
    person: str,
    now: dt.datetime,
    version: int,
    why_not: Callable[[Standing], Refusal | None],
) -> RequestRow:
    """The request, locked, for somebody whom `why_not` lets act on the version they saw."""
    row = find_request(session, project, request_id, lock=True)
    who = standing(session, row, person, now)
    if who.side is None:
        raise no_such_request(request_id)
    refuse_if(why_not(who))
    refuse_if_stale(row, version)
    return row


def move(
    row: RequestRow,
    target: State,
    who: Who,
    now: dt.datetime,
    holds: frozenset[Guard] = frozenset(),
    *,
    quiet: bool = False,
) -> None:
    """Make one step of the transition table or raise `Refused`; ends any lease.

    `quiet` leaves the version as it is, for a step that changes nothing of what people decide on.
    """
    refuse_if(why_not_move(State(row.state), target, who, holds))
    row.state = target.value
    row.state_since = now
    row.lease, row.lease_until = "", None
    if not quiet:
        row.version += 1
