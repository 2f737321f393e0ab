"""bubblewrap's arguments for one workspace: the whole lock of mounts and namespaces in one pure function.

Order matters to bwrap. The list holds no secret and goes through `--args FD`, because argv is world-readable in
/proc; the environment goes through execve. `template` is the same list with every path and number that differs
between workspaces replaced, so that its hash names the lock. Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

INSIDE_ID = 1000
"""Who the analyst is inside: uid and gid, and `analyst` by name."""

MIB = 1024 * 1024
SHM_MIB = 64
RUN_MIB = 1

MASKED_FILES = (
    # What tells about the machine or its other users and is not covered by a namespace.
    *("/proc/kallsyms", "/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/kcore", "/proc/kmsg"),
    *("/proc/sysrq-trigger", "/proc/config.gz", "/proc/kpagecount", "/proc/kpageflags", "/proc/kpagecgroup"),
    *("/proc/cmdline", "/proc/partitions", "/proc/diskstats", "/proc/modules", "/proc/slabinfo", "/proc/vmallocinfo"),
    *("/proc/iomem", "/proc/ioports", "/proc/interrupts", "/proc/swaps", "/proc/locks"),
    # Counters of the whole machine, in which other workspaces' work can be followed. /proc/stat stays: psutil, which
    # every kernel uses, finds the boot time there.
    *("/proc/softirqs", "/proc/schedstat", "/proc/sched_debug", "/proc/zoneinfo", "/proc/buddyinfo"),
    *("/proc/pagetypeinfo", "/proc/vmstat"),
)
MASKED_FOLDERS = (
    "/proc/acpi",
    "/proc/scsi",
    "/proc/bus",
    "/proc/irq",
    "/proc/fs",
    "/proc/driver",
    "/proc/tty",
    "/proc/pressure",
)

ETC = ("ld.so.cache", "alternatives", "localtime", "ssl/openssl.cnf", "fonts", "mime.types", "python3", "python3.11")
"""What programs below /usr need from /etc; all of it is the same on every machine of a release."""


class Mode(StrEnum):
    """Which rights the launcher has on the host; the lock's flags are the same otherwise."""

    root = "root"
    user = "user"
    root_no_userns = "root-no-userns"


@dataclass(frozen=True, slots=True)
class Bind:
    """A folder at `source`, seen at `target`."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Numbers of the open descriptors that bwrap reads its inputs from, and the one it reports to."""

    passwd: int = 10
    group: int = 11
    hosts: int = 12
    nsswitch: int = 13
    seccomp: int = 14
    status: int = 15


@dataclass(frozen=True, slots=True)
class Jail:
    """Everything that one sandbox is made from. `uid` is the host's uid, used inside only without user namespaces."""

    mode: Mode
    uid: int
    binds: tuple[Bind, ...]
    tmp_mib: int
    processes: int
    command: tuple[str, ...]
    masked_files: tuple[str, ...] = MASKED_FILES
    masked_folders: tuple[str, ...] = MASKED_FOLDERS
    descriptors: Descriptors = field(default_factory=Descriptors)

    @property
    def inside_id(self) -> int:
        """The uid and gid that processes inside see."""
        return self.uid if self.mode is Mode.root_no_userns else INSIDE_ID


def arguments(jail: Jail) -> list[str]:
    """What goes through `bwrap --args`."""
    return [
        *_namespaces(jail),
        *_system(jail),
        *_proc(jail),
        *_memory_file_systems(jail),
        *_folders(jail),
        *("--chdir", _first_folder(jail), "--remount-ro", "/"),
        *("--seccomp", str(jail.descriptors.seccomp), "--json-status-fd", str(jail.descriptors.status)),
    ]


def command(jail: Jail) -> list[str]:
    """What bwrap starts inside.

    The process limit is set here and not before: outside a user namespace the kernel counts every process of the uid,
    so one workspace's fork bomb would stop another one's start.
    """
    limited = ["/usr/bin/prlimit", f"--nproc={jail.processes}", "--", *jail.command]
    if jail.mode is not Mode.root_no_userns:
        return limited
    uid = str(jail.uid)
    return [
        *("/usr/bin/setpriv", "--reuid", uid, "--regid", uid, "--keep-groups", "--no-new-privs"),
        *("--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--"),
        *("/usr/bin/env", "--chdir=/home/analyst", *limited),
    ]


def small_files(jail: Jail) -> dict[str, bytes]:
    """Contents of the four files below /etc that are made, by the name of their descriptor."""
    number = jail.inside_id
    return {
        "passwd": f"analyst:x:{number}:{number}:analyst:/home/analyst:/bin/bash\n".encode(),
        "group": f"analyst:x:{number}:\n".encode(),
        "hosts": b"127.0.0.1 localhost workspace\n::1 localhost\n",
        "nsswitch": b"passwd: files\ngroup: files\nhosts: files\n",  # no resolver at all
    }


def template(mode: Mode, build: Callable[[Jail], list[str]] | None = None) -> dict[str, list[str]]:
    """Arguments and command with placeholders: equal for every workspace under the same lock."""
    places = [("/opt/env", False), ("/opt/tre", False), ("/home/analyst", True), ("/outputs", True), ("/shared", True)]
    places += [("/imports", False), ("/outcomes", False), ("/data/*", False)]
    jail = Jail(
        mode=mode,
        uid=0,
        binds=tuple(Bind("*", target, writable) for target, writable in places),
        tmp_mib=0,
        processes=0,
        command=("*",),
    )
    return {"arguments": (build or arguments)(jail), "command": command(jail)}


def _first_folder(jail: Jail) -> str:
    """Host root without capabilities cannot enter the analyst's home, so there the workspace's uid does it itself."""
    return "/" if jail.mode is Mode.root_no_userns else "/home/analyst"


def _namespaces(jail: Jail) -> list[str]:
    """Every namespace, no capability, no terminal, no survivor."""
    common = [
        *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *("--hostname", "workspace", "--new-session", "--die-with-parent"),
    ]
    if jail.mode is Mode.root_no_userns:
        # setpriv needs these three to become the workspace's uid; it drops them, also from the bounding set.
        kept = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
        return [*common, "--cap-drop", "ALL", *(word for name in kept for word in ("--cap-add", name))]
    number = str(INSIDE_ID)
    return ["--unshare-user", "--uid", number, "--gid", number, "--disable-userns", "--cap-drop", "ALL", *common]


def _system(jail: Jail) -> list[str]:
    """A root made of /usr and a few files of /etc, all read-only. Implicit parents would be 0700, so they are made."""
    words: list[str] = []
    for folder in ("/etc", "/etc/ssl", "/home", "/data", "/opt", "/var"):
        words += ["--perms", "0755", "--dir", folder]
    words += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib64"):
        words += ["--symlink", f"usr/{name}", f"/{name}"]
    for name in ETC:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    made = {"passwd": "passwd", "group": "group", "hosts": "hosts"}  # pragma: allowlist secret
    made["nsswitch"] = "nsswitch.conf"
    for descriptor, name in made.items():
        number = str(getattr(jail.descriptors, descriptor))
        words += ["--perms", "0644", "--ro-bind-data", number, f"/etc/{name}"]
    return words


def _proc(jail: Jail) -> list[str]:
    words = ["--proc", "/proc"]
    for path in jail.masked_files:
        words += ["--ro-bind", "/dev/null", path]
    for path in jail.masked_folders:
        words += ["--size", "4096", "--tmpfs", path, "--remount-ro", path]
    return words


def _memory_file_systems(jail: Jail) -> list[str]:
    """Sizes are capped, and / and /dev are read-only: without both, each would take half of the machine's memory."""
    return [
        *("--dev", "/dev", "--size", str(SHM_MIB * MIB), "--perms", "1777", "--tmpfs", "/dev/shm"),
        *("--remount-ro", "/dev"),
        *("--size", str(jail.tmp_mib * MIB), "--perms", "1777", "--tmpfs", "/tmp"),
        *("--size", str(jail.tmp_mib * MIB), "--perms", "1777", "--tmpfs", "/var/tmp"),
        *("--size", str(RUN_MIB * MIB), "--perms", "1777", "--tmpfs", "/run"),
    ]


def _folders(jail: Jail) -> list[str]:
    words: list[str] = []
    for bind in jail.binds:
        words += ["--bind" if bind.writable else "--ro-bind", bind.source, bind.target]
    return words
