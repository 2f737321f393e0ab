"""The lock as it is on this machine, ready for the launcher, and the digest that a proof is made for (N2)."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path

from tre_orchestrator.workspaces import plan, proof
from tre_orchestrator.workspaces.proof import lock_digest
from tre_orchestrator.workspaces.sandbox import arguments, launcher, modes
from tre_orchestrator.workspaces.sandbox.launcher import Build, Lock
from tre_orchestrator.workspaces.sandbox.modes import Machine
from tre_orchestrator.workspaces.sandbox.seccomp import filter_bytes

_MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"), Path("/sys/class/dmi/id/product_uuid"))
"""What tells machines apart; copies of one image may share the first two, hence the name as well."""


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
        "machine": machine_digest(),
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


def machine_digest(files: tuple[Path, ...] = _MACHINE_IDS) -> str:
    """Names this machine without telling its id, which machine-id(5) asks to keep to oneself."""
    known = [platform.node()]
    for file in files:
        try:
            known.append(file.read_text(encoding="utf-8", errors="replace").strip())
        except OSError:  # not there, or not for this account
            known.append("")
    return hashlib.sha256(json.dumps(["tre-orchestrator", *known]).encode()).hexdigest()


def _stamp() -> tuple[int, int, int]:
    status = os.stat(modes.BWRAP)
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def digest_of_code() -> str:
    """SHA-256 over every module that could make, try or loosen the lock."""
    digest = hashlib.sha256()
    for path in [*sorted(Path(__file__).parent.glob("*.py")), Path(plan.__file__), Path(proof.__file__)]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


_CODE = digest_of_code()
"""Of the whole sandbox, as it was loaded: a newer package on the disk takes effect with the next supervisor."""
