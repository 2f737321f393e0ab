"""What the supervisor has children do: bring out a folder's files, and prove the lock.

A child speaks to the client itself, over the client's own connection, and dies with the supervisor. While a folder is
brought out its workspace is frozen; whatever becomes of the child, the workspace goes on afterwards.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from tre_orchestrator.errors import TreError, Unavailable
from tre_orchestrator.workspaces.sandbox import courier, disk, eraser, kernel, prover, staging, wire
from tre_orchestrator.workspaces.sandbox.arguments import Mode
from tre_orchestrator.workspaces.sandbox.begin import owners_of
from tre_orchestrator.workspaces.sandbox.journal import told
from tre_orchestrator.workspaces.sandbox.launcher import Lock
from tre_orchestrator.workspaces.sandbox.lock import MachineLock
from tre_orchestrator.workspaces.sandbox.options import Options
from tre_orchestrator.workspaces.sandbox.running import Running, boot_clock

LONGEST_SECONDS = 300.0
"""After this a child is given up: a client that does not read must not keep a workspace frozen."""


class Errand:
    """A child at work, and what to do when it ends. `collected` is the workspace whose outputs it reads."""

    def __init__(
        self,
        pid: int,
        finish: Callable[[bool], None],
        *,
        erased_project: str | None = None,
        collected: str | None = None,
    ) -> None:
        self._pid = pid
        self.erased_project = erased_project
        self.collected = collected
        self._finish = finish
        self._until = boot_clock() + LONGEST_SECONDS
        self.pidfd = os.pidfd_open(pid)

    def tick(self, now: float) -> None:
        """End the child when it takes too long."""
        if now > self._until:
            self.kill()

    def kill(self) -> None:
        """End the child at once; its client sees the conversation end."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def finish(self) -> None:
        """The child has ended."""
        _, status = os.waitpid(self._pid, 0)
        os.close(self.pidfd)
        self._finish(status == 0)


def collect(
    options: Options, lock: Lock, workspace: str, folder: str, running: Running | None, client: socket.socket
) -> Errand:
    """Bring out the files of a folder below /outputs; the workspace may be running or not."""
    if running is not None and running.outputs is None:
        raise Unavailable("starting", "The workspace is still starting. Try again in a moment.")
    if running is not None and running.reason:
        raise Unavailable("ending", "The workspace is ending. Try again when it has ended.")
    owners = None if running else owners_of(options, lock.mode, f"workspace/{workspace}", "none")
    if running:
        owner = running.owner
        running.hold()
    else:
        owner = owners.workspace if owners else os.getuid()

    def bring() -> None:
        outputs = running.outputs if running else None
        if outputs is None:
            outputs = _outputs_at_rest(options, lock.mode, workspace)
        if lock.mode is not Mode.user:
            kernel.become(owner, owner)
        kernel.no_new_privileges()
        found = courier.open_folder(outputs, folder)
        for entry in courier.read_folder(found, owner, courier.Caps()):
            wire.send_file(client, entry.path, entry.size, entry.chunks)
        client.sendall(wire.line({"ok": True}))

    kept = () if running is None or running.outputs is None else (running.outputs,)
    try:
        child = _fork(bring, client, *kept)
        return Errand(child, lambda _done: running.release() if running else None, collected=workspace)
    except BaseException:
        if running:
            running.release()
        raise


def erase_copies(
    options: Options, workspace: str, project: str, client: socket.socket, when_done: Callable[[], None]
) -> Errand:
    """Delete what the workspace and its project's shared folder hold; nothing of the project runs, or starts now.

    `when_done` is called when the child that did it is gone, so that a start right afterwards is not refused.
    """
    work = _fork(lambda: eraser.erase(options.roots, workspace, project), client)
    return Errand(work, lambda done: when_done() if done else None, erased_project=project)


def prove(options: Options, locked: MachineLock, client: socket.socket) -> Errand:
    """Try the lock from inside and send the record."""

    def run() -> None:
        client.sendall(wire.line({"ok": True, "record": prover.prove(options, locked)}))

    return Errand(_fork(run, client), lambda _done: None)


def _fork(work: Callable[[], None], client: socket.socket, *kept: int) -> int:
    """The child has its client's connection and the `kept` descriptors, nothing else of the supervisor's."""
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _work(work, client, parent, kept)
    return child


def _work(work: Callable[[], None], client: socket.socket, parent: int, kept: tuple[int, ...]) -> NoReturn:
    """In the child: do it, tell the client what went wrong, end."""
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        kernel.die_with_parent(signal.SIGKILL, parent)
        kernel.close_all_but(client.fileno(), *kept)
        client.settimeout(LONGEST_SECONDS)
        work()
        code = 0
    except TreError as error:
        client.sendall(wire.line(wire.error_message(error)))
    except Exception as error:  # noqa: BLE001  # a child must end here, and its client must hear why
        sentence = f"The supervisor of workspaces could not do this: {told(error)}."
        client.sendall(wire.line(wire.error_message(Unavailable("supervisor", sentence))))
    finally:
        os._exit(code)


def _outputs_at_rest(options: Options, mode: Mode, workspace: str) -> int:
    """The outputs folder of a workspace that does not run; an image is mounted in a namespace of this process's own."""
    if mode is not Mode.user:
        staging.make_stage()
    own = staging.open_own(workspace, options.roots)
    if disk.has_image(own):
        return staging.open_image_outputs(own)
    return kernel.openat2(own, "outputs", os.O_RDONLY | os.O_DIRECTORY, kernel.BENEATH)
