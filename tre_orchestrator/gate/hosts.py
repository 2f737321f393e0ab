"""Which of the gate's hosts a request names: the people's, exactly one workspace's, or none of ours.

Compared byte for byte with the host and port that browsers are told to use: no case folding, no missing port, no
trailing dot, no address. A host that is not ours gets nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tre_orchestrator.catalogue.names import WorkspaceId
from tre_orchestrator.settings import Settings

_WORKSPACE_ID = re.compile(r"[a-z2-7]{16}")


@dataclass(frozen=True, slots=True)
class PeopleHost:
    """`<site>`: portal, airlock, hub."""


@dataclass(frozen=True, slots=True)
class WorkspaceHost:
    """`<id>.lab.<site>`: one workspace and nothing else."""

    workspace: WorkspaceId


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names the gate answers to."""

    site: str
    port_suffix: str

    def named(self, header: str) -> PeopleHost | WorkspaceHost | None:
        """The host that a `Host` header names, or None."""
        name = header.removesuffix(self.port_suffix) if self.port_suffix else header
        if name + self.port_suffix != header:
            return None
        if name == self.site:
            return PeopleHost()
        identifier = name.removesuffix(f".lab.{self.site}")
        if identifier != name and _WORKSPACE_ID.fullmatch(identifier):
            return WorkspaceHost(WorkspaceId(identifier))
        return None


def hosts_of(settings: Settings) -> Hosts:
    """The hosts of this TRE."""
    return Hosts(settings.site, settings.port_suffix)
