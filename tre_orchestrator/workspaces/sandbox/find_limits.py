"""Which way of limiting works on this machine: each is tried for real, with a process that is moved and counted.

Order: a systemd scope where systemd runs the machine, cgroup v2, cgroup v1 (also a folder that root has delegated to
this user), none. What was tried and why it did not work is kept for `tre doctor`. Standard library only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tre_orchestrator.workspaces.plan import PlanLimits
from tre_orchestrator.workspaces.sandbox.cgroups import CgroupV1, CgroupV2
from tre_orchestrator.workspaces.sandbox.limits import Limits, NoLimits
from tre_orchestrator.workspaces.sandbox.systemd import SystemdScope

CGROUP_ROOT = Path("/sys/fs/cgroup")
OWN_FOLDER = "tre-orchestrator"
_CONTROLLERS = ("memory", "pids", "cpu")
_TRIAL = PlanLimits(memory_mib=64, cpus=1.0, processes=16, disk_mib=1, tmp_mib=1)


@dataclass(frozen=True, slots=True)
class Found:
    """The way that works, and a sentence for each one that does not."""

    limits: Limits
    failures: tuple[str, ...]


def find_limits(root: Path = CGROUP_ROOT, systemd: Path = Path("/run/systemd/system")) -> Found:
    """Try the ways in order; never raises, because a machine without any still runs workspaces, with a warning."""
    failures: list[str] = []
    ways: list[tuple[str, Callable[[], Limits]]] = []
    is_unified = (root / "cgroup.controllers").exists()
    if systemd.is_dir() and is_unified and shutil.which("busctl"):
        ways.append(("systemd scope", lambda: SystemdScope(root, os.geteuid())))
    if is_unified:
        ways.append(("cgroup v2", lambda: CgroupV2(_delegated_v2(root))))
    else:
        ways += [("cgroup v1", partial(_v1, root, place)) for place in _v1_places()]
    for name, make in ways:
        try:
            limits = make()
            why_not = _try(limits)
        except OSError as error:
            why_not = f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else "")
        else:
            if why_not is None:
                return Found(limits, tuple(failures))
        failures.append(f"{name}: {why_not}")
    return Found(NoLimits(), tuple(failures))


def _try(limits: Limits) -> str | None:
    """Place a child, see that the group counts it, remove the group; returns why that failed, or None."""
    name = f"tre-trial-{os.getpid()}"
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        said = b"unknown"
        try:
            limits.place(name, _TRIAL)
            said = b"placed" if limits.usage(name) is not None else b"the group does not count memory"
        except Exception as error:  # noqa: BLE001  # whatever went wrong is told by the parent
            said = str(error).encode() or repr(error).encode()
        finally:
            os.write(write_end, said[:500])
            os._exit(0)
    os.close(write_end)
    try:
        said = os.read(read_end, 500)
    finally:
        os.close(read_end)
        os.waitpid(child, 0)
    try:
        limits.clear(name)
    except OSError as error:
        return f"a group cannot be removed ({error.strerror})"
    return None if said == b"placed" else said.decode(errors="replace") or "the trial process ended early"


def _v1(root: Path, place: str) -> Limits:
    return CgroupV1(_v1_bases(root, place))


def _v1_places() -> list[str]:
    """Below our own group first; then the folder that root made for this user in every controller."""
    return [OWN_FOLDER, f"{OWN_FOLDER}-{os.geteuid()}"]


def _v1_bases(root: Path, place: str) -> dict[str, Path]:
    """The folder of each controller below which groups are made. Raises OSError when a needed one is absent."""
    own = _own_groups()
    bases: dict[str, Path] = {}
    for controller in (*CgroupV1.needed, *CgroupV1.wanted):
        mount = next((path for path in (root / controller, root / "cpu,cpuacct") if _serves(path, controller)), None)
        if mount is None:
            continue
        inside = mount / own.get(controller, "/").lstrip("/")
        above = inside if inside.is_dir() and place == OWN_FOLDER else mount
        bases[controller] = above / place
    missing = [controller for controller in CgroupV1.needed if controller not in bases]
    if missing:
        raise OSError(f"controller {', '.join(missing)} is not mounted below {root}")
    return bases


def _serves(mount: Path, controller: str) -> bool:
    return mount.is_dir() and (mount.name == controller or controller in mount.name.split(","))


def _own_groups() -> dict[str, str]:
    """Our own group in each v1 controller, from /proc/self/cgroup."""
    groups = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path
    return groups


def _delegated_v2(root: Path) -> Path:
    """A group below our own whose children have the controllers, made if need be. Raises OSError when not allowed.

    A group that holds processes cannot hand controllers down (the "no internal process" rule), so this process steps
    into a leaf of its own first.
    """
    path = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    own = root / path.lstrip("/")
    own = own.parent if own.name == "supervisor" else own
    wanted = " ".join(f"+{controller}" for controller in _CONTROLLERS)
    try:
        (own / "cgroup.subtree_control").write_text(wanted)
    except OSError:
        leaf = own / "supervisor"
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
        (own / "cgroup.subtree_control").write_text(wanted)
    base = own / OWN_FOLDER
    with suppress(FileExistsError):
        base.mkdir()
    (base / "cgroup.subtree_control").write_text(wanted)
    return base
