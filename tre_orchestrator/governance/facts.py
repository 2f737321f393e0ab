"""Gathers what a decision looks at from the database, and asks `decide`.

Everything is read in the caller's transaction, so a start that decides and records in one sees one state (D2).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.digest import Change, Version, policy_digest, project_digest
from tre_orchestrator.catalogue.models import Dataset, PolicyProfile, Project, Role, TierPolicy
from tre_orchestrator.catalogue.names import DatasetName, OrganisationName, PersonId, ProjectName, Sha256
from tre_orchestrator.errors import Refusal
from tre_orchestrator.governance.decision import (
    answers,
    decide,
    edits,
    is_live,
    tier_policy,
    why_project_not_ready,
)
from tre_orchestrator.governance.load import find, find_person, load_project
from tre_orchestrator.governance.model import Approval, Decision, Facts, Grant, Hold, Manifest
from tre_orchestrator.governance.tables import ApprovalRow, CatalogueRow, CopyHoldRow, GrantRow, ManifestRow
from tre_orchestrator.settings import Settings


@dataclass(frozen=True, slots=True)
class GrantState:
    """One controller's part in one dataset version of the project; `grant` is its live or else its last grant."""

    dataset: DatasetName
    version: str
    organisation: OrganisationName
    manifest: Sha256 | None
    grant: Grant | None
    live: bool


@dataclass(frozen=True, slots=True)
class ProjectStatus:
    """Where a project stands, whoever looks: for pages and for the people who must act next.

    `digest` is of the project and `controls` of its tier's controls: an answer names both. `approvals` has each role
    that must approve with its answer to this version (None: none yet). `edits` is what differs from the version
    approved last.
    """

    project: Project
    digest: Sha256
    controls: Sha256 | None
    tier_policy: TierPolicy | None
    approvals: dict[Role, Approval | None]
    edits: tuple[Change, ...]
    grants: tuple[GrantState, ...]
    holds: tuple[Hold, ...]
    refusals: tuple[Refusal, ...]

    @property
    def ready(self) -> bool:
        """Whether a member in good standing could start now."""
        return not self.refusals


def decide_now(
    session: Session,
    settings: Settings,
    project: ProjectName,
    person: PersonId,
    now: dt.datetime,
    *,
    mfa: bool | None = False,
) -> Decision:
    """May this person work in this project now. Raises `NotFound` when there is no such project.

    `mfa` says whether the person's session proved a second factor; without a word about it, it did not. None is for
    watching a workspace that runs already: its start was judged with a session.
    """
    return decide(gather(session, settings, load_project(session, project), person, mfa=mfa), now)


def project_status(session: Session, settings: Settings, project: ProjectName, now: dt.datetime) -> ProjectStatus:
    """Where the project stands. Raises `NotFound` when there is no such project."""
    declared = load_project(session, project)
    facts = gather(session, settings, declared, PersonId(""), mfa=None)
    policy = tier_policy(facts)
    return ProjectStatus(
        project=declared,
        digest=project_digest(declared),
        controls=policy_digest(policy) if policy else None,
        tier_policy=policy,
        approvals=answers(facts, policy) if policy else {},
        edits=edits(facts, policy) if policy else (),
        grants=tuple(_grant_states(facts, now)),
        holds=facts.holds,
        refusals=why_project_not_ready(facts, now),
    )


def gather(session: Session, settings: Settings, project: Project, person: PersonId, *, mfa: bool | None) -> Facts:
    """The facts about one project and one person as the database holds them now."""
    name = project.metadata.name
    uses = [(use.name, use.version) for use in project.spec.datasets]
    approvals = session.scalars(select(ApprovalRow).where(ApprovalRow.project == name).order_by(ApprovalRow.id))
    grants = session.scalars(select(GrantRow).where(GrantRow.project == name))
    holds = session.scalars(select(CopyHoldRow).where(CopyHoldRow.project == name, CopyHoldRow.ended_at.is_(None)))
    documents = session.scalars(
        select(CatalogueRow).where(CatalogueRow.kind == "Dataset", CatalogueRow.name.in_([use for use, _ in uses]))
    )
    manifests = session.scalars(select(ManifestRow).where(tuple_(ManifestRow.dataset, ManifestRow.version).in_(uses)))
    return Facts(
        project=project,
        profile=find(session, PolicyProfile, project.spec.profile),
        approvals=tuple(_approval(row) for row in approvals),
        datasets=tuple(Dataset.model_validate(row.document) for row in documents),
        manifests=tuple(
            Manifest(DatasetName(row.dataset), row.version, row.folder, Sha256(row.digest)) for row in manifests
        ),
        grants=tuple(grant_of(row) for row in grants),
        holds=tuple(
            Hold(row.id, DatasetName(row.dataset), OrganisationName(row.organisation), row.running_until, row.decision)
            for row in holds
        ),
        person_id=person,
        person=find_person(session, person),
        mfa=mfa,
        state_dir=settings.state_dir,
    )


def grant_of(row: GrantRow) -> Grant:
    """A stored grant as plain data."""
    return Grant(
        id=row.id,
        dataset=DatasetName(row.dataset),
        version=row.version,
        manifest=Sha256(row.manifest),
        project=row.project,
        project_digest=Sha256(row.project_digest),
        organisation=OrganisationName(row.organisation),
        until=row.until,
        grace_seconds=row.grace_seconds,
        conditions=row.conditions,
        granted_by=PersonId(row.granted_by),
        granted_at=row.granted_at,
        revoked_at=row.revoked_at,
        revoked_by=PersonId(row.revoked_by) if row.revoked_by else None,
        revoke_reason=row.revoke_reason,
        replaced_by=row.replaced_by,
    )


def _approval(row: ApprovalRow) -> Approval:
    return Approval(
        role=Role(row.role),
        person=PersonId(row.person),
        version=Version(Sha256(row.digest), Sha256(row.policy)),
        approved=row.approved,
        at=row.at,
        reason=row.reason,
        document=Project.model_validate(row.document),
        controls=row.controls,
    )


def _grant_states(facts: Facts, now: dt.datetime) -> list[GrantState]:
    manifests = {(manifest.dataset, manifest.version): manifest.digest for manifest in facts.manifests}
    states = []
    for use in facts.project.spec.datasets:
        dataset = next((one for one in facts.datasets if one.metadata.name == use.name), None)
        manifest = manifests.get((DatasetName(use.name), use.version))
        for organisation in dataset.spec.controllers if dataset else ():
            same = [
                grant
                for grant in facts.grants
                if (grant.dataset, grant.version, grant.organisation, grant.manifest)
                == (use.name, use.version, organisation, manifest)
            ]
            last = max(same, key=lambda grant: (is_live(grant, now), grant.ends_at), default=None)
            live = last is not None and is_live(last, now)
            states.append(
                GrantState(DatasetName(use.name), use.version, OrganisationName(organisation), manifest, last, live)
            )
    return states
