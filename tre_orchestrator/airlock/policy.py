"""The part of a tier's policy that the airlock applies, with the digest that votes and approvals are bound to.

The digest covers the profile's name and version, the tier, the quorum and every threshold: change one and what was
voted on under the old policy no longer counts (A1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.models import PolicyProfile, Project
from tre_orchestrator.errors import Refusal, Refused, TreError
from tre_orchestrator.governance.load import load_profile, load_project
from tre_orchestrator.ledger.canonical import digest


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy under which files are checked and voted on."""

    profile: str
    version: int
    tier: int
    quorum: int
    small_count: int
    max_rows: int
    max_file_mib: int
    max_files: int

    @property
    def digest(self) -> str:
        """SHA-256 over every field."""
        return digest(asdict(self))

    @property
    def reference(self) -> dict[str, Any]:
        """How the ledger and a bundle name this policy."""
        return {"profile": self.profile, "version": self.version, "digest": self.digest}

    def stored(self) -> dict[str, Any]:
        """The form that a request's row keeps."""
        return asdict(self)


def from_stored(values: Mapping[str, Any]) -> Policy | None:
    """The policy that a request's row kept, or None while it has none."""
    return Policy(**values) if values else None


def policy_of(project: Project, profile: PolicyProfile) -> Policy:
    """The airlock's policy for `project` under `profile`; raises `Refused` for a tier the profile does not list."""
    tier: Any = str(project.spec.tier)
    rules = profile.spec.tiers.get(tier)
    if rules is None:
        sentence = f"The policy profile '{profile.metadata.name}' has no rules for tier {tier}, so nothing may leave."
        raise Refused([Refusal("tier-not-allowed", sentence)])
    limits = rules.thresholds
    return Policy(
        profile=profile.metadata.name,
        version=profile.spec.version,
        tier=project.spec.tier,
        quorum=rules.quorum,
        small_count=limits.small_count,
        max_rows=limits.max_rows,
        max_file_mib=limits.max_file_mib,
        max_files=limits.max_files,
    )


def current_policy(session: Session, project: str) -> Policy:
    """The policy that holds for the project now."""
    declared = load_project(session, project)
    return policy_of(declared, load_profile(session, declared.spec.profile))


def policy_now(session: Session, project: str) -> Policy | None:
    """As `current_policy`, but None where there is none: what was checked under another one then counts no more."""
    try:
        return current_policy(session, project)
    except TreError:
        return None
