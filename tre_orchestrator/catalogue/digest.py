"""What an approval binds to: a digest over the fields that were set by hand, with the digest's own version.

A field that a later release adds with a default changes no digest, so an upgrade locks nobody out. Any edit of a
project does change it, and `changes` says in which fields, so that people see what they are asked to approve again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tre_orchestrator.catalogue.canonical import sha256_of
from tre_orchestrator.catalogue.models import Project, TierPolicy, explicit_fields
from tre_orchestrator.catalogue.names import Sha256

PROJECT_DIGEST = "tre-project/1"
POLICY_DIGEST = "tre-tier-policy/1"


@dataclass(frozen=True, slots=True)
class Version:
    """What a person looks at who answers for a project: the project itself, and its tier's controls."""

    project: Sha256
    controls: Sha256


@dataclass(frozen=True, slots=True)
class Change:
    """One field of a project or control of its tier that differs between two versions; values in their JSON form."""

    field: str
    before: Any
    after: Any


def project_digest(project: Project) -> Sha256:
    """The digest that an approval of this project names."""
    return sha256_of({"digest": PROJECT_DIGEST, **explicit_fields(project)})


def controls(policy: TierPolicy) -> dict[str, Any]:
    """What an approval of a project takes for granted about its tier: every control but the machine's `limits`."""
    return {key: value for key, value in explicit_fields(policy).items() if key != "limits"}


def policy_digest(policy: TierPolicy) -> Sha256:
    """The digest of a tier's controls that an approval is given under."""
    return sha256_of({"digest": POLICY_DIGEST, "controls": controls(policy)})


def version_of(project: Project, policy: TierPolicy) -> Version:
    """The version that an answer given now is about."""
    return Version(project_digest(project), policy_digest(policy))


def changes(before: Project, after: Project) -> list[Change]:
    """Every field of the spec that was set, unset or edited, in alphabetical order."""
    return changed_keys(explicit_fields(before)["spec"], explicit_fields(after)["spec"])


def changed_keys(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """Keys that differ between two JSON objects, with both values (None where absent)."""
    absent = object()
    return [
        Change(key, before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key, absent) != after.get(key, absent)
    ]
