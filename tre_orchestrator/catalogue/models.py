"""The catalogue's four kinds. One set of models is the YAML people write, the JSON Schema and the cluster's CRDs.

Strict: an unknown key, a wrong type or a name outside the rule is an error with the place it stands at.
Nothing here says who agreed to what: approvals, grants and votes live in the ledger, bound to `project_digest`.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    field_validator,
    model_validator,
)

from tre_orchestrator.catalogue.names import Name, VersionLabel

API_VERSION = "tre.dev/v1alpha1"

Line = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Text = Annotated[str, StringConstraints(max_length=4000)]


class Strict(BaseModel):
    """Base of every catalogue model: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Role(StrEnum):
    """What a person may do beyond their projects. Data controllers are people with `controller_of`."""

    analyst = "analyst"
    checker = "checker"
    approver = "approver"
    ops = "ops"


class Access(StrEnum):
    """How an analyst sees a workspace: Lab in the browser, or pixels only."""

    direct = "direct"
    glass = "glass"


class Metadata(Strict):
    """The object's name; unique within its kind."""

    name: Name


class Membership(Strict):
    """A person's place in a project."""

    person: Name
    until: date | None = Field(default=None, description="Last day of the membership; none: as long as the project")


class DatasetUse(Strict):
    """A dataset version that a project asks for."""

    name: Name
    version: VersionLabel


class ProjectSpec(Strict):
    """What is approved: purpose, people, datasets, dates. Every field that is set is part of the digest."""

    title: Line
    summary: Text = ""
    purpose: Text = Field(min_length=1, description="What the research is for, in words the public understands")
    tier: StrictInt = Field(ge=0, le=4, description="0 (open) to 4 (most sensitive); selects the controls")
    profile: Name = Field(default="standard", description="The policy profile that holds the tier's rules")
    members: tuple[Membership, ...] = Field(min_length=1, max_length=100, description="Who works in it")
    datasets: tuple[DatasetUse, ...] = Field(default=(), max_length=50, description="The data it asks for")
    start: date = Field(description="First day (UTC) on which workspaces may run")
    end: date = Field(description="Last day (UTC) on which workspaces may run")
    environment: Literal["python"] = Field(default="python", description="What is installed in its workspaces")

    @model_validator(mode="after")
    def _is_consistent(self) -> ProjectSpec:
        if self.end < self.start:
            raise ValueError("end is before start")
        for what, names in (
            ("members", [member.person for member in self.members]),
            ("datasets", [use.name for use in self.datasets]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} names one twice")
        return self


class DatasetVersion(Strict):
    """One immutable version, by reference: a folder that the controller's files live in."""

    version: VersionLabel
    folder: str = Field(
        min_length=1, description="Absolute path, or relative to the state folder; below a declared data root"
    )


class DatasetSpec(Strict):
    """Data owned by one or more controllers."""

    title: Line
    description: Text = ""
    not_included: Text = Field(default="", description="What is not in it, in plain words")
    controllers: tuple[Name, ...] = Field(min_length=1, max_length=10, description="Organisations; each must grant")
    versions: tuple[DatasetVersion, ...] = Field(min_length=1, max_length=200)

    @model_validator(mode="after")
    def _has_unique_versions(self) -> DatasetSpec:
        labels = [version.version for version in self.versions]
        if len(set(labels)) != len(labels):
            raise ValueError("versions names one twice")
        return self


class Accreditation(Strict):
    """A person's accreditation as a researcher or checker."""

    scheme: Line
    expires: date = Field(description="Last valid day (UTC)")


class PersonSpec(Strict):
    """Somebody who can sign in."""

    full_name: Line
    email: Line
    organisation: Line
    roles: tuple[Role, ...] = Field(default=(), description="What the person may do besides deciding on data")
    controller_of: tuple[Name, ...] = Field(
        default=(), description="Organisations on whose datasets this person decides"
    )
    accreditation: Accreditation | None = Field(
        default=None, description="Analysts and checkers need one that is in date"
    )
    active: StrictBool = Field(default=True, description="false: this person may do nothing, from now on")


class Limits(Strict):
    """What one workspace may use. A limit that is hit hurts that workspace only (N4)."""

    memory_mib: StrictInt = Field(
        default=2048, ge=256, le=1_048_576, description="Memory of all its processes together"
    )
    cpus: float = Field(default=2.0, gt=0, le=256, description="Processors' worth of time")
    processes: StrictInt = Field(default=256, ge=32, le=65536, description="Processes and threads")
    disk_mib: StrictInt = Field(
        default=2048,
        ge=64,
        le=10_485_760,
        description="Home and outputs together, and the same again for the project's shared folder, where it can be",
    )
    tmp_mib: StrictInt = Field(default=256, ge=16, le=65536, description="/tmp, and the same again for /var/tmp")


class Thresholds(Strict):
    """Disclosure rules of a tier."""

    small_count: StrictInt = Field(default=10, ge=1, le=1000, description="A count from 1 to below this is a finding")
    max_rows: StrictInt = Field(default=5000, ge=1, description="Tables with more rows look like row-level data")
    max_file_mib: StrictInt = Field(default=16, ge=1, le=4096, description="Largest file in a request")
    max_files: StrictInt = Field(default=100, ge=1, le=10_000, description="Most files in a request")


class Browser(Strict):
    """Bytes that may reach an analyst's browser per person, project and day."""

    soft_mib: StrictInt = Field(default=100, ge=1, description="From here on the page warns")
    hard_mib: StrictInt = Field(default=500, ge=1, description="From here on nothing more passes until midnight UTC")


class TierPolicy(Strict):
    """The controls of one tier."""

    approvals: tuple[Role, ...] = Field(
        default=(Role.approver,), min_length=1, description="Each of these roles approves the project"
    )
    mfa: StrictBool = Field(default=False, description="Whether a start needs a session with a second factor")
    access: Access = Field(default=Access.direct, description="How workspaces are seen; glass is not offered yet")
    quorum: StrictInt = Field(default=2, ge=2, le=5, description="Blind votes that must agree before a file leaves")
    max_life_hours: StrictInt = Field(default=12, ge=1, le=168, description="Longest life of one start of a workspace")
    scripts_in_output: StrictBool = Field(default=False, description="Whether JavaScript in notebook output may run")
    limits: Limits = Limits()
    thresholds: Thresholds = Thresholds()
    browser: Browser = Browser()

    @field_validator("approvals")
    @classmethod
    def _each_once(cls, roles: tuple[Role, ...]) -> tuple[Role, ...]:
        if len(set(roles)) != len(roles):
            raise ValueError("each role stands once: two people of one role are not asked for this way")
        return roles


class PolicyProfileSpec(Strict):
    """The controls per tier; a tier that is not listed is refused."""

    version: StrictInt = Field(default=1, ge=1, description="Raise it with every change; requests name it")
    tiers: dict[Literal["0", "1", "2", "3", "4"], TierPolicy] = Field(
        description="The controls of each tier, by number"
    )

    def policy(self, tier: int) -> TierPolicy | None:
        """The controls of a tier, or None when this profile has none for it."""
        return next((policy for name, policy in self.tiers.items() if name == str(tier)), None)


class Project(Strict):
    """An approved piece of research; the unit of isolation."""

    api_version: Literal["tre.dev/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["Project"]
    metadata: Metadata
    spec: ProjectSpec


class Dataset(Strict):
    """Data owned by controllers; each version is immutable."""

    api_version: Literal["tre.dev/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["Dataset"]
    metadata: Metadata
    spec: DatasetSpec


class Person(Strict):
    """Somebody who can sign in; the name is their id."""

    api_version: Literal["tre.dev/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["Person"]
    metadata: Metadata
    spec: PersonSpec


class PolicyProfile(Strict):
    """The controls per tier that projects refer to."""

    api_version: Literal["tre.dev/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["PolicyProfile"]
    metadata: Metadata
    spec: PolicyProfileSpec


CatalogueObject = Annotated[Project | Dataset | Person | PolicyProfile, Field(discriminator="kind")]
KINDS: dict[str, type[Project] | type[Dataset] | type[Person] | type[PolicyProfile]] = {
    "Project": Project,
    "Dataset": Dataset,
    "Person": Person,
    "PolicyProfile": PolicyProfile,
}


def explicit_fields(model: BaseModel) -> dict[str, Any]:
    """The JSON form of the fields that were set by hand: what a digest is made over (a new default changes nothing)."""
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True)
