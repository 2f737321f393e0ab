"""The supervisor's event loop and socket: who may speak, one request per line, one answer or more.

One bad request, one client that does not read, or one that goes away hurts nobody else. One process, no threads, so
that it may fork at any moment. Standard library only.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tre_orchestrator.errors import Invalid, TreError, Unavailable
from tre_orchestrator.workspaces.sandbox import kernel, wire
from tre_orchestrator.workspaces.sandbox.journal import note, told
from tre_orchestrator.workspaces.sandbox.options import SOCKET, Options

LONGEST_REQUEST = 1 << 16
_SEND_SECONDS = 5.0

Operation = Callable[[socket.socket, dict[str, Any]], None]


class Loop:
    """Descriptors to watch, and the socket in the services' folder. `operations` are what a request may ask for."""

    operations: dict[str, Operation]

    def __init__(self, options: Options) -> None:
        self._options = options
        self._selector = selectors.DefaultSelector()
        self._folder = options.open_run_dir()

    def listen(self) -> socket.socket:
        """Take requests from here on, from the services' uid and our own."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._unlink_socket()
        kernel.made_as(self._options.service, lambda: kernel.bind_socket(listener, self._folder, SOCKET))
        listener.listen(64)
        self._selector.register(listener, selectors.EVENT_READ, lambda: self._accept(listener))
        return listener

    def select(self, seconds: float) -> None:
        """Act on what can be read within so many seconds."""
        for key, _ in self._selector.select(seconds):
            try:
                key.data()
            except Exception as error:  # noqa: BLE001  # one workspace's or client's trouble must not end all others
                note("failed", error=told(error))

    def hang_up_all(self, listener: socket.socket) -> None:
        """Take no more requests."""
        listener.close()
        self._unlink_socket()

    def send(self, connection: socket.socket, message: dict[str, Any]) -> None:
        """Answer; somebody who does not read loses the connection, nothing else."""
        try:
            connection.sendall(wire.line(message))
        except OSError:
            self.hang_up(connection)

    def watch(self, descriptor: int, act: Callable[[], object]) -> None:
        """Call `act` whenever the descriptor can be read."""
        self._selector.register(descriptor, selectors.EVENT_READ, act)

    def unwatch(self, descriptor: int) -> None:
        """Forget it; watching nothing is no error."""
        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    def hang_up(self, connection: socket.socket) -> None:
        """End a conversation; twice is no error."""
        if connection.fileno() >= 0:
            self.unwatch(connection.fileno())
            connection.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # it was gone before it could be accepted
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid & 0xFFFFFFFF not in (self._options.service, os.geteuid()):
            note("refused-peer", uid=uid)
            connection.close()
            return
        connection.settimeout(_SEND_SECONDS)
        pending = bytearray()
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._receive(connection, pending))

    def _receive(self, connection: socket.socket, pending: bytearray) -> None:
        try:
            data = connection.recv(4096)
        except OSError:
            data = b""
        pending += data
        if not data or len(pending) > LONGEST_REQUEST:
            self.hang_up(connection)
            return
        while b"\n" in pending:
            request, _, rest = bytes(pending).partition(b"\n")
            pending[:] = rest
            self._answer(connection, request)

    def _answer(self, connection: socket.socket, request: bytes) -> None:
        try:
            message = json.loads(request)
            operation = self.operations.get(str(message.get("op"))) if isinstance(message, dict) else None
            if operation is None:
                raise Invalid("operation", "The supervisor of workspaces does not know this request.")
            operation(connection, message)
        except TreError as error:
            self.send(connection, wire.error_message(error))
        except Exception as error:  # noqa: BLE001  # one bad request must not end everybody's workspaces
            note("failed", error=told(error))
            sentence = f"The supervisor of workspaces could not do this: {told(error)}."
            self.send(connection, wire.error_message(Unavailable("supervisor", sentence)))

    def _unlink_socket(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(SOCKET, dir_fd=self._folder)
