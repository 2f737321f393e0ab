"""A stub of a notebook server that is faster than any proxy: fixed answers, sent from memory, a thread a connection."""

from __future__ import annotations

import re
import socket
import sys
import threading

from tre_orchestrator.gate.websocket import accept_of

SMALL = b'[{"id": "8a4f4e1a", "name": "python3", "execution_state": "idle", "connections": 1}]'
STREAM_BYTES = 200_000_000
MESSAGE_BYTES = 65_536
MESSAGES = 4_800
_CHUNK = bytes(b"[" + b"1," * 524_287 + b"1]")[: 1 << 20].ljust(1 << 20)
_FRAME = b"\x82\x7f" + MESSAGE_BYTES.to_bytes(8, "big") + bytes(MESSAGE_BYTES)
_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
_KEY = re.compile(rb"sec-websocket-key: *(\S+)", re.I)


def serve(connection: socket.socket) -> None:
    """Answer requests until the other side closes."""
    received = b""
    while True:
        while b"\r\n\r\n" not in received:
            chunk = connection.recv(65536)
            if not chunk:
                return
            received += chunk
        head, _end, received = received.partition(b"\r\n\r\n")
        path = head.split(b" ", 2)[1]
        if path.startswith(b"/api/kernels/"):
            messages(connection, head)
            return
        if path.startswith(b"/api/sessions"):
            connection.sendall(_HEAD.format(STREAM_BYTES).encode())
            left = STREAM_BYTES
            while left:
                part = _CHUNK[: min(left, len(_CHUNK))]
                connection.sendall(part)
                left -= len(part)
        else:
            connection.sendall(_HEAD.format(len(SMALL)).encode() + SMALL)


def messages(connection: socket.socket, head: bytes) -> None:
    """Open a WebSocket, wait for the first bytes, then send every message."""
    match = _KEY.search(head)
    assert match is not None
    accept = accept_of(match[1].decode())
    upgrade = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    connection.sendall(f"HTTP/1.1 101 Switching Protocols\r\n{upgrade}".encode())
    if connection.recv(64):
        for _ in range(MESSAGES):
            connection.sendall(_FRAME)
    connection.recv(64)


def answer(connection: socket.socket) -> None:
    """Serve one connection; the other side may go at any time."""
    try:
        serve(connection)
    except ConnectionError:
        return
    finally:
        connection.close()


def main() -> None:
    """Listen on the unix socket that is given."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(64)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
