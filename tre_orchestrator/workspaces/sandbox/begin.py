"""Forks the child that becomes a workspace, with everything that only the supervisor knows: its uid, its token.

Standard library only.
"""

from __future__ import annotations

import os
import signal
import socket

from tre_orchestrator.governance.secrets import INNER, required_secret
from tre_orchestrator.workspaces.plan import WorkspacePlan, inner_token
from tre_orchestrator.workspaces.sandbox import kernel, launcher, staging
from tre_orchestrator.workspaces.sandbox.arguments import Mode
from tre_orchestrator.workspaces.sandbox.journal import note
from tre_orchestrator.workspaces.sandbox.launcher import Lock, Start
from tre_orchestrator.workspaces.sandbox.options import Options
from tre_orchestrator.workspaces.sandbox.running import Keeper, Running
from tre_orchestrator.workspaces.sandbox.shared_disk import SharedDisk
from tre_orchestrator.workspaces.sandbox.uids import NumberBook


def owners_of(options: Options, mode: Mode, owner: str, project: str) -> staging.Owners | None:
    """The uid and gid that belong to a workspace and its project; None in user mode, where there is one uid."""
    if mode is Mode.user:
        return None
    book = NumberBook(options.root_state)
    return staging.Owners(
        service=options.service,
        workspace=book.number(f"{options.state_dir}:{owner}"),
        project=book.number(f"{options.state_dir}:project/{project}"),
    )


def begin(
    keeper: Keeper,
    options: Options,
    lock: Lock,
    plan: WorkspacePlan,
    client: socket.socket,
    shared: SharedDisk | None,
) -> Running:
    """Fork, and let the child become the workspace. Raises `TreError` before anything was started."""
    key = required_secret(options.state_dir / "keys", INNER)
    token = inner_token(key, plan.workspace, plan.nonce)
    start = Start(
        plan=plan,
        roots=options.roots,
        owners=owners_of(options, lock.mode, f"workspace/{plan.workspace}", plan.project),
        group=f"{options.prefix}{plan.workspace}",
        sockets=_open_sockets(options),
        environment=launcher.environment_for(plan, token),
        shared=shared,
    )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    log_read, log_write = os.pipe()
    status_read, status_write = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        launcher.launch(lock, start, parent, theirs, log_write, status_write)
    try:
        theirs.close()
        for descriptor in (log_write, status_write):
            os.close(descriptor)
        running = Running(keeper, options, lock.limits, start, child, ours, log_read, status_read, client, token)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    note("starting", workspace=plan.workspace, pid=child)
    return running


def _open_sockets(options: Options) -> int:
    """The folder that listeners are made in."""
    folder = options.open_run_dir()
    try:
        return kernel.openat2(folder, "ws", os.O_RDONLY | os.O_DIRECTORY, kernel.BENEATH)
    finally:
        os.close(folder)
