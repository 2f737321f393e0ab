"""Runs code in a notebook kernel of a workspace, over the workspace's own socket, as the gate would."""

from __future__ import annotations

import http.client
import json
import socket
import uuid
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from websockets.sync.client import ClientConnection, unix_connect

from tests.workspaces.sandbox.conftest import World
from tre_orchestrator.workspaces.backend import Handle


class Kernel:
    """One python3 kernel; `run` returns what it printed, with the traceback when it failed."""

    def __init__(self, world: World, handle: Handle) -> None:
        self._path = str(handle.socket)
        self._headers = {"Authorization": f"token {world.token(handle)}"}
        self.id = self.api("POST", "/api/kernels", {"name": "python3"})["id"]
        uri = f"ws://localhost/api/kernels/{self.id}/channels"
        self._open = ExitStack()
        self._socket: ClientConnection = self._open.enter_context(
            unix_connect(self._path, uri, additional_headers=self._headers, max_size=None, open_timeout=60)
        )

    def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(60)
        connection.sock.connect(self._path)
        headers = {**self._headers, "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        assert response.status < 300, (method, path, response.status, data[:300])
        return json.loads(data) if data else None

    def send(self, code: str) -> str:
        """Start running the code; returns its message id."""
        number = uuid.uuid4().hex
        header = {"msg_id": number, "msg_type": "execute_request", "username": "", "session": number, "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        self._socket.send(json.dumps(message))
        return number

    def run(self, code: str, timeout: float = 60) -> str:
        """What the code printed."""
        number = self.send(code)
        printed = ""
        while True:
            message = json.loads(self._socket.recv(timeout))
            if message["parent_header"].get("msg_id") != number:
                continue
            content, kind = message["content"], message["header"]["msg_type"]
            if kind == "stream":
                printed += content["text"]
            elif kind == "error":
                printed += f"{content['ename']}: {content['evalue']}"
            elif kind == "status" and content["execution_state"] == "idle":
                return printed

    def died(self, timeout: float = 60) -> bool:
        """Whether the server tells that the kernel was restarted or is dead."""
        while True:
            message = json.loads(self._socket.recv(timeout))
            state = message["content"].get("execution_state")
            if message["header"]["msg_type"] == "status" and state in ("restarting", "dead", "autorestarting"):
                return True

    def close(self) -> None:
        self._open.close()

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
