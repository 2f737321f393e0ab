"""How the supervisor and its clients speak: one JSON object per line over a unix socket; files follow as frames.

Request: {"op": ...}. Answers: {"step", "percent"} any number of times, then one {"ok": true, ...} or {"error": {code,
sentence, status}}. `collect` answers with frames: a line {"file", "size"}, then chunks, each four bytes of length and
that many bytes; a chunk of length 0 ends the file, one of length 2^32-1 breaks it off. Standard library only.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import IO, Any

from tre_orchestrator.errors import Invalid, NotFound, Refusal, Refused, Stale, TreError, Unavailable

LONGEST_LINE = 1 << 20
BROKEN_OFF = 0xFFFFFFFF
_LENGTH = struct.Struct(">I")
_TYPES: dict[int, type[TreError]] = {404: NotFound, 409: Stale, 422: Invalid, 503: Unavailable}


def line(message: dict[str, Any]) -> bytes:
    """One message as it goes over the socket."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def error_message(error: TreError) -> dict[str, Any]:
    """A failure as a message; a refusal keeps all of its reasons."""
    said: dict[str, Any] = {"code": error.code, "sentence": error.sentence, "status": error.status}
    if isinstance(error, Refused):
        said["reasons"] = [[refusal.code, refusal.sentence] for refusal in error.refusals]
    return {"error": said}


def error_from(said: dict[str, Any]) -> TreError:
    """The failure that `error_message` described."""
    if "reasons" in said:
        return Refused([Refusal(code, sentence) for code, sentence in said["reasons"]])
    made = _TYPES.get(said["status"], TreError)(said["code"], said["sentence"])
    made.status = said["status"]
    return made


def read_line(stream: IO[bytes]) -> dict[str, Any]:
    """The next message. Raises `Unavailable` when the other side ended or sent something else."""
    data = stream.readline(LONGEST_LINE)
    if not data.endswith(b"\n"):
        raise Unavailable("supervisor-lost", "The supervisor of workspaces ended the conversation. Try again.")
    message = json.loads(data)
    if not isinstance(message, dict):
        raise Unavailable("supervisor-lost", "The supervisor of workspaces sent something that is no message.")
    return message


def send_file(connection: socket.socket, path: str, size: int, chunks: Iterator[bytes]) -> None:
    """One file as frames; when reading it fails, the receiver is told before the error is raised."""
    connection.sendall(line({"file": path, "size": size}))
    try:
        for chunk in chunks:
            connection.sendall(_LENGTH.pack(len(chunk)) + chunk)
    except TreError:
        connection.sendall(_LENGTH.pack(BROKEN_OFF))
        raise
    connection.sendall(_LENGTH.pack(0))


def receive_chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """The bytes of one file. Raises the sender's error when the file was broken off."""
    while True:
        head = stream.read(_LENGTH.size)
        if len(head) != _LENGTH.size:
            raise Unavailable(
                "supervisor-lost", "The supervisor of workspaces ended in the middle of a file. Try again."
            )
        (length,) = _LENGTH.unpack(head)
        if length == 0:
            return
        if length == BROKEN_OFF:
            raise error_from(read_line(stream)["error"])
        data = stream.read(length)
        if len(data) != length:
            raise Unavailable(
                "supervisor-lost", "The supervisor of workspaces ended in the middle of a file. Try again."
            )
        yield data
