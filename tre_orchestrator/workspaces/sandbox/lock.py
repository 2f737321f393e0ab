"""The lock as it is on this machine, ready for the launcher, and the digest that a proof is made for (N2)."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path

from tre_orchestrator.workspaces import plan
from tre_orchestrator.workspaces.proof import lock_digest
from tre_orchestrator.workspaces.sandbox import arguments, launcher, modes
from tre_orchestrator.workspaces.sandbox.launcher import Build, Lock
from tre_orchestrator.workspaces.sandbox.modes import Machine
from tre_orchestrator.workspaces.sandbox.seccomp import filter_bytes

_MAKERS = (
    *("arguments", "control", "disk", "kernel", "launcher", "listener", "lock"),
    *("begin", "probe", "prover", "seccomp", "shared_disk", "shared_disks", "staging", "syscalls"),
)
"""The modules whose text makes or tries the lock."""


@dataclass(frozen=True, slots=True)
class MachineLock:
    """The lock, its digest, and which bubblewrap file that digest speaks of."""

    lock: Lock
    digest: str
    bwrap: tuple[int, int, int]


def lock_of(machine: Machine, build: Build = arguments.arguments) -> MachineLock:
    """What `machine` locks its workspaces with. `build` makes bwrap's arguments."""
    stamp = _stamp()
    filter_ = filter_bytes(machine.architecture, no_shared_memory=machine.limits.kind == "none")
    lock = Lock(
        mode=machine.choice.name,
        seccomp=filter_,
        limits=machine.limits,
        disk_cap=machine.disk_cap,
        masked_files=launcher.existing(arguments.MASKED_FILES),
        masked_folders=launcher.existing(arguments.MASKED_FOLDERS),
        build=build,
    )
    parts = {
        "mode": machine.choice.name,
        "architecture": machine.architecture,
        "kernel": f"{machine.kernel} {platform.version()}",
        "bwrap": [machine.bwrap, hashlib.sha256(Path(modes.BWRAP).read_bytes()).hexdigest()],
        "limits": machine.limits.kind,
        "disk_cap": machine.disk_cap,
        "seccomp": hashlib.sha256(filter_).hexdigest(),
        "template": arguments.template(machine.choice.name, build),
        "masked": [*lock.masked_files, *lock.masked_folders],
        "code": _CODE,
    }
    return MachineLock(lock, lock_digest(parts), stamp)


def refreshed(locked: MachineLock, machine: Machine) -> MachineLock:
    """The same lock, with another digest when bubblewrap was replaced since (a security update, say)."""
    if _stamp() == locked.bwrap:
        return locked
    return lock_of(replace(machine, bwrap=modes.bwrap_version()), locked.lock.build)


def _stamp() -> tuple[int, int, int]:
    status = os.stat(modes.BWRAP)
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def _digest_of_code() -> str:
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in [*(here / f"{name}.py" for name in _MAKERS), Path(plan.__file__)]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


_CODE = _digest_of_code()
"""Of the code as it was loaded: a newer package on the disk takes effect with the next supervisor."""
