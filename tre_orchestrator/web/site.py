"""What every route needs, in one frozen object made at start: settings, database, clock and the doors to other parts.

Routes get it by `site_of(request)`. Nothing in the web application opens a database, reads the environment or takes the
time on its own, so a test can stand in for each.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import Request

from tre_orchestrator.airlock.intake import Courier
from tre_orchestrator.airlock.store import Store
from tre_orchestrator.catalogue.names import PersonId, ProjectName
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ops.health import Health, ProcessRecord
from tre_orchestrator.settings import Settings


class Hub(Protocol):
    """Starts and stops workspaces; `hub.api.HubApi` is the real one."""

    def ensure_user(self, person: PersonId) -> None:
        """Make the hub know this person."""

    def start_server(self, person: PersonId, project: ProjectName, *, mfa: bool = False) -> bool:
        """Ask for a workspace; True when this call started it."""

    def stop_server(self, person: PersonId, project: ProjectName) -> None:
        """End it because its person asked, also while it starts."""

    def progress(self, person: PersonId, project: ProjectName) -> AsyncIterator[dict[str, Any]]:
        """The start's events as they come."""


@dataclass(frozen=True)
class LedgerKey:
    """The public half of the key that signs checkpoints and bundles."""

    name: str
    id: str
    pem: str


@dataclass(frozen=True)
class Machine:
    """How the TRE's processes are asked how they do."""

    health: Callable[[Settings], list[Health]]
    records: Callable[[Settings], list[ProcessRecord]]


@dataclass(frozen=True)
class Site:
    """The web application's surroundings."""

    settings: Settings
    db: Database
    clock: Callable[[], dt.datetime]
    identity_key: bytes
    hub: Hub
    courier: Courier
    store: Store
    machine: Machine
    ledger_key: LedgerKey

    @property
    def workspace_hosts(self) -> str:
        """The origins of all workspaces, as a content security policy names them."""
        return f"{self.settings.scheme}://*.lab.{self.settings.site}{self.settings.port_suffix}"


def site_of(request: Request) -> Site:
    """The site that this request came to."""
    site: Site = request.app.state.site
    return site
