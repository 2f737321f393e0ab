"""What of a TRE is on the machine: its processes, groups, mounts, loop devices and port."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces.sandbox.startup import options_for


def is_alive(pid: int) -> bool:
    """Whether it runs; one that nobody has waited for yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def worker_of(settings: Settings) -> int:
    """The supervisor's worker: the child of the one whose parent is no supervisor."""
    found = {}
    for pid in processes_of(settings):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        if "sandbox.supervisor" in words:
            found[pid] = parent_of(pid)
    workers = [pid for pid, parent in found.items() if parent in found and found[parent] not in found]
    assert len(workers) == 1, found
    return workers[0]


def parent_of(pid: int) -> int:
    """The process id of its parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def processes_of(settings: Settings, *, workspaces_only: bool = False) -> list[int]:
    """Processes that have to do with this state folder: by words, environment, folders or mounts."""
    mark = f"{settings.state_dir}/workspaces/" if workspaces_only else str(settings.state_dir)
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid() or not is_alive(int(entry.name)):
            continue
        texts = []
        for name in ("mountinfo",) if workspaces_only else ("cmdline", "environ", "mountinfo"):
            try:
                texts.append((entry / name).read_bytes().decode(errors="replace"))
            except OSError:
                texts.append("")
        for name in () if workspaces_only else ("cwd", "root"):
            try:
                texts.append(os.readlink(entry / name))
            except OSError:
                texts.append("")
        if any(mark in text for text in texts):
            found.append(int(entry.name))
    return found


def left_behind(settings: Settings) -> list[str]:
    """Everything of this TRE that is still on the machine beside its files."""
    found = [f"process {pid}" for pid in processes_of(settings)]
    found += [f"cgroup {path}" for path in Path("/sys/fs/cgroup").rglob(f"{options_for(settings).prefix}*")]
    mark = str(settings.state_dir)
    found += [f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if mark in line]
    loops = subprocess.run(["/usr/sbin/losetup", "-a"], capture_output=True, text=True, check=True).stdout
    found += [f"loop device {line}" for line in loops.splitlines() if mark in line]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.listen_host, settings.listen_port))
        except OSError as error:
            found.append(f"port: {error}")
    return found
