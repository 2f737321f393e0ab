"""Limits by a transient systemd scope, where systemd runs the machine: it owns the tree of control groups there.

The scope is asked for over the bus with this process in it (org.freedesktop.systemd1.Manager.StartTransientUnit), so
nothing has to be executed under systemd-run. What the kernel counts is read from the scope's cgroup v2 folder.
Standard library only.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from tre_orchestrator.workspaces.plan import PlanLimits
from tre_orchestrator.workspaces.sandbox.cgroups import MIB, SPARE_PROCESSES, CgroupV2

SLICE = "tre.slice"
_MOVE_SECONDS = 5.0


class SystemdScope(CgroupV2):
    """A scope per workspace below `tre.slice`, of the system's manager for root, else of the user's own."""

    kind = "systemd scope"

    def __init__(self, root: Path, uid: int) -> None:
        own = () if uid == 0 else ("user.slice", f"user-{uid}.slice", f"user@{uid}.service")
        super().__init__(root.joinpath(*own, SLICE))
        self._scope_uid = uid

    def place(self, name: str, limits: PlanLimits) -> None:
        """Ask for the scope and wait until the kernel says that this process is in it."""
        words = start_scope_words(unit(name), os.getpid(), limits, user=self._scope_uid != 0)
        asked = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
        if asked.returncode != 0:
            raise OSError(f"systemd refused a scope: {asked.stderr.strip() or asked.returncode}")
        deadline = time.monotonic() + _MOVE_SECONDS
        while unit(name) not in Path("/proc/self/cgroup").read_text():
            if time.monotonic() > deadline:
                raise OSError(f"systemd did not move the process into {unit(name)}")
            time.sleep(0.005)

    def folder(self, name: str) -> Path | None:
        """The scope's folder while it exists."""
        return super().folder(unit(name))

    def groups(self, prefix: str) -> list[str]:
        """Scopes with this prefix, without their ending."""
        return [found.removesuffix(".scope") for found in super().groups(prefix)]


def unit(name: str) -> str:
    """The scope's unit name."""
    return f"{name}.scope"


def start_scope_words(unit_name: str, pid: int, limits: PlanLimits, *, user: bool) -> list[str]:
    """The busctl command: unit name, mode "fail" (never touch an existing one), properties, no auxiliary units."""
    memory = str(limits.memory_mib * MIB)
    tasks = str(limits.processes + SPARE_PROCESSES)
    properties = [
        ("PIDs", "au", "1", str(pid)),
        ("Slice", "s", SLICE),
        ("Description", "s", "TRE workspace"),
        ("MemoryMax", "t", memory),
        ("MemorySwapMax", "t", "0"),
        ("TasksMax", "t", tasks),
        ("CPUQuotaPerSecUSec", "t", str(int(limits.cpus * 1_000_000))),
        ("CollectMode", "s", "inactive-or-failed"),
    ]
    return [
        "busctl",
        *(("--user",) if user else ()),
        *("call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"),
        *("StartTransientUnit", "ssa(sv)a(sa(sv))", unit_name, "fail", str(len(properties))),
        *(word for item in properties for word in item),
        "0",
    ]
