"""The processes of one workspace, from the host's /proc: for machines whose groups cannot freeze or count.

Stopping goes round until a whole round finds nothing new that runs; nothing inside can wake another up, because every
process that could is stopped too. Standard library only.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tre_orchestrator.workspaces.sandbox.limits import Usage

_ROUNDS = 200
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    parent: int
    state: str
    ticks: int
    pages: int


def stop_all(first: int) -> bool:
    """Stop (SIGSTOP) a workspace whose first process is `first`; False when it did not come to rest."""
    calm = 0
    for _ in range(_ROUNDS):
        running = [process for process in family(first) if process.state not in "TtZX"]
        if not running:
            calm += 1
            if calm == 2:
                return True
            continue
        calm = 0
        for process in running:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.001)
    continue_all(first)
    return False


def continue_all(first: int) -> None:
    """Let them go on."""
    for process in family(first):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)


def usage_of(first: int) -> Usage:
    """What its living processes have used and hold now."""
    members = family(first)
    ticks = sum(process.ticks for process in members)
    return Usage(ticks / _TICKS, sum(process.pages for process in members) * _PAGE)


def family(first: int) -> list[_Process]:
    """The process and everything below it; orphans inside belong to the first process, so none is missed."""
    children: dict[int, list[_Process]] = {}
    found: list[_Process] = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            process = _read(int(name))
            if process is not None:
                children.setdefault(process.parent, []).append(process)
                if process.pid == first:
                    found.append(process)
    for process in found:
        found.extend(children.get(process.pid, []))
    return found


def _read(pid: int) -> _Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    words = text[text.rindex(")") + 2 :].split()
    return _Process(pid, int(words[1]), words[0], int(words[11]) + int(words[12]), int(words[21]))
