"""The namespaces a cluster lives in, and how all of it goes away.

Everything runs below one process: pid 1 of a pid namespace that has network and mount namespaces of its own. When it
ends, the kernel ends every process, mount and interface of the cluster. It ends with its harness, also when that is
killed (PR_SET_PDEATHSIG), unless the cluster is to be kept. What then is left are a folder below /tmp and empty
cgroups; `remove_leftovers` takes those of every dead cluster away, and each start begins with it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from tests.cluster.cache import alone, cache_dir
from tre_orchestrator.errors import Unavailable

PREFIX = "tre-cluster-"
_CGROUPS = Path("/sys/fs/cgroup")
_STATE = Path("/tmp")

# It never asks how a child ended, so the kernel takes away what containers leave behind.
_PID_1 = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"

# Programs write to places of the host that cannot all be set: they see copies of these, kept in the state folder.
_COPIED = ("etc", "opt", "var/lib", "var/log")
_MOUNTS = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/cilium /run/containerd /run/lock
for folder in {copied}; do
  copy={state}/copies/$folder
  mkdir -p $copy/upper $copy/work
  mount -t overlay -o lowerdir=/$folder,upperdir=$copy/upper,workdir=$copy/work overlay /$folder
done
mount -t bpf bpf /sys/fs/bpf
"""


class Spaces:
    """One cluster's namespaces, state folder and cgroups. `name` is unique on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.cgroup = f"/{folder.name}"
        self._holder: subprocess.Popen[bytes] | None = None

    @classmethod
    def create(cls, *, keep: bool) -> Spaces:
        """Make them, after removing what dead clusters have left.

        They end with this process unless `keep`, which `release` completes.
        """
        with _one_at_a_time():
            _remove_dead()
            spaces = cls(Path(tempfile.mkdtemp(prefix=PREFIX, dir=_STATE)))
            (spaces.folder / "owner.json").write_text(json.dumps(identity(os.getpid())))
        try:
            for name in ("log", "tmp", "bin", "ended"):
                (spaces.folder / name).mkdir()
            spaces._start(keep=keep)
            spaces._make_cgroups()
            spaces.run("sh", "-c", _MOUNTS.format(state=spaces.folder, copied=" ".join(_COPIED)))
        except BaseException:
            spaces.remove()
            raise
        return spaces

    @property
    def init(self) -> int:
        """The host's number for pid 1; raises `Unavailable` when it has ended."""
        pid, _ = record = _read(self.folder / "init.json") or (0, 0)
        if not pid or identity(pid) != list(record):
            raise Unavailable("cluster-gone", f"Cluster {self.name} does not run any more.")
        return int(pid)

    def enter(self, *command: str) -> list[str]:
        """The command line that runs `command` on the node: its network, mounts and processes."""
        return ["nsenter", "-t", str(self.init), "--mount", "--pid", "--net", "--", *command]

    def run(self, *command: str, text: str | None = None) -> str:
        """Run a command on the node and give what it prints; raises `Unavailable` with its complaint."""
        return run(self.enter(*command), text)

    def start(self, name: str, *command: str, **environment: str) -> None:
        """Start a daemon on the node: with a parent there and no pipe of ours. `log/NAME.log` has its words."""
        log, ended = self.folder / "log" / f"{name}.log", self.folder / "ended" / name
        in_background = '{ "$@"; echo $? > "$ENDED"; } < /dev/null >> "$LOG" 2>&1 &'
        fixed = {"LOG": str(log), "ENDED": str(ended), "TMPDIR": str(self.folder / "tmp")}
        command_line = self.enter("setsid", "sh", "-c", in_background, "sh", *command)
        with log.open("ab") as words:
            subprocess.run(
                command_line,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                env={**_environment(), **environment, **fixed},
                check=True,
            )

    def ended(self) -> dict[str, int]:
        """The daemons that have ended, and their exit codes."""
        return {path.name: int(path.read_text()) for path in (self.folder / "ended").iterdir() if path.stat().st_size}

    def last_words(self, name: str) -> str:
        """The end of a daemon's log, as one line."""
        lines = (self.folder / "log" / f"{name}.log").read_text(errors="replace").splitlines()
        return " / ".join(lines[-5:])[:2000]

    def release(self) -> None:
        """From now on it belongs to no process: only `kept` finds it."""
        (self.folder / "owner.json").write_text("null")

    def remove(self) -> None:
        """End everything and leave no trace."""
        if self._holder:
            self._holder.kill()  # its child, pid 1, goes with it
            self._holder.wait()
        with _one_at_a_time():
            _remove(self.folder)

    def _start(self, *, keep: bool) -> None:
        unshare = ["unshare", "--pid", "--mount", "--net", "--propagation", "private", "--mount-proc", "--kill-child"]
        leash = [] if keep else ["setpriv", "--pdeathsig", "KILL"]
        with (self.folder / "log" / "init.log").open("ab") as log:
            # No pipe and no terminal of ours stays open in it: nobody waits for it to close one, no ^C reaches it.
            command = [*leash, *unshare, "/usr/bin/python3", "-I", "-c", _PID_1]
            self._holder = holder = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
            )
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
        until = time.monotonic() + 10
        while time.monotonic() < until and holder.poll() is None:
            with suppress(OSError):
                if pids := children.read_text().split():
                    (self.folder / "init.json").write_text(json.dumps(identity(int(pids[0]))))
                    return
            time.sleep(0.01)
        words = (self.folder / "log" / "init.log").read_text().strip()
        raise Unavailable("cluster-namespaces", f"This machine gives no namespaces: {words or 'unshare was too slow'}.")

    def _make_cgroups(self) -> None:
        """One in each hierarchy; kubelet makes its own below. Source: cgroups(7), cpuset(7)."""
        for root in _hierarchies():
            folder = root / self.name
            folder.mkdir()
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (root / name).exists() and (root / "tasks").exists():  # version 1 inherits neither
                    (folder / name).write_text((root / name).read_text())


def identity(pid: int) -> list[int]:
    """A process's number and start time, together never used again; empty when it has ended. proc_pid_stat(5)"""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] in "ZX" else [pid, int(fields[19])]


def remove_leftovers() -> list[str]:
    """Remove every cluster whose harness is dead, kept ones that have ended too; returns their names."""
    with _one_at_a_time():
        return _remove_dead()


def kept() -> Spaces | None:
    """The cluster that was told to outlive its harness, when there is one that runs."""
    with _one_at_a_time():
        running = [folder for folder in _folders() if _read(folder / "owner.json") is None and not _is_dead(folder)]
    return Spaces(running[0]) if running else None


def _one_at_a_time() -> AbstractContextManager[None]:
    cache_dir().mkdir(mode=0o755, parents=True, exist_ok=True)
    return alone(cache_dir() / "clusters.lock")


def _remove_dead() -> list[str]:
    dead = [folder for folder in _folders() if _is_dead(folder)]
    for folder in dead:
        _remove(folder)
    for root in _hierarchies():
        for cgroup in root.glob(f"{PREFIX}*"):
            if not (_STATE / cgroup.name).exists():
                _remove_cgroup(cgroup)
    return [folder.name for folder in dead]


def _folders() -> list[Path]:
    """Clusters' state folders. Anybody may make a folder in /tmp: only root's own are believed."""
    found = sorted(_STATE.glob(f"{PREFIX}*"))
    return [path for path in found if not path.is_symlink() and path.stat().st_uid == os.geteuid()]


def _is_dead(folder: Path) -> bool:
    owner = _read(folder / "owner.json") or _read(folder / "init.json")
    return owner is None or identity(owner[0]) != owner


def _remove(folder: Path) -> None:
    init = _read(folder / "init.json")
    if init and identity(init[0]) == init:
        os.kill(init[0], signal.SIGKILL)
        _wait_until_gone(init)
    for root in _hierarchies():
        _remove_cgroup(root / folder.name)
    shutil.rmtree(folder)


def _wait_until_gone(record: list[int]) -> None:
    until = time.monotonic() + 30
    while identity(record[0]) == record:
        if time.monotonic() > until:
            raise Unavailable("cluster-stuck", f"Process {record[0]} does not end although it was killed.")
        time.sleep(0.02)


def _remove_cgroup(cgroup: Path) -> None:
    """Empty cgroups go from the leaves up; the last dead process may still be on its way out."""
    until = time.monotonic() + 10
    while cgroup.exists():
        for folder, _, _ in os.walk(cgroup, topdown=False):
            with suppress(OSError):
                os.rmdir(folder)
        if time.monotonic() > until:
            raise Unavailable("cluster-stuck", f"{cgroup} cannot be removed: a process of a dead cluster is in it.")
        time.sleep(0.02)


def _hierarchies() -> Iterable[Path]:
    """The cgroup roots: one for version 2, one for each controller (and name) for version 1."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [path for path in sorted(_CGROUPS.iterdir()) if path.is_dir() and not path.is_symlink()]


def _environment() -> dict[str, str]:
    """Ours, without proxies: from the node there is no way to one."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def _read(path: Path) -> list[int] | None:
    """A recorded identity; None for a record that is not there, and for one that says nobody."""
    try:
        record: list[int] | None = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return record


def run(command: list[str], text: str | None = None) -> str:
    """Run a command, give what it prints, and raise `Unavailable` with its complaint."""
    on_node = command[0] == "nsenter"
    shown = " ".join(command[command.index("--") + 1 :] if on_node else command)[:200]
    environment = _environment() if on_node else None
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, env=environment, check=False, timeout=300
        )
    except FileNotFoundError as error:
        raise Unavailable("cluster-command", f"There is no {command[0]} in PATH, which `{shown}` needs.") from error
    if done.returncode:
        raise Unavailable("cluster-command", f"`{shown}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
