"""A whole TRE behind a real supervisor: governance, lifecycle and controller run as the services' own account."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from websockets.sync.client import unix_connect

from tests.governance import build
from tests.governance.build import ANA, HEART
from tests.workspaces.sandbox.conftest import CODE, World
from tre_orchestrator.airlock import tables as _airlock_tables  # noqa: F401 - declares the tables
from tre_orchestrator.airlock.store import make_store
from tre_orchestrator.ledger.database import Base, Database
from tre_orchestrator.ledger.read import entries
from tre_orchestrator.settings import save_settings
from tre_orchestrator.workspaces import lifecycle
from tre_orchestrator.workspaces.backend import Handle
from tre_orchestrator.workspaces.lifecycle import WorkspaceView

Answer = TypeVar("Answer")


class Service:
    """What people and processes do with one TRE; each act runs in a child as the services' account."""

    def __init__(self, sandbox: World) -> None:
        self.sandbox = sandbox
        self.settings = sandbox.settings
        save_settings(self.settings)
        for name in ("settings.yaml",):
            os.chown(self.settings.state_dir / name, sandbox.service, sandbox.service)
        self.act(self._found)

    def act(self, work: Callable[[], Answer]) -> Answer:
        """Run `work` in a child with the services' uid; returns what it returns, raises what it raises."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            try:
                os.setgroups([])
                os.setresgid(*[self.sandbox.service] * 3)
                os.setresuid(*[self.sandbox.service] * 3)
                told: tuple[bool, object] = (True, work())
            except BaseException as error:  # noqa: BLE001 - the parent raises it
                told = (False, (type(error).__name__, str(error)))
            with os.fdopen(writer, "wb") as pipe:
                pickle.dump(told, pipe)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            data = pipe.read()
        os.waitpid(child, 0)
        well, answer = pickle.loads(data)
        if not well:
            raise RuntimeError(": ".join(answer))
        return answer  # type: ignore[no-any-return]

    def world(self) -> build.World:
        """The business layer as of now; open it anew in every child."""
        return build.World(Database(self.settings.sqlalchemy_url), self.settings, dt.datetime.now(dt.UTC))

    def start(self) -> Handle:
        """Ana starts her workspace."""

        def work() -> Handle:
            world = self.world()
            return lifecycle.start(world.db, self.settings, self.sandbox.backend, HEART, ANA, world.now)

        return self.act(work)

    def end(self) -> None:
        """Ana ends it."""

        view = self.view()

        def work() -> None:
            world = self.world()
            lifecycle.end(world.db, self.settings, self.sandbox.backend, view.id, lifecycle.ASKED, world.now)

        self.act(work)

    def view(self) -> WorkspaceView:
        """Ana's workspace."""

        def work() -> WorkspaceView:
            with self.world().db.read() as session:
                found = lifecycle.workspace_of(session, ANA, HEART)
            assert found is not None
            return found

        return self.act(work)

    def kinds(self) -> list[str]:
        """What the ledger says of workspaces and locks."""

        def work() -> list[str]:
            with self.world().db.read() as session:
                return [
                    one.kind for one in entries(session, limit=1000) if one.kind.startswith(("workspace.", "lock."))
                ]

        return self.act(work)

    def _found(self) -> None:
        world = self.world()
        Base.metadata.create_all(world.db.engine)
        build.ready(world.db, self.settings, world.now)
        make_store(self.settings)

    @contextmanager
    def controller(self) -> Iterator[subprocess.Popen[bytes]]:
        """The controller's process."""
        with open(self.settings.log_dir / "controller.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tre_orchestrator.controller"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(CODE),
                    "TRE_STATE_DIR": str(self.settings.state_dir),
                },
                user=self.sandbox.service,
                group=self.sandbox.service,
                extra_groups=[],
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(30)


class Lab:
    """A browser's requests, as the gate would pass them on: over the listener, with the inner token."""

    def __init__(self, sandbox: World, handle: Handle) -> None:
        self._path = str(handle.socket)
        self._host = f"{handle.workspace}.lab.tre.localhost:8000"
        self._headers = {"Authorization": f"token {sandbox.token(handle)}"}

    def get(self, path: str, *, token: bool = True) -> tuple[int, bytes]:
        """Status and body."""
        return self.request("GET", path, token=token)

    def request(self, method: str, path: str, body: str | None = None, *, token: bool = True) -> tuple[int, bytes]:
        """Status and body."""
        connection = http.client.HTTPConnection(self._host)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(30)
        connection.sock.connect(self._path)
        try:
            connection.request(method, path, body, self._headers if token else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def run(self, code: str) -> str:
        """What a cell prints, in a kernel of its own."""
        status, body = self.request("POST", "/api/kernels", '{"name": "python3"}')
        assert status == 201, body
        channels = f"ws://{self._host}/api/kernels/{json.loads(body)['id']}/channels"
        number = uuid.uuid4().hex
        message = {
            "header": {
                "msg_id": number,
                "msg_type": "execute_request",
                "username": "",
                "session": "s",
                "version": "5.3",
            },
            "parent_header": {},
            "metadata": {},
            "content": {"code": code, "silent": False, "store_history": False, "user_expressions": {}},
            "channel": "shell",
            "buffers": [],
        }
        said = []
        with unix_connect(self._path, channels, additional_headers=self._headers, max_size=None) as ws:
            ws.send(json.dumps(message))
            while True:
                got = json.loads(ws.recv(60))
                if got["parent_header"].get("msg_id") != number:
                    continue
                if got["msg_type"] == "stream":
                    said.append(got["content"]["text"])
                elif got["msg_type"] == "error":
                    said += got["content"]["traceback"]
                elif got["msg_type"] == "status" and got["content"]["execution_state"] == "idle":
                    return "".join(said)


def wait_for(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until it holds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.1)


def folder_of(service: Service, handle: Handle) -> Path:
    """The workspace's folder in the state folder."""
    return service.settings.workspaces_dir / handle.workspace
