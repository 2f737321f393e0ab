"""N3 in a real Chromium: a script that owns one workspace's page tries everything on another workspace, on people's
pages and on the outside. The same script, run where it belongs, is the control that its attempts can succeed.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import BrowserContext, Frame, Page, async_playwright

from tests.gate.build import GateWorld, Stub, gate_world, run_workspace
from tests.governance.build import ANA, project
from tre_orchestrator.catalogue.names import ProjectName, WorkspaceId
from tre_orchestrator.ledger.database import Base, Database

pytestmark = pytest.mark.browser
KIDNEY = ProjectName("kidney")
HOSTILE = (Path(__file__).parent / "hostile.js").read_text()
REACH, FORMS, TOSS, LEAVE = (
    f"(aim) => {{ {HOSTILE} return hostile.{what}(aim); }}" for what in ("reach", "forms", "toss", "leave")
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


async def lab(request: web.Request) -> web.StreamResponse:
    """A notebook server, as far as a page needs one."""
    if request.path == "/lab":
        return web.Response(text="<!doctype html><title>Lab</title><h1>Lab</h1>", content_type="text/html")
    if request.path.endswith("/channels"):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("hello")
        await socket.close()
        return socket
    return web.json_response([{"secret": "rows of this workspace"}])


@dataclass
class Outside:
    """A listener elsewhere on this machine that stands for the Internet."""

    port: int = 0
    heard: list[bytes] = field(default_factory=list)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if line:
            self.heard.append(line)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAccess-Control-Allow-Origin: *\r\n\r\n")
        await writer.drain()
        writer.close()


@dataclass
class Stage:
    """Two workspaces of one person, each open in a tab of one browser."""

    gated: GateWorld
    context: BrowserContext
    other: Stub
    other_id: WorkspaceId
    outside: Outside
    tab: Page
    mine: Frame
    theirs: Frame

    @property
    def other_origin(self) -> str:
        return self.gated.settings.workspace_origin(self.other_id)


def portal_page(gated: GateWorld) -> Any:
    """The portal's page that frames a workspace, under the policy that the real one has."""
    origin = f"http://*.lab.{gated.settings.site}{gated.settings.port_suffix}"
    policy = f"default-src 'self'; script-src 'none'; frame-src {origin}; form-action 'self' {origin}"

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method != "GET" or not request.path.startswith("/projects/"):
            return web.Response(text="changed")
        _workspace, ticket = request.query["w"], request.query["t"]
        url = gated.settings.workspace_origin(WorkspaceId(_workspace)) + "/.tre/enter"
        frame = '<iframe name="lab" sandbox="allow-scripts allow-same-origin allow-forms allow-modals"></iframe>'
        form = (
            f'<form method="post" action="{url}" target="lab"><input name="ticket" value="{ticket}"><button>Go</button>'
        )
        return web.Response(
            text=f"<!doctype html><title>Portal</title>{frame}{form}</form>",
            content_type="text/html",
            headers={"Content-Security-Policy": policy},
        )

    return answer


async def hub(request: web.Request) -> web.StreamResponse:
    """The hub's part of signing in, for Ana."""
    if request.path == "/hub/api/oauth2/authorize":
        return web.Response(status=302, headers={"Location": f"/gate/callback?code=c&state={request.query['state']}"})
    if request.path == "/hub/api/oauth2/token":
        return web.json_response({"access_token": "a"})
    if request.path == "/hub/api/user":
        return web.json_response({"kind": "user", "name": ANA, "session_id": "0"})
    return web.Response(text="hub")


async def open_lab(gated: GateWorld, context: BrowserContext, workspace: WorkspaceId, name: str) -> tuple[Page, Frame]:
    """Open a workspace as a person does: the portal's page, its form, its frame."""
    cookies = {cookie["name"]: cookie["value"] for cookie in await context.cookies(gated.people)}
    ticket = (await gated.ticket(cookies["__Host-tre"], name)).json["ticket"]
    page = await context.new_page()
    await page.goto(f"{gated.people}/projects/{name}?w={workspace}&t={ticket}")
    await page.click("button")
    frame = page.frame("lab")
    assert frame is not None
    await frame.wait_for_selector("h1")
    assert frame.url == gated.settings.workspace_origin(workspace) + "/lab"
    return page, frame


@pytest_asyncio.fixture
async def stage(state_dir: Path, now: dt.datetime) -> AsyncIterator[Stage]:
    db = Database(f"sqlite:///{state_dir / 'tre.sqlite'}")
    Base.metadata.create_all(db.engine)
    outside = Outside()
    server = await asyncio.start_server(outside.take, "127.0.0.1", 0)
    outside.port = server.sockets[0].getsockname()[1]
    async with gate_world(db, state_dir, now) as gated, async_playwright() as playwright:
        await asyncio.to_thread(gated.world.apply, project("kidney", datasets=[]))
        await asyncio.to_thread(gated.world.approve, name=KIDNEY)
        other_id = run_workspace(db, gated.settings, now, ANA, KIDNEY)
        other = await Stub(gated.settings.run_dir / "ws" / f"{other_id}-00ff.sock", lab).start()
        gated.workspace.answer, gated.web.answer, gated.hub.answer = lab, portal_page(gated), hub
        chromium = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        context = await chromium.new_context()
        first = await context.new_page()
        await first.goto(f"{gated.people}/gate/login?next=/static/x")
        _tab, theirs = await open_lab(gated, context, other_id, KIDNEY)
        tab, mine = await open_lab(gated, context, gated.workspace_id, "heart")
        yield Stage(gated, context, other, other_id, outside, tab, mine, theirs)
        await chromium.close()
        await other.stop()
    server.close()
    db.dispose()


async def test_the_control_a_workspaces_own_page_reaches_its_own_server(stage: Stage) -> None:
    before = len(stage.other.asked)
    seen = await stage.theirs.evaluate(REACH, stage.other_origin)
    for way in ("get", "post", "delete"):
        assert seen[way].startswith("200"), seen
    assert "rows of this workspace" in seen["get"]
    assert seen["socket"] == "hello"
    assert len(stage.other.asked) > before + 4


async def test_n3_it_reaches_nothing_of_another_workspace(stage: Stage) -> None:
    before = len(stage.other.asked)
    seen = await stage.mine.evaluate(REACH, stage.other_origin)
    assert set(seen.values()) <= {"refused", "opaque", "silence"}, seen
    assert len(stage.other.asked) == before, [request.raw_path for request in stage.other.asked[before:]]


async def test_n3_it_reaches_nothing_of_peoples_pages(stage: Stage) -> None:
    before = len(stage.gated.web.asked), len(stage.gated.hub.asked)
    seen = await stage.mine.evaluate(REACH, stage.gated.people)
    assert set(seen.values()) <= {"refused", "opaque", "silence"}, seen
    assert (len(stage.gated.web.asked), len(stage.gated.hub.asked)) == before


async def test_n3_a_same_site_form_post_changes_nothing(stage: Stage) -> None:
    gated = stage.gated
    before = len(gated.web.asked), len(gated.hub.asked), len(stage.other.asked)
    targets = [
        gated.people + path for path in ("/projects/heart/start", "/api/x", "/gate/ticket", "/hub/login", "/logout")
    ]
    await stage.mine.evaluate(
        FORMS, [*targets, stage.other_origin + "/api/kernels", stage.other_origin + "/.tre/enter"]
    )
    await asyncio.sleep(1.5)
    assert (len(gated.web.asked), len(gated.hub.asked), len(stage.other.asked)) == before
    await stage.tab.goto(f"{gated.people}/static/still-signed-in")
    assert "X-Tre-Identity" in gated.web.asked[-1].headers


async def test_n3_a_tossed_cookie_replaces_none_of_ours_and_reaches_nobody(stage: Stage) -> None:
    gated = stage.gated
    await stage.mine.evaluate(TOSS, [gated.settings.site, gated.settings.workspace_host(stage.other_id)])
    held = await stage.context.cookies([gated.people + "/hub/login", gated.people, stage.other_origin, gated.own])
    tossed = {cookie["name"] for cookie in held if cookie["value"] == "tossed"}
    assert not {name for name in tossed if name.startswith("__Host-")}, tossed
    assert "plain" in tossed, "the control: a plain cookie can be tossed in this browser"
    await stage.tab.goto(f"{gated.people}/hub/login")
    assert "tossed" not in str(gated.hub.asked[-1].headers)
    await stage.tab.goto(f"{gated.people}/static/x")
    assert "tossed" not in str(gated.web.asked[-1].headers)
    assert "X-Tre-Identity" in gated.web.asked[-1].headers
    again = await stage.theirs.evaluate(REACH, stage.other_origin)
    assert again["get"].startswith("200"), "the other workspace's page works as before"


async def test_the_control_a_page_without_the_gates_policy_can_leave(stage: Stage) -> None:
    outside = f"http://127.0.0.1:{stage.outside.port}"
    page = await stage.context.new_page()
    await page.goto(outside + "/control")
    await page.evaluate(f"(aim) => {{ ({LEAVE})(aim); }}", [outside, stage.other_origin, ""])
    expected = {
        "/image",
        "/fetch",
        "/beacon",
        "/events",
        "/style",
        "/script",
        "/frame",
        "/form",
        "/background",
        "/socket",
    }
    for _ in range(100):
        if expected <= (heard := {line.split()[1].split(b"?")[0].decode() for line in stage.outside.heard}):
            break
        await asyncio.sleep(0.1)
    assert expected <= heard, expected - heard


async def test_n3_nothing_leaves_the_page_for_elsewhere(stage: Stage) -> None:
    outside = f"http://127.0.0.1:{stage.outside.port}"
    downloads: list[Any] = []
    stage.tab.on("download", lambda download: downloads.append(download))
    pages, there = len(stage.context.pages), stage.tab.url
    before = len(stage.other.asked)
    await stage.mine.evaluate(LEAVE, [outside, stage.other_origin, stage.gated.people])
    await asyncio.sleep(1.5)
    assert stage.outside.heard == []
    assert stage.tab.url == there
    assert len(stage.context.pages) == pages
    assert downloads == []
    assert len(stage.other.asked) == before


async def test_n3_a_workspace_is_no_page_of_its_own(stage: Stage) -> None:
    page = await stage.context.new_page()
    before = len(stage.gated.workspace.asked)
    answer = await page.goto(stage.gated.own + "/lab")
    assert answer is not None
    assert answer.status == 403
    assert await page.get_by_text("inside its project's page").count() == 1
    assert len(stage.gated.workspace.asked) == before


async def test_a_frame_whose_right_is_gone_shows_a_sentence(stage: Stage) -> None:
    cookies = {cookie["name"]: cookie["value"] for cookie in await stage.context.cookies(stage.gated.people)}
    await stage.gated.portal("POST", "/logout", cookies["__Host-tre"])
    await stage.mine.evaluate("() => location.reload()")
    await stage.mine.wait_for_selector("text=open the workspace from its project")
