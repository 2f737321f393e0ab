"""What the gate's two sides share: settings, keys, database, rights, meter, connections, files, metrics.

Built once at start; a missing or open secret, or a missing environment, stops the gate with its sentence (P5).
"""

from __future__ import annotations

import datetime as dt
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from tre_orchestrator.errors import Refusal, TreError
from tre_orchestrator.gate.addresses import Addresses
from tre_orchestrator.gate.meter import Meter, is_crossing, why_capped
from tre_orchestrator.gate.rights import STALE_SECONDS, Right, Rights
from tre_orchestrator.gate.static_files import StaticFiles, index
from tre_orchestrator.gate.store import Store
from tre_orchestrator.gate.upstream import Pools
from tre_orchestrator.governance.secrets import HUB_GATE, IDENTITY, INNER, required_secret
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces.environment import environment_dir

log = structlog.get_logger()
Clock = Callable[[], dt.datetime]
BOOKS_SECONDS = 30.0
"""How long the meter may stay unwritten before `/health` says so."""


class SignInError(TreError):
    """Nobody is signed in here, or not any more."""

    status = 401


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """The gate's secrets. Never printed."""

    identity: bytes
    inner: bytes
    sign_in: bytes
    hub_token: str


def read_keys(keys_dir: Path) -> Keys:
    """The secrets, all of which must be there."""
    hub = required_secret(keys_dir, HUB_GATE)
    return Keys(
        identity=required_secret(keys_dir, IDENTITY),
        inner=required_secret(keys_dir, INNER),
        sign_in=hmac.new(hub, b"gate sign-in cookie", "sha256").digest(),
        hub_token=hub.hex(),
    )


class Metrics:
    """What the gate counts. No person, project or path stands in a label (R3)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "tre_gate_requests", "Requests by host and rule", ["host", "rule"], registry=self.registry
        )
        self.refused = Counter(
            "tre_gate_refused", "Refusals by host and code", ["host", "code"], registry=self.registry
        )
        self.bytes_out = Counter(
            "tre_gate_workspace_bytes", "Bytes from workspaces to browsers", registry=self.registry
        )
        self.soft = Counter("tre_gate_soft_limits", "Soft limits of bytes crossed", registry=self.registry)
        self.rights = Gauge("tre_gate_rights", "Rights in use", registry=self.registry)
        self.connections = Gauge("tre_gate_open_connections", "Connections to workspaces", registry=self.registry)
        self.lost = Gauge(
            "tre_gate_rights_lost", "Rights in use that were lost since the start", registry=self.registry
        )
        self.age = Gauge(
            "tre_gate_rights_age_seconds", "Seconds since rights were last confirmed", registry=self.registry
        )


class Core:
    """Everything both sides of the gate need."""

    def __init__(self, settings: Settings, db: Database, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.keys = read_keys(settings.keys_dir)
        self.meter = Meter(lambda: clock().date())
        self.store = Store(db, settings, clock, self.meter)
        self.rights = Rights(
            self.store.rights,
            lease_seconds=settings.lease_seconds,
            interval_seconds=settings.right_interval_seconds,
        )
        self.pools = Pools()
        self.addresses = Addresses()
        self.metrics = Metrics()
        self._files: StaticFiles | None = None
        self._books_at = time.monotonic()

    def books_kept(self) -> None:
        """What was metered is written, and connections nobody may use are closed."""
        self._books_at = time.monotonic()

    def why_unwell(self) -> str:
        """Which of the gate's own tasks has not succeeded for too long, as a sentence; empty when none."""
        late = []
        if self.rights.round_age > STALE_SECONDS:
            late.append(f"Rights were last read {self.rights.round_age:.0f} s ago; every workspace is closed.")
        if (age := self.books_age) > BOOKS_SECONDS:
            late.append(f"What went to browsers was last written down {age:.0f} s ago.")
        return " ".join(late)

    @property
    def books_age(self) -> float:
        """Seconds since the meter was last written."""
        return time.monotonic() - self._books_at

    def meter_out(self, right: Right, size: int) -> Refusal | None:
        """Count bytes before they go to a browser; why they may not go, or None."""
        total = self.meter.add(right.meter, size)
        self.metrics.bytes_out.inc(size)
        if is_crossing(total, size, right.soft):
            self.metrics.soft.inc()
            log.warning("gate.soft-limit", person=right.meter.person, project=right.meter.project, bytes=total)
        return why_capped(total - 1, right.hard)

    def files(self) -> StaticFiles:
        """Lab's files; indexed when first asked for, and again while the environment is not there yet."""
        if self._files is None or not self._files.files:
            self._files = index(environment_dir(self.settings))
        return self._files

    def observe(self) -> None:
        """Bring the gauges up to date."""
        self.metrics.rights.set(len(self.rights.in_use()))
        self.metrics.connections.set(self.rights.connections)
        self.metrics.lost.set(self.rights.lost)
        self.metrics.age.set(self.rights.age)
