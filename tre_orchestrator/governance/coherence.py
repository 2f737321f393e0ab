"""Do declared objects fit together, and with what people agreed to before? Pure; every fault at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tre_orchestrator.catalogue.models import Dataset, Person, PolicyProfile, Project

Found = tuple[str, str, str, str]
"""Kind, name, field (as in the YAML, list positions in brackets) and reason."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """A dataset version whose manifest is recorded, and its folder."""

    dataset: str
    version: str
    folder: str


@dataclass(frozen=True, slots=True)
class Declared:
    """A whole catalogue, by name within each kind."""

    projects: dict[str, Project]
    datasets: dict[str, Dataset]
    people: dict[str, Person]
    profiles: dict[str, PolicyProfile]

    @classmethod
    def of(cls, objects: Sequence[Project | Dataset | Person | PolicyProfile]) -> Declared:
        """The catalogue made of these objects."""
        return cls(
            {one.metadata.name: one for one in objects if isinstance(one, Project)},
            {one.metadata.name: one for one in objects if isinstance(one, Dataset)},
            {one.metadata.name: one for one in objects if isinstance(one, Person)},
            {one.metadata.name: one for one in objects if isinstance(one, PolicyProfile)},
        )

    def everything(self) -> list[Project | Dataset | Person | PolicyProfile]:
        """Every object."""
        return [*self.profiles.values(), *self.people.values(), *self.datasets.values(), *self.projects.values()]


def faults(
    objects: Sequence[Project | Dataset | Person | PolicyProfile],
    before: Declared,
    hashed: Sequence[Hashed],
    actor: str | None,
) -> list[Found]:
    """Everything wrong with the catalogue that `objects` would make of `before`; `actor` is the applying person.

    The whole result is looked at, so a change that breaks an object outside the change is a fault too.
    """
    after = Declared.of([*before.everything(), *objects])
    found = list(_named_twice(objects))
    for project in after.projects.values():
        found += _project_faults(project, after)
    acting = before.people.get(actor) if actor else None
    for dataset in after.datasets.values():
        found += _dataset_faults(dataset, after, before, hashed, acting)
    return found


def overlap(one: str, other: str) -> bool:
    """Whether two folders are the same, or one lies in the other: then they hold the same files (D1)."""
    first, second = (PurePosixPath(os.path.normpath(folder)) for folder in (one, other))
    return first.is_relative_to(second) or second.is_relative_to(first)


def _named_twice(objects: Sequence[Project | Dataset | Person | PolicyProfile]) -> Iterator[Found]:
    seen = set()
    for one in objects:
        key = (type(one).__name__, one.metadata.name)
        if key in seen:
            yield (*key, "metadata.name", "stands twice in what is applied")
        seen.add(key)


def _project_faults(project: Project, after: Declared) -> Iterator[Found]:
    kind, name, spec = "Project", project.metadata.name, project.spec
    for index, member in enumerate(spec.members):
        if member.person not in after.people:
            yield kind, name, f"spec.members[{index}].person", f"there is no person '{member.person}'"
    for index, use in enumerate(spec.datasets):
        dataset = after.datasets.get(use.name)
        if dataset is None:
            yield kind, name, f"spec.datasets[{index}].name", f"there is no dataset '{use.name}'"
        elif use.version not in {version.version for version in dataset.spec.versions}:
            yield kind, name, f"spec.datasets[{index}].version", f"dataset '{use.name}' has no version '{use.version}'"
    profile = after.profiles.get(spec.profile)
    if profile is None:
        yield kind, name, "spec.profile", f"there is no policy profile '{spec.profile}'"
    elif str(spec.tier) not in {*profile.spec.tiers}:
        yield kind, name, "spec.tier", f"policy profile '{spec.profile}' has no rules for tier {spec.tier}"


def _dataset_faults(
    dataset: Dataset, after: Declared, before: Declared, hashed: Sequence[Hashed], acting: Person | None
) -> Iterator[Found]:
    kind, name, spec = "Dataset", dataset.metadata.name, dataset.spec
    staffed = {organisation for person in after.people.values() for organisation in person.spec.controller_of}
    for index, organisation in enumerate(spec.controllers):
        if organisation not in staffed:
            reason = f"nobody decides for '{organisation}': no person has it in controller_of"
            yield kind, name, f"spec.controllers[{index}]", reason
    folders = {version.version: (index, version.folder) for index, version in enumerate(spec.versions)}
    for recorded in hashed:
        if recorded.dataset != name:
            continue
        if recorded.version not in folders:
            yield kind, name, "spec.versions", f"version '{recorded.version}' was hashed and may not be taken away"
        elif folders[recorded.version][1] != recorded.folder:
            index, _ = folders[recorded.version]
            reason = f"version '{recorded.version}' was hashed in '{recorded.folder}'; declare a new version instead"
            yield kind, name, f"spec.versions[{index}].folder", reason
    for index, version in enumerate(spec.versions):
        for other in after.datasets.values():
            if other.metadata.name != name and any(overlap(version.folder, one.folder) for one in other.spec.versions):
                reason = f"its files are those of dataset '{other.metadata.name}', whose controllers must grant them"
                yield kind, name, f"spec.versions[{index}].folder", reason
    earlier = before.datasets.get(name)
    gone = [one for one in earlier.spec.controllers if one not in spec.controllers] if earlier else []
    for organisation in gone:
        if acting is None or organisation not in acting.spec.controller_of:
            reason = f"'{organisation}' may only be taken away by its own people"
            yield kind, name, "spec.controllers", reason
