"""Memory, CPU and process limits of a workspace (N4): what every way of limiting can do.

Every way can place a process, freeze and thaw all of a workspace, tell what it used, kill what is left and clean up.
`NoLimits` stands where a machine offers none. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tre_orchestrator.workspaces.plan import PlanLimits


@dataclass(frozen=True, slots=True)
class Usage:
    """What a workspace has used so far, and holds now."""

    cpu_seconds: float
    memory_bytes: int


class Limits(Protocol):
    """One way of limiting. `name` is the workspace's group; groups of one TRE share a prefix."""

    kind: str

    def place(self, name: str, limits: PlanLimits) -> None:
        """Make the group with its limits and put this process into it. Raises OSError."""

    def freeze(self, name: str) -> bool:
        """Stop every process of the group; False when there is no group to freeze."""

    def thaw(self, name: str) -> None:
        """Let them go on."""

    def usage(self, name: str) -> Usage | None:
        """What the group has used, or None where nothing counts."""

    def clear(self, name: str) -> None:
        """Kill what is left in the group and remove it. Raises OSError when something will not go."""

    def groups(self, prefix: str) -> list[str]:
        """Names of the groups that exist."""

    def close(self) -> None:
        """Remove what all groups shared, if no other TRE uses it."""


class NoLimits:
    """Nothing counts together: only limits of single processes hold, and memory as a whole is not limited."""

    kind = "none"

    def place(self, name: str, limits: PlanLimits) -> None:
        """Nothing to do."""

    def freeze(self, name: str) -> bool:
        """There is no group."""
        return False

    def thaw(self, name: str) -> None:
        """Nothing to do."""

    def usage(self, name: str) -> Usage | None:
        """Nothing counts."""
        return None

    def clear(self, name: str) -> None:
        """Nothing to remove."""

    def groups(self, prefix: str) -> list[str]:
        """There are none."""
        return []

    def close(self) -> None:
        """Nothing to remove."""
