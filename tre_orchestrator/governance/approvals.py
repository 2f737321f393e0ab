"""People's answers to a project: approved or refused, for exactly the version they looked at.

Separation (P2): the role must be one the tier asks for and the person must hold it, no member approves their own
project, and one person answers in one role only. The answer and its ledger entry commit together (R1).
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.digest import Version, controls, project_digest, version_of
from tre_orchestrator.catalogue.models import Person, Project, Role, TierPolicy, explicit_fields
from tre_orchestrator.catalogue.names import PersonId, ProjectName
from tre_orchestrator.errors import Invalid, Refusal, Stale, refuse_if
from tre_orchestrator.governance.load import find_person, load_policy, lock_project
from tre_orchestrator.governance.people import has_role, membership, why_not_person
from tre_orchestrator.governance.tables import ApprovalRow
from tre_orchestrator.ledger.append import append
from tre_orchestrator.ledger.append import person as person_actor

REASON_MAX = 2000


def approve(
    session: Session,
    project: ProjectName,
    role: Role,
    seen: Version,
    actor: PersonId,
    now: dt.datetime,
    *,
    origin: str = "",
) -> None:
    """Record that `actor`, as `role`, approves the project and its tier's controls as they saw them.

    `origin` marks, in the ledger, an act that was not made in a person's own session ("demo").
    Raises `Stale` when either changed since, `Refused` when this person may not, `NotFound` without a project.
    """
    _answer(session, project, role, seen, actor, now, approved=True, reason="", origin=origin)


def refuse(
    session: Session, project: ProjectName, role: Role, seen: Version, actor: PersonId, reason: str, now: dt.datetime
) -> None:
    """Record that `actor`, as `role`, refuses this version; it withdraws an earlier approval in that role."""
    if not reason.strip() or len(reason) > REASON_MAX:
        raise Invalid("reason", f"Say why in 1 to {REASON_MAX} characters: the project's members will read it.")
    _answer(session, project, role, seen, actor, now, approved=False, reason=reason.strip(), origin="")


def why_not_answer(
    project: Project,
    policy: TierPolicy,
    role: Role,
    person: Person | None,
    given: tuple[tuple[Role, str], ...],
    now: dt.datetime,
) -> Refusal | None:
    """Why this person may not answer for the project in this role now, or None.

    `given` holds (role, person) of the answers that this very version has.
    """
    invalid = why_not_person(person, now)
    if invalid or person is None:
        return invalid
    name = person.metadata.name
    if role not in policy.approvals:
        return Refusal("role-not-asked", f"Tier {project.spec.tier} does not ask the {role} to approve.")
    if not has_role(person, role):
        return Refusal("role-not-held", f"You do not hold the role {role}.")
    if membership(project, name) is not None:
        return Refusal("own-project", "You are a member of this project; somebody else must decide on it.")
    other = next((other for other, who in given if who == name and other != role), None)
    if other is not None:
        return Refusal("second-answer", f"You answered already as {other}; another person must answer as {role}.")
    return None


def answers_given(session: Session, project: ProjectName, version: Version) -> tuple[tuple[Role, str], ...]:
    """(role, person) of every answer to this version of the project."""
    rows = session.execute(
        select(ApprovalRow.role, ApprovalRow.person)
        .where(ApprovalRow.project == project)
        .where(ApprovalRow.digest == version.project, ApprovalRow.policy == version.controls)
    )
    return tuple((Role(role), person) for role, person in rows)


def refused_by(session: Session, project: Project) -> str | None:
    """Who refused the project as it is now, in the last answer of their role; None when nobody did."""
    rows = session.scalars(
        select(ApprovalRow)
        .where(ApprovalRow.project == project.metadata.name, ApprovalRow.digest == project_digest(project))
        .order_by(ApprovalRow.id)
    )
    last = {row.role: row for row in rows}
    return next((row.person for row in last.values() if not row.approved), None)


def _answer(
    session: Session,
    project: ProjectName,
    role: Role,
    seen: Version,
    actor: PersonId,
    now: dt.datetime,
    *,
    approved: bool,
    reason: str,
    origin: str,
) -> None:
    declared = lock_project(session, project)
    policy = load_policy(session, declared)
    version = version_of(declared, policy)
    if version.project != seen.project:
        raise Stale(
            "project-changed", "The project changed since you looked at it. Read the new version and decide again."
        )
    if version.controls != seen.controls:
        raise Stale(
            "controls-changed",
            f"The controls of tier {declared.spec.tier} changed since you looked. Read them and decide again.",
        )
    given = answers_given(session, project, version)
    refuse_if(why_not_answer(declared, policy, role, find_person(session, actor), given, now))
    row = ApprovalRow(
        project=project,
        digest=version.project,
        policy=version.controls,
        role=role.value,
        person=actor,
        approved=approved,
        reason=reason,
        document=explicit_fields(declared),
        controls=controls(policy),
        at=now,
    )
    session.add(row)
    facts = {"digest": version.project, "policy": version.controls, "role": role.value, "tier": declared.spec.tier}
    append(
        session,
        "project.approved" if approved else "project.refused",
        person_actor(actor),
        f"project/{project}",
        {**facts, "origin": origin} if origin else facts,
        body={"reason": reason} if reason else None,
        now=now,
    )
