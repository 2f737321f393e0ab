"""What the controller counts; labels are names of steps, states and codes, never of people or projects (R3)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The controller's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.failures = Counter(
            "tre_controller_step_failures", "Failed steps", ["step", "code"], registry=self.registry
        )
        self.seconds = Histogram(
            "tre_controller_step_seconds",
            "Duration of a step",
            ["step"],
            registry=self.registry,
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60),
        )
        self.succeeded = Gauge(
            "tre_controller_step_success_timestamp_seconds", "Last success", ["step"], registry=self.registry
        )
        self.workspaces = Gauge("tre_workspaces", "Workspaces by state", ["state"], registry=self.registry)
        self.ended = Counter("tre_workspace_ends", "Ends by reason", ["reason"], registry=self.registry)
        self.end_seconds = Histogram(
            "tre_workspace_end_seconds",
            "From the decision to end a workspace until it was verified to be gone",
            registry=self.registry,
            buckets=(0.1, 0.25, 0.5, 1, 2, 5, 15, 60),
        )
        self.ledger_size = Gauge("tre_ledger_entries", "Entries under the latest checkpoint", registry=self.registry)
