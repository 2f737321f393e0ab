"""What this machine offers, and which guarantee each lack weakens. Found by trying; nothing is changed."""

from __future__ import annotations

import ctypes.util
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tre_orchestrator.errors import TreError
from tre_orchestrator.ops import machine
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces.environment import environment_dir, why_not_whole
from tre_orchestrator.workspaces.sandbox import modes

_COMFORTABLE_BYTES = 10 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried. `effect` says what its lack weakens and what to do about it; empty when all is well."""

    what: str
    verdict: Literal["ok", "weaker", "missing"]
    found: str
    effect: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Try everything that a TRE on this machine relies on."""
    return [*_sandbox(settings), _environment(settings), _magic(), _disk(settings), _front_door(settings)]


def _sandbox(settings: Settings) -> Iterator[Finding]:
    try:
        found = modes.examine(settings.privilege, settings.state_dir)
    except TreError as error:
        yield Finding("Sandbox", "missing", "does not work here", error.sentence)
        return
    yield Finding("Sandbox", "ok", f"bubblewrap {found.bwrap} on Linux {found.kernel}, {found.architecture}")
    yield Finding("Privilege mode", "ok", f"{found.choice.name}: {found.choice.reason}")
    yield Finding("Limits", "ok" if found.limits.kind != "none" else "weaker", found.limits.kind)
    yield Finding("Disk cap per workspace", "ok" if found.disk_cap else "weaker", "yes" if found.disk_cap else "no")
    for warning in found.warnings:
        yield Finding("Weaker here", "weaker", "see below", warning)


def _environment(settings: Settings) -> Finding:
    folder = environment_dir(settings)
    why_not = why_not_whole(folder)
    if why_not is None:
        return Finding("Workspace environment", "ok", str(folder))
    return Finding(
        "Workspace environment", "weaker", why_not, "`tre up` or `make env` builds it: a minute, and network."
    )


def _magic() -> Finding:
    if ctypes.util.find_library("magic"):
        return Finding("File types", "ok", "libmagic is installed")
    effect = "The airlock cannot tell a file's real type, so every file goes to review. Run `apt install libmagic1`."
    return Finding("File types", "weaker", "libmagic is missing", effect)


def _disk(settings: Settings) -> Finding:
    folder = next(path for path in (settings.state_dir, *settings.state_dir.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    found = f"{free >> 30} GiB free below {folder}"
    try:
        machine.refuse_without_room(folder)
    except TreError as error:
        return Finding("Disk", "missing", found, error.sentence)
    if free < _COMFORTABLE_BYTES:
        return Finding(
            "Disk", "weaker", found, "Workspaces stop writing when it is full; the ledger needs room to go on."
        )
    return Finding("Disk", "ok", found)


def _front_door(settings: Settings) -> Finding:
    where = f"{settings.listen_host}:{settings.listen_port}"
    if machine.running_process(settings) is not None:
        return Finding("Front door", "ok", f"this TRE listens on {where}")
    try:
        machine.refuse_taken_port(settings)
    except TreError as error:
        return Finding("Front door", "missing", where, error.sentence)
    return Finding("Front door", "ok", f"{where} is free")
