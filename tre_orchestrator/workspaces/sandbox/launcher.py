"""Turns one forked child of the supervisor into bwrap with a workspace inside.

Order: open the sources, own and stage them, make the listener, enter the limits, drop the uid, exec. Nothing of the
host reaches the inside but what the plan names: descriptors 0 to 3 (nothing, the log pipe twice, the listener), an
environment made here, no argument that tells anything. Standard library only.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tre_orchestrator.errors import TreError, Unavailable
from tre_orchestrator.workspaces import plan as places
from tre_orchestrator.workspaces.plan import PlanLimits, Roots, WorkspacePlan
from tre_orchestrator.workspaces.sandbox import arguments, kernel, staging, wire
from tre_orchestrator.workspaces.sandbox.arguments import Bind, Descriptors, Jail, Mode
from tre_orchestrator.workspaces.sandbox.journal import told
from tre_orchestrator.workspaces.sandbox.limits import Limits
from tre_orchestrator.workspaces.sandbox.listener import make_listener
from tre_orchestrator.workspaces.sandbox.shared_disk import SharedDisk, open_shared_disk

BWRAP = "/usr/bin/bwrap"
LISTENER = 3
MIB = 1024 * 1024
_ARGUMENTS = 16
_FIRST_FREE = 64

Build = Callable[[Jail], list[str]]


@dataclass(frozen=True, slots=True)
class Lock:
    """What holds a workspace on this machine, the same for every workspace: mode, filter, argument builder, limits."""

    mode: Mode
    seccomp: bytes
    limits: Limits
    disk_cap: bool
    masked_files: tuple[str, ...]
    masked_folders: tuple[str, ...]
    build: Build = arguments.arguments


@dataclass(frozen=True, slots=True)
class Start:
    """One start: the plan, where its sources may lie, who owns what, and what its listener and group are called.

    `shared` is the disk that the project's shared folder lies on; None where it is a plain folder.
    """

    plan: WorkspacePlan
    roots: Roots
    owners: staging.Owners | None
    group: str
    sockets: int
    environment: dict[str, str]
    shared: SharedDisk | None = None


def launch(lock: Lock, start: Start, parent: int, report: socket.socket, log: int, status: int) -> NoReturn:
    """Become the workspace. `report` is a seqpacket socket that takes the steps, the outputs folder and any error.

    Never returns: either this process is bwrap afterwards, or it has said why not and ends. It ends with `parent`, the
    process id of whoever forked it, at every step.
    """
    try:
        kernel.die_with_parent(signal.SIGKILL, parent)
        shared = (start.shared.pidfd, start.shared.ready.fileno()) if start.shared else ()
        kernel.close_all_but(report.fileno(), log, status, start.sockets, *shared)
        _launch(lock, start, parent, report, log, status)
    except TreError as error:
        _say(report, wire.error_message(error))
    except Exception as error:  # noqa: BLE001  # a child of the supervisor must end here, with a reason
        sentence = (
            f"The workspace could not be started: {told(error)}. The people who run this TRE find more in `tre doctor`."
        )
        _say(report, wire.error_message(Unavailable("launch", sentence)))
    os._exit(1)


def _launch(lock: Lock, start: Start, parent: int, report: socket.socket, log: int, status: int) -> None:
    plan = start.plan
    if start.shared is not None:
        start.shared.join()
    if start.owners is not None:
        staging.make_stage()
    own = staging.open_own(plan.workspace, start.roots)
    with staging.opened(plan, start.roots) as folders:
        _say(report, {"step": "Preparing the folders", "percent": 10})
        if start.owners is None:
            binds, outputs = staging.unstaged(plan), os.dup(folders[places.OUTPUTS])
        else:
            staging.give_owners(folders, start.owners)
            has_image = staging.uses_image(own, folders, can_mount=lock.disk_cap)
            if start.shared is not None:
                folders = {**folders, places.SHARED: open_shared_disk()}
            binds = staging.stage(plan, folders, start.owners, own if has_image else None)
            outputs = staging.outputs_on_disk() if has_image else os.dup(folders[places.OUTPUTS])
    _say(report, {"step": "Closing the lock", "percent": 25})
    service = start.owners.service if start.owners else None
    listener = make_listener(start.sockets, plan.socket_name, service)
    lock.limits.place(start.group, plan.limits)
    jail = jail_for(lock, plan, binds, start.owners.workspace if start.owners else os.getuid())
    groups = (start.owners.project,) if start.owners else None
    _say(report, {"started": True}, outputs)
    become_bwrap(lock, jail, plan.limits, start.environment, groups, parent, log, status, listener.fileno())


def jail_for(lock: Lock, plan: WorkspacePlan, binds: tuple[Bind, ...], uid: int) -> Jail:
    """What bwrap is told for this plan."""
    return Jail(
        mode=lock.mode,
        uid=uid,
        binds=binds,
        tmp_mib=plan.limits.tmp_mib,
        processes=plan.limits.processes,
        command=plan.command,
        masked_files=lock.masked_files,
        masked_folders=lock.masked_folders,
    )


def become_bwrap(
    lock: Lock,
    jail: Jail,
    limits: PlanLimits,
    environment: dict[str, str],
    groups: tuple[int, ...] | None,
    parent: int,
    log: int,
    status: int,
    listener: int | None,
) -> NoReturn:
    """Set limits, arrange descriptors, give up root for good, exec. `groups` is None where no root is to give up."""
    _limit_resources(limits, lock)
    wanted = _inputs(lock, jail)
    wanted |= {0: os.open("/dev/null", os.O_RDONLY), 1: log, 2: log, jail.descriptors.status: status}
    if listener is not None:
        wanted[LISTENER] = listener
    _arrange(wanted)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.set_wakeup_fd(-1)
    os.umask(0o007)
    os.setsid()
    if groups is not None and jail.mode is Mode.root:
        kernel.become(jail.uid, jail.uid, groups)
    elif groups is not None:
        os.setgroups(groups)
    kernel.die_with_parent(signal.SIGKILL, parent)
    os.chdir("/")
    os.execve(BWRAP, ["bwrap", "--args", str(_ARGUMENTS), "--", *arguments.command(jail)], environment)  # noqa: S606


def environment_for(plan: WorkspacePlan, token: str) -> dict[str, str]:
    """The whole environment: what the plan says, and the token that only the gate knows too."""
    return {**dict(plan.variables), "JUPYTER_TOKEN": token}


def existing(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the paths below /proc that this kernel has."""
    return tuple(path for path in paths if Path(path).exists())


def _limit_resources(limits: PlanLimits, lock: Lock) -> None:
    """Limits of single processes, beneath those of the group."""
    # 1, not 0: with 0 a piped core_pattern handler would still run, as the host's root, on a crash inside.
    _set_limit(resource.RLIMIT_CORE, 1)
    _set_limit(resource.RLIMIT_NOFILE, 4096)
    _set_limit(resource.RLIMIT_FSIZE, limits.disk_mib * MIB)
    _set_limit(resource.RLIMIT_MSGQUEUE, 0)
    _set_limit(resource.RLIMIT_MEMLOCK, MIB)
    if lock.limits.kind == "none":
        _set_limit(resource.RLIMIT_DATA, limits.memory_mib * MIB)
    # When the whole machine runs out of memory, workspaces go before the services. Raising needs no right.
    Path("/proc/self/oom_score_adj").write_text("500")


def _set_limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    capped = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (capped, capped))


def _inputs(lock: Lock, jail: Jail) -> dict[int, int]:
    """What bwrap reads, as memory files by the number it expects them at."""
    numbers: Descriptors = jail.descriptors
    made = {getattr(numbers, name): _memory_file(data) for name, data in arguments.small_files(jail).items()}
    words = lock.build(jail)
    made[_ARGUMENTS] = _memory_file(b"".join(os.fsencode(word) + b"\0" for word in words))
    if "--seccomp" in words:
        made[numbers.seccomp] = _memory_file(lock.seccomp)
    return made


def _memory_file(data: bytes) -> int:
    descriptor = os.memfd_create("input")
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _arrange(wanted: dict[int, int]) -> None:
    """Put each descriptor at its number, open for the program to be executed, and close every other one.

    An inherited descriptor goes around every namespace: one forgotten log file was re-opened for writing from inside.
    """
    high = {number: _moved_up(descriptor) for number, descriptor in wanted.items()}
    for number, descriptor in high.items():
        os.dup2(descriptor, number, inheritable=True)
    kernel.close_all_but(*wanted)


def _moved_up(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)


def _say(report: socket.socket, message: dict[str, object], *descriptors: int) -> None:
    data = json.dumps(message).encode()
    socket.send_fds(report, [data], descriptors)
