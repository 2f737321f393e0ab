"""The two generations of control groups, each as one way of limiting a workspace (N4).

Version 1 has a folder per controller, version 2 one folder for all. Limits are written before the process enters, so
nothing runs without them. Standard library only.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from tre_orchestrator.workspaces.plan import PlanLimits
from tre_orchestrator.workspaces.sandbox.limits import Usage

MIB = 1024 * 1024
SPARE_PROCESSES = 8
"""bwrap's own two and the moments between fork and exec come on top of what the workspace may start."""

_FREEZE_SECONDS = 2.0
_EMPTY_SECONDS = 5.0
_PERIOD_MICROSECONDS = 100_000


class CgroupV1:
    """One folder per controller. `freezer` is asked for but not needed."""

    kind = "cgroup v1"
    needed = ("memory", "pids", "cpu")
    wanted = ("freezer", "cpuacct")

    def __init__(self, bases: dict[str, Path]) -> None:
        self._bases = bases

    def place(self, name: str, limits: PlanLimits) -> None:
        """Make the group in every controller, limits first, then enter."""
        files = {
            "memory": {"memory.limit_in_bytes": limits.memory_mib * MIB},
            "pids": {"pids.max": limits.processes + SPARE_PROCESSES},
            "cpu": {
                "cpu.cfs_period_us": _PERIOD_MICROSECONDS,
                "cpu.cfs_quota_us": int(limits.cpus * _PERIOD_MICROSECONDS),
            },
        }
        for controller, base in self._bases.items():
            folder = base / name
            folder.mkdir(parents=True, exist_ok=True)
            for file, value in files.get(controller, {}).items():
                (folder / file).write_text(str(value))
        with suppress(OSError):  # no swap accounting in this kernel
            (self._bases["memory"] / name / "memory.memsw.limit_in_bytes").write_text(str(limits.memory_mib * MIB))
        for base in self._bases.values():
            (base / name / "cgroup.procs").write_text(str(os.getpid()))

    def freeze(self, name: str) -> bool:
        """FROZEN is reached when every task has stopped (freezer-subsystem.rst)."""
        base = self._bases.get("freezer")
        if base is None or not (base / name).is_dir():
            return False
        state = base / name / "freezer.state"
        deadline = time.monotonic() + _FREEZE_SECONDS
        while time.monotonic() < deadline:
            state.write_text("FROZEN")
            if state.read_text().strip() == "FROZEN":
                return True
            time.sleep(0.001)
        self.thaw(name)
        return False

    def thaw(self, name: str) -> None:
        """THAWED; a group that is gone needs none."""
        base = self._bases.get("freezer")
        if base is not None:
            with suppress(FileNotFoundError):
                (base / name / "freezer.state").write_text("THAWED")

    def usage(self, name: str) -> Usage | None:
        """cpuacct counts nanoseconds."""
        accounts = self._bases.get("cpuacct", self._bases["cpu"]) / name / "cpuacct.usage"
        memory = _number(self._bases["memory"] / name / "memory.usage_in_bytes")
        spent = _number(accounts)
        return None if memory is None else Usage((spent or 0) / 1e9, memory)

    def clear(self, name: str) -> None:
        """Kill, wait, remove, in every controller."""
        self.thaw(name)
        for base in self._bases.values():
            _remove(base / name)

    def groups(self, prefix: str) -> list[str]:
        """Groups with this prefix in any controller."""
        return sorted({name for base in self._bases.values() for name in _children(base, prefix)})

    def close(self) -> None:
        """Remove the folders above the groups; one that is not empty stays."""
        for base in self._bases.values():
            with suppress(OSError):
                base.rmdir()


class CgroupV2:
    """One folder; the controllers must be enabled in every group above it (cgroup-v2.rst)."""

    kind = "cgroup v2"

    def __init__(self, base: Path) -> None:
        self._base = base

    def place(self, name: str, limits: PlanLimits) -> None:
        """Make the group, limits first, then enter."""
        folder = self._base / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(str(limits.memory_mib * MIB))
        (folder / "pids.max").write_text(str(limits.processes + SPARE_PROCESSES))
        (folder / "cpu.max").write_text(f"{int(limits.cpus * _PERIOD_MICROSECONDS)} {_PERIOD_MICROSECONDS}")
        with suppress(FileNotFoundError):  # a kernel without swap
            (folder / "memory.swap.max").write_text("0")
        (folder / "cgroup.procs").write_text(str(os.getpid()))

    def freeze(self, name: str) -> bool:
        """`frozen 1` in cgroup.events is the kernel's word that every task has stopped."""
        folder = self.folder(name)
        if folder is None:
            return False
        (folder / "cgroup.freeze").write_text("1")
        deadline = time.monotonic() + _FREEZE_SECONDS
        while time.monotonic() < deadline:
            if "frozen 1" in (folder / "cgroup.events").read_text():
                return True
            time.sleep(0.001)
        self.thaw(name)
        return False

    def thaw(self, name: str) -> None:
        """Let the group go on; a group that is gone needs none."""
        folder = self.folder(name)
        if folder is not None:
            with suppress(FileNotFoundError):
                (folder / "cgroup.freeze").write_text("0")

    def usage(self, name: str) -> Usage | None:
        """cpu.stat counts microseconds."""
        folder = self.folder(name)
        memory = _number(folder / "memory.current") if folder else None
        if folder is None or memory is None:
            return None
        lines = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
        return Usage(int(lines["usage_usec"]) / 1e6, memory)

    def clear(self, name: str) -> None:
        """cgroup.kill where the kernel has it (5.14), one by one elsewhere."""
        folder = self.folder(name)
        if folder is not None:
            self.thaw(name)
            with suppress(OSError):
                (folder / "cgroup.kill").write_text("1")
            _remove(folder)

    def groups(self, prefix: str) -> list[str]:
        """Groups with this prefix."""
        return _children(self._base, prefix)

    def close(self) -> None:
        """Remove the folder above the groups; one that is not empty stays."""
        with suppress(OSError):
            self._base.rmdir()

    def folder(self, name: str) -> Path | None:
        """The group's folder while it exists."""
        folder = self._base / name
        return folder if folder.is_dir() else None


def _children(base: Path, prefix: str) -> list[str]:
    try:
        return sorted(entry.name for entry in base.iterdir() if entry.name.startswith(prefix) and entry.is_dir())
    except FileNotFoundError:
        return []


def _remove(folder: Path) -> None:
    """Kill every process of a group until none is left, then remove it with the groups made below it."""
    deadline = time.monotonic() + _EMPTY_SECONDS
    while folder.is_dir():
        for child in [entry for entry in folder.iterdir() if entry.is_dir()]:
            _remove(child)
        with suppress(OSError):
            for word in (folder / "cgroup.procs").read_text().split():
                os.kill(int(word), signal.SIGKILL)
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
