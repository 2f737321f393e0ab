"""Which process a number stands for: its start in clock ticks since boot, and which boot that was.

Both come from the kernel and no change of the wall clock moves them. Source: proc(5), /proc/<pid>/stat: state is
field 3, start time is field 22.
"""

from __future__ import annotations

from pathlib import Path

_PROC = Path("/proc")


def birth_of(pid: int, proc: Path = _PROC) -> str:
    """ "<boot id>:<ticks>" of the living process with this number; empty when there is none."""
    if pid <= 0:
        return ""
    try:
        fields = (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    if fields[0] in "ZX":
        return ""
    boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{fields[19]}"


def is_process_gone(pid: int, birth: str, proc: Path = _PROC) -> bool:
    """Whether the process that had this number and birth has ended; a later one may have its number."""
    now = birth_of(pid, proc)
    return not now or now != birth
