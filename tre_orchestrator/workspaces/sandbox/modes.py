"""Which of the three privilege modes this machine allows, found by trying, and what each lack weakens.

- root: root launches, each workspace is an unprivileged host uid of its own in a user namespace. The best.
- root-no-userns: where user namespaces are blocked; bwrap's own first process inside stays host root with three
  capabilities, and only the filter stops nested user namespaces.
- user: never as uid 0; all workspaces share the services' uid, so only mounts and namespaces keep them apart.

Standard library only.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tre_orchestrator.errors import Unavailable
from tre_orchestrator.workspaces.sandbox import kernel
from tre_orchestrator.workspaces.sandbox.arguments import Mode
from tre_orchestrator.workspaces.sandbox.disk import why_no_disk_cap
from tre_orchestrator.workspaces.sandbox.find_limits import find_limits
from tre_orchestrator.workspaces.sandbox.limits import Limits
from tre_orchestrator.workspaces.sandbox.seccomp import ARCHITECTURES
from tre_orchestrator.workspaces.sandbox.uids import FIRST

BWRAP = "/usr/bin/bwrap"
OLDEST_BWRAP = (0, 8, 0)
"""--disable-userns came with 0.8.0."""

_TRY_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Choice:
    """The mode, and in words why it is this one."""

    name: Mode
    reason: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine offers to workspaces. `warnings` say which guarantee is weaker here, and why."""

    choice: Choice
    architecture: str
    kernel: str
    bwrap: str
    limits: Limits
    disk_cap: bool
    warnings: tuple[str, ...]


def examine(privilege: str, scratch: Path) -> Machine:
    """Try everything once. `privilege` is a mode's name or "auto". Raises `Unavailable` when nothing can work here."""
    architecture = platform.machine()
    if architecture not in ARCHITECTURES:
        raise Unavailable("architecture", f"Workspaces need x86_64 or aarch64; this machine is {architecture}.")
    version = bwrap_version()
    choice = choose(privilege)
    found = find_limits()
    no_disk_cap = why_no_disk_cap(scratch)
    warnings = list(_mode_warnings(choice.name))
    if found.limits.kind == "none":
        tried = "; ".join(found.failures) or "no control groups are mounted"
        warnings.append(f"Memory and processor time of a workspace as a whole are not limited ({tried}).")
    if no_disk_cap:
        warnings.append(no_disk_cap.sentence)
    return Machine(
        choice=choice,
        architecture=architecture,
        kernel=platform.release(),
        bwrap=version,
        limits=found.limits,
        disk_cap=no_disk_cap is None,
        warnings=tuple(warnings),
    )


def choose(privilege: str) -> Choice:
    """The mode to use. Raises `Unavailable` with the reason when the wanted one, or every one, does not work."""
    is_root = os.geteuid() == 0
    if privilege == Mode.user and is_root:
        raise Unavailable("mode", "User mode does not run as root. Start as an ordinary user, or leave it to auto.")
    if privilege in (Mode.root, Mode.root_no_userns) and not is_root:
        raise Unavailable("mode", f"Mode {privilege} needs root. Start with sudo, or leave it to auto.")
    if not is_root:
        why_not = try_user_namespace(None)
        if why_not:
            raise Unavailable(
                "user-namespaces",
                f"This machine does not let an ordinary user make user namespaces ({why_not}). Start the TRE as root, "
                "or allow them (Ubuntu: the AppArmor profile bwrap-userns-restrict; elsewhere: sysctl "
                "kernel.unprivileged_userns_clone=1).",
            )
        return Choice(Mode.user, "started by an ordinary user, whose account all workspaces share")
    if privilege == Mode.root_no_userns:
        return _without_userns("asked for in the settings")
    why_not = try_user_namespace(FIRST - 1)
    if why_not is None:
        return Choice(Mode.root, "started by root, and user namespaces work: an account of its own per workspace")
    if privilege == Mode.root:
        raise Unavailable("user-namespaces", f"Mode root needs user namespaces, and they do not work here ({why_not}).")
    return _without_userns(f"user namespaces do not work here ({why_not})")


def try_user_namespace(uid: int | None) -> str | None:
    """Run `true` under the sandbox's namespaces, as `uid` when root asks; returns why that failed, or None."""
    words = ["--unshare-user", "--uid", "1000", "--gid", "1000", "--disable-userns", "--cap-drop", "ALL", *_REST]
    return _run_bwrap(words, uid)


def try_without_user_namespace() -> str | None:
    """The same as root without a user namespace."""
    return _run_bwrap(["--cap-drop", "ALL", *_REST], None)


def bwrap_version() -> str:
    """bubblewrap's version. Raises `Unavailable` when it is absent or too old."""
    try:
        said = subprocess.run([BWRAP, "--version"], capture_output=True, text=True, timeout=_TRY_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(
            "no-bwrap", "bubblewrap is not installed. Run `apt install bubblewrap` and start again."
        ) from error
    version = said.stdout.strip().rpartition(" ")[2]
    numbers = tuple(int(number) for number in re.findall(r"\d+", version))
    if numbers < OLDEST_BWRAP:
        raise Unavailable("old-bwrap", f"bubblewrap {version} is too old: workspaces need 0.8.0 or later.")
    return version


def _without_userns(why: str) -> Choice:
    why_not = try_without_user_namespace()
    if why_not:
        raise Unavailable("no-sandbox", f"bubblewrap cannot make a sandbox on this machine: {why_not}")
    return Choice(Mode.root_no_userns, why)


_REST = (
    *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--new-session", "--die-with-parent"),
    *("--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"),
    *("--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--", "/usr/bin/true"),
)


def _run_bwrap(words: list[str], uid: int | None) -> str | None:
    drop = (lambda: kernel.become(uid, uid)) if uid is not None else None
    try:
        tried = subprocess.run(
            [BWRAP, *words],
            capture_output=True,
            text=True,
            timeout=_TRY_SECONDS,
            check=False,
            cwd="/",
            env={},
            preexec_fn=drop,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return None if tried.returncode == 0 else tried.stderr.strip()[-300:] or f"bwrap ended with {tried.returncode}"


def _mode_warnings(mode: Mode) -> tuple[str, ...]:
    if mode is Mode.user:
        return (
            "All workspaces run under one account of this machine: a fault in the mount namespace would show one "
            "workspace's files to another. Start as root to give each an account of its own.",
        )
    if mode is Mode.root_no_userns:
        return (
            "User namespaces are not used: the first process inside each workspace stays host root with three "
            "capabilities, and only the system call filter stops nested namespaces.",
        )
    return ()
