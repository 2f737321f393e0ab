"""A real gate on a real port; behind it a stub workspace, web and hub on real unix sockets, and a real database."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yarl
from aiohttp import web

from tests.governance.build import ANA, World, ready
from tre_orchestrator.catalogue.names import PersonId, ProjectName, WorkspaceId
from tre_orchestrator.gate.app import Gate, serving
from tre_orchestrator.gate.headers import FRAME_COOKIE, SESSION_COOKIE
from tre_orchestrator.governance import credentials
from tre_orchestrator.governance.secrets import create_all_secrets
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces import rows
from tre_orchestrator.workspaces.backend import Handle

HEART = ProjectName("heart")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Clock:
    """A moment that tests move."""

    def __init__(self, now: dt.datetime) -> None:
        self.now = now

    def __call__(self) -> dt.datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        self.now += dt.timedelta(**time)


@dataclass
class Stub:
    """A server on a unix socket that answers as a test says and remembers what it was asked."""

    socket: Path
    answer: Handler
    asked: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    runner: web.AppRunner | None = None

    async def start(self) -> Stub:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.asked.append(request)
            if request.headers.get("Upgrade", "") == "":
                self.bodies.append(await request.read())
            return await self.answer(request)

        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", handle)
        self.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.UnixSite(self.runner, str(self.socket)).start()
        return self

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem object."""
        return str(self.json["code"])


@dataclass
class GateWorld:
    """A governed TRE with its gate."""

    world: World
    settings: Settings
    clock: Clock
    gate: Gate
    client: aiohttp.ClientSession
    workspace: Stub
    web: Stub
    hub: Stub
    workspace_id: WorkspaceId

    @property
    def people(self) -> str:
        return self.settings.people_origin

    @property
    def own(self) -> str:
        return self.settings.workspace_origin(self.workspace_id)

    async def ask(
        self, method: str, path: str, *, host: str | None = None, headers: dict[str, str] | None = None, **kwargs: Any
    ) -> Answer:
        """One request with exactly these headers beside Host."""
        url = yarl.URL(f"http://127.0.0.1:{self.settings.listen_port}{path}", encoded=True)
        sent = {"Host": host or self.settings.site + self.settings.port_suffix, **(headers or {})}
        async with self.client.request(method, url, headers=sent, allow_redirects=False, **kwargs) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def lab(
        self,
        method: str,
        path: str,
        cookie: str | None,
        *,
        workspace: WorkspaceId | None = None,
        headers: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> Answer:
        """A request as Lab's own page makes it."""
        name = workspace or self.workspace_id
        sent = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
        if method != "GET":
            sent["Origin"] = self.settings.workspace_origin(name)
        if cookie is not None:
            sent["Cookie"] = f"{FRAME_COOKIE}={cookie}"
        host = self.settings.workspace_host(name) + self.settings.port_suffix
        return await self.ask(method, path, host=host, headers={**sent, **(headers or {})}, **kwargs)

    async def portal(
        self, method: str, path: str, cookie: str | None = None, *, headers: dict[str, str] | None = None, **kwargs: Any
    ) -> Answer:
        """A request as the portal's own page makes it."""
        sent = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
        if method != "GET":
            sent["Origin"] = self.people
        if cookie is not None:
            sent["Cookie"] = f"{SESSION_COOKIE}={cookie}"
        return await self.ask(method, path, headers={**sent, **(headers or {})}, **kwargs)

    def sign_in(self, person: PersonId = ANA, *, mfa: bool = False) -> str:
        """A session's cookie."""
        with self.world.db.write() as session:
            return credentials.open_session(session, person, mfa=mfa, now=self.clock())

    def csrf(self, cookie: str) -> str:
        with self.world.db.read() as session:
            found = credentials.session_of(session, cookie, self.clock())
        assert found is not None
        return found.csrf

    async def ticket(self, cookie: str, project: str = HEART) -> Answer:
        """Ask for a ticket as the portal's page does."""
        return await self.portal(
            "POST", "/gate/ticket", cookie, headers={"X-Tre-Csrf": self.csrf(cookie)}, json={"project": project}
        )

    async def enter(self, ticket: str, workspace: WorkspaceId | None = None, **headers: str) -> Answer:
        """Hand a ticket in as the portal's form does."""
        sent = {
            "Origin": self.people,
            "Sec-Fetch-Site": "same-site",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "iframe",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        host = self.settings.workspace_host(workspace or self.workspace_id) + self.settings.port_suffix
        return await self.ask("POST", "/.tre/enter", host=host, headers=sent, data={"ticket": ticket})

    async def open(self, person: PersonId = ANA) -> str:
        """Sign in, take a ticket, enter: the frame's cookie."""
        ticket = (await self.ticket(self.sign_in(person))).json["ticket"]
        return frame_cookie(await self.enter(ticket))


def frame_cookie(entered: Answer) -> str:
    """The frame's cookie in the answer to a ticket."""
    assert entered.status == 303, entered.body
    name, _equals, rest = entered.headers["Set-Cookie"].partition("=")
    assert name == FRAME_COOKIE
    return str(rest.split(";")[0])


async def kernels(_request: web.Request) -> web.StreamResponse:
    """The answer of a quiet notebook server."""
    return web.json_response([])


async def hello(request: web.Request) -> web.StreamResponse:
    """The answer of a quiet web application."""
    return web.Response(text="hello", content_type="text/html")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_workspace(
    db: Database,
    settings: Settings,
    now: dt.datetime,
    person: PersonId,
    project: ProjectName = HEART,
    nonce: str = "00ff",
) -> WorkspaceId:
    """Make the row of a running workspace, as a start does."""
    with db.write() as session:
        row = rows.get_or_make(session, person, project)
        socket_path = settings.run_dir / "ws" / f"{row.id}-{nonce}.sock"
        row.nonce = nonce
        until = now + dt.timedelta(hours=12)
        rows.mark_running(row, Handle(WorkspaceId(row.id), socket_path, nonce, 1, now), until, until)
        return WorkspaceId(row.id)


def environment(folder: Path) -> Path:
    """A workspace environment as far as the gate looks at it."""
    files = {
        "share/jupyter/lab/static/index.html": "<html>",
        "share/jupyter/lab/static/main.0123456789abcdef0123.js": "lab()",
        "share/jupyter/lab/themes/@jupyterlab/theme-light-extension/index.css": "body{}",
        "share/jupyter/labextensions/pygments/static/remoteEntry.js": "ext()",
        "share/jupyter/kernels/python3/logo-svg.svg": "<svg/>",
        "share/jupyter/kernels/python3/kernel.json": "{}",
        "lib/python3.11/site-packages/jupyter_server/static/favicon.ico": "icon",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "share/jupyter/lab/static/link.js").symlink_to("/etc/passwd")
    return folder


@contextlib.asynccontextmanager
async def gate_world(db: Database, state: Path, now: dt.datetime, **more: Any) -> AsyncIterator[GateWorld]:
    """The whole thing, Ana's workspace in `heart` running."""
    settings = Settings(
        state_dir=state,
        listen_port=free_port(),
        environment_dir=environment(state / "env"),
        **{"right_interval_seconds": 0.1, **more},
    )
    create_all_secrets(settings.keys_dir)
    world = await asyncio.to_thread(ready, db, settings, now)
    identifier = run_workspace(db, settings, now, ANA)
    clock = Clock(now)
    stubs = [
        await Stub(settings.run_dir / "ws" / f"{identifier}-00ff.sock", kernels).start(),
        await Stub(settings.run_dir / "web.sock", hello).start(),
        await Stub(settings.run_dir / "hub.sock", hello).start(),
    ]
    try:
        async with (
            serving(settings, db, clock) as gate,
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            ) as client,
        ):
            yield GateWorld(world, settings, clock, gate, client, stubs[0], stubs[1], stubs[2], identifier)
    finally:
        for stub in stubs:
            await stub.stop()


async def raw(port: int, sent: bytes) -> bytes:
    """Send bytes as they are; everything that comes back until the gate closes or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    received = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            while chunk := await reader.read(65536):
                received += chunk
    writer.close()
    return received


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until something is so; fails the test when it never is."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        assert loop.time() < deadline, "it did not happen"
        await asyncio.sleep(0.01)
