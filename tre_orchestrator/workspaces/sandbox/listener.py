"""The workspace's listener: a unix socket made in a throw-away, empty network namespace.

A socket keeps the network namespace of its creator. One made in the host's would let the workspace read the host's
interfaces and addresses through it (SIOCGIFCONF, proven). Never a TCP socket: connect(AF_UNSPEC) and connect() on an
inherited one reached the host's loopback (proven); a unix listener refuses both. Standard library only.
"""

from __future__ import annotations

import os
import socket

from tre_orchestrator.workspaces.sandbox import kernel

BACKLOG = 256


def make_listener(folder: int, name: str, owner: int | None) -> socket.socket:
    """Bind and listen at `name` in the folder behind a descriptor; only `owner`, or else our own uid, can connect.

    Raises OSError when the namespace or the socket cannot be made.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            kernel.unshare(kernel.CLONE_NEWNET | (0 if os.geteuid() == 0 else kernel.CLONE_NEWUSER))
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            if owner is not None:
                kernel.become(owner, owner)
            kernel.bind_socket(listener, folder, name)
            listener.listen(BACKLOG)
            socket.send_fds(theirs, [b"made"], [listener.fileno()])
        except OSError as error:
            theirs.send(f"{error}".encode()[:200])
        finally:
            os._exit(0)
    theirs.close()
    try:
        said, descriptors, _, _ = socket.recv_fds(ours, 256, 1)
    finally:
        ours.close()
        os.waitpid(child, 0)
    if not descriptors:
        raise OSError(f"the workspace's socket could not be made: {said.decode(errors='replace') or 'no answer'}")
    return socket.socket(fileno=descriptors[0])
