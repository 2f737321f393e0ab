"""What a decision is made from and what comes out of it, as plain frozen data."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tre_orchestrator.catalogue.digest import Version
from tre_orchestrator.catalogue.models import Access, Dataset, Person, PolicyProfile, Project, Role, TierPolicy
from tre_orchestrator.catalogue.names import DatasetName, OrganisationName, PersonId, Sha256
from tre_orchestrator.errors import Refusal
from tre_orchestrator.governance.people import end_of_day


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's answer to one version of the project, under one version of its tier's controls."""

    role: Role
    person: PersonId
    version: Version
    approved: bool
    at: dt.datetime
    reason: str
    document: Project
    controls: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grant:
    """A controller's permission, live or not. `project_digest` is of the project as the controller saw it."""

    id: str
    dataset: DatasetName
    version: str
    manifest: Sha256
    project: str
    project_digest: Sha256
    organisation: OrganisationName
    until: dt.date
    grace_seconds: int
    conditions: str
    granted_by: PersonId
    granted_at: dt.datetime
    revoked_at: dt.datetime | None = None
    revoked_by: PersonId | None = None
    revoke_reason: str | None = None
    replaced_by: str | None = None

    @property
    def ends_at(self) -> dt.datetime:
        """When it ends or ended: revoked, or after its last day (UTC)."""
        last = end_of_day(self.until)
        return min(last, self.revoked_at) if self.revoked_at else last


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was hashed for a dataset version."""

    dataset: DatasetName
    version: str
    folder: str
    digest: Sha256


@dataclass(frozen=True, slots=True)
class Hold:
    """Copies of a dataset stay closed until this controller decides; a running workspace has its grace first."""

    id: str
    dataset: DatasetName
    organisation: OrganisationName
    running_until: dt.datetime
    decision: str | None = None


@dataclass(frozen=True, slots=True)
class Mountable:
    """A dataset version that may be mounted, read-only."""

    name: DatasetName
    version: str
    folder: Path
    manifest: Sha256


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a decision looks at. `offers` is how this TRE can show a workspace; `mfa` None is not judged."""

    project: Project
    profile: PolicyProfile | None
    approvals: tuple[Approval, ...]
    datasets: tuple[Dataset, ...]
    manifests: tuple[Manifest, ...]
    grants: tuple[Grant, ...]
    holds: tuple[Hold, ...]
    person_id: PersonId
    person: Person | None
    mfa: bool | None
    state_dir: Path
    offers: frozenset[Access] = frozenset({Access.direct})


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer. When refused, `refusals` holds every reason.

    `until` is when an allowed right ends by itself and `ends_because` says by what. `grace_seconds` is how long a
    workspace may go on running: after the right's end when allowed, from now on when refused (0: it ends at once).
    """

    allowed: bool
    refusals: tuple[Refusal, ...]
    until: dt.datetime | None
    ends_because: str
    digest: Sha256
    tier_policy: TierPolicy
    datasets: tuple[Mountable, ...]
    grace_seconds: int

    @property
    def may_keep_running(self) -> bool:
        """Whether a workspace that runs already may go on now (perhaps only for its grace)."""
        return self.allowed or self.grace_seconds > 0
