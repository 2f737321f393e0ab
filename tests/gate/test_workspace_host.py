"""A workspace's host through a real gate: who gets in, what passes, what comes back."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import threading

import pytest
from aiohttp import web

from tests.gate.build import Answer, GateWorld, frame_cookie, kernels, raw, run_workspace, until
from tests.governance.build import ANA, BEN
from tre_orchestrator.catalogue.names import WorkspaceId
from tre_orchestrator.gate.headers import FRAME_COOKIE
from tre_orchestrator.governance.secrets import INNER, required_secret
from tre_orchestrator.workspaces.plan import inner_token
from tre_orchestrator.workspaces.tables import WorkspaceRow


async def test_a_ticket_opens_the_frame_and_lab_answers(gated: GateWorld) -> None:
    async def page(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>lab</html>", content_type="text/html", headers={"Set-Cookie": "a=b"})

    gated.workspace.answer = page
    ticket = (await gated.ticket(gated.sign_in())).json
    assert ticket["url"] == gated.own + "/.tre/enter"
    entered = await gated.enter(ticket["ticket"])
    assert entered.headers["Location"] == "/lab"
    assert "Path=/; Secure; HttpOnly; SameSite=Strict" in entered.headers["Set-Cookie"]
    frame = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    lab = await gated.lab("GET", "/lab", frame_cookie(entered), headers=frame)
    assert (lab.status, lab.body) == (200, b"<html>lab</html>")
    assert "Set-Cookie" not in lab.headers
    assert f"frame-ancestors {gated.people}" in lab.headers["Content-Security-Policy"]
    assert lab.headers["Cache-Control"] == "no-store"


async def test_the_workspace_gets_the_inner_token_and_nothing_of_the_browser(gated: GateWorld) -> None:
    cookie = await gated.open()
    forged = {"Authorization": "token forged", "X-Tre-Identity": "forged", "X-Forwarded-For": "6.6.6.6"}
    answer = await gated.lab("GET", "/api/kernels?token=forged&x=1", cookie, headers=forged)
    assert answer.status == 200
    (asked,) = gated.workspace.asked
    inner = inner_token(required_secret(gated.settings.keys_dir, INNER), gated.workspace_id, "00ff")
    assert asked.headers["Authorization"] == f"token {inner}"
    assert asked.headers["Host"] == "localhost"
    assert asked.raw_path == "/api/kernels?x=1"
    assert "forged" not in str(asked.headers)
    assert not {"Cookie", "Origin", "Referer", "X-Tre-Identity", "X-Forwarded-For"} & set(asked.headers)


async def test_a_replayed_ticket_opens_nothing(gated: GateWorld) -> None:
    ticket = (await gated.ticket(gated.sign_in())).json["ticket"]
    assert (await gated.enter(ticket)).status == 303
    again = await gated.enter(ticket)
    assert again.status == 403
    assert "Set-Cookie" not in again.headers


async def test_of_many_who_hand_in_one_ticket_at_once_one_gets_in(gated: GateWorld) -> None:
    ticket = (await gated.ticket(gated.sign_in())).json["ticket"]
    answers = await asyncio.gather(*(gated.enter(ticket) for _ in range(12)))
    assert sorted(answer.status for answer in answers) == [303, *[403] * 11]


async def test_an_old_ticket_opens_nothing(gated: GateWorld) -> None:
    ticket = (await gated.ticket(gated.sign_in())).json["ticket"]
    gated.clock.pass_by(seconds=30)
    assert (await gated.enter(ticket)).status == 403


async def test_a_ticket_for_another_host_opens_nothing_and_is_spent(gated: GateWorld) -> None:
    other = run_workspace(gated.world.db, gated.settings, gated.clock(), BEN)
    ticket = (await gated.ticket(gated.sign_in())).json["ticket"]
    assert (await gated.enter(ticket, other)).status == 403
    assert (await gated.enter(ticket)).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Dest": "document"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_a_ticket_comes_from_the_portals_page_only(gated: GateWorld, headers: dict[str, str]) -> None:
    ticket = (await gated.ticket(gated.sign_in())).json["ticket"]
    assert (await gated.enter(ticket, **headers)).status == 403
    assert (await gated.enter(ticket)).status == 303, "the refused tries did not spend it"


async def test_n3_one_frame_reaches_no_other_workspace(gated: GateWorld) -> None:
    others = {
        "another person's": run_workspace(gated.world.db, gated.settings, gated.clock(), BEN),
        "nobody's": WorkspaceId("a" * 16),
    }
    cookie = await gated.open()
    for whose, other in others.items():
        answer = await gated.lab("GET", "/api/kernels", cookie, workspace=other)
        assert answer.status == 401, whose
    assert gated.workspace.asked == []


async def test_p3_a_ticket_is_for_the_persons_own_workspace(gated: GateWorld) -> None:
    answer = await gated.ticket(gated.sign_in(BEN))
    assert answer.status == 403
    assert answer.code == "not-a-member"


async def test_without_a_frame_there_is_a_sentence_or_a_page(gated: GateWorld) -> None:
    answer = await gated.lab("GET", "/api/kernels", None)
    assert (answer.status, answer.code) == (401, "no-frame")
    framed = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe", "Accept": "text/html"}
    page = await gated.lab("GET", "/lab", None, headers=framed)
    assert page.status == 401
    assert b"open the workspace from its project" in page.body
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")


async def test_the_portals_cookie_is_none_here(gated: GateWorld) -> None:
    cookie = gated.sign_in()
    answer = await gated.lab(
        "GET", "/api/kernels", None, headers={"Cookie": f"__Host-tre={cookie}; __Host-ws={cookie}"}
    )
    assert answer.status == 401


async def test_n3_requests_of_other_pages_are_refused(gated: GateWorld) -> None:
    cookie = await gated.open()
    other = gated.settings.workspace_origin("b" * 16)
    tries = [
        ("GET", {"Sec-Fetch-Site": "same-site"}),
        ("GET", {"Sec-Fetch-Site": "cross-site"}),
        ("GET", {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}),
        ("POST", {"Sec-Fetch-Site": "same-site", "Origin": other}),
        ("POST", {"Sec-Fetch-Site": "same-site", "Origin": gated.people}),
        ("POST", {"Origin": other}),
        ("DELETE", {"Origin": "null"}),
    ]
    for method, headers in tries:
        answer = await gated.lab(method, "/api/kernels", cookie, headers=headers)
        assert answer.status == 403, (method, headers)
    assert gated.workspace.asked == []


@pytest.mark.parametrize(
    "path", ["/files/a.csv", "/nbconvert/html/a.ipynb", "/api/terminals", "/metrics", "/proxy/80/"]
)
async def test_closed_ways_stay_closed_with_a_frame(gated: GateWorld, path: str) -> None:
    answer = await gated.lab("GET", path, await gated.open())
    assert answer.status == 403
    assert answer.code.startswith("closed")
    assert gated.workspace.asked == []


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/static/lab/main.0123456789abcdef0123.js", b"lab()", "text/javascript; charset=utf-8"),
        ("/lab/api/themes/@jupyterlab/theme-light-extension/index.css", b"body{}", "text/css; charset=utf-8"),
        ("/lab/extensions/pygments/static/remoteEntry.js", b"ext()", "text/javascript; charset=utf-8"),
        ("/kernelspecs/python3/logo-svg.svg", b"<svg/>", "image/svg+xml"),
        ("/favicon.ico", b"icon", "image/x-icon"),
    ],
)
async def test_labs_files_come_from_the_hosts_copy(gated: GateWorld, path: str, body: bytes, kind: str) -> None:
    answer = await gated.lab("GET", path, await gated.open())
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, body, kind)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert gated.workspace.asked == [], "the workspace was not asked"


@pytest.mark.parametrize(
    "path",
    ["/static/lab/missing.js", "/static/lab/link.js", "/lab/extensions/mine/static/evil.js", "/static/lab/..%2f..%2fx"],
)
async def test_other_files_are_none_even_when_the_workspace_has_them(gated: GateWorld, path: str) -> None:
    answer = await gated.lab("GET", path, await gated.open())
    assert answer.status in (400, 404)
    assert gated.workspace.asked == []


async def test_a_file_of_lab_needs_a_frame_too(gated: GateWorld) -> None:
    assert (await gated.lab("GET", "/static/lab/main.0123456789abcdef0123.js", None)).status == 401


async def answer_of(gated: GateWorld, path: str, response: web.Response) -> Answer:
    """What comes through when the workspace says this, once."""

    async def say(_request: web.Request) -> web.StreamResponse:
        gated.workspace.answer = kernels
        return response

    cookie = await gated.open()
    gated.workspace.answer = say
    return await gated.lab("GET", path, cookie)


@pytest.mark.parametrize("kind", ["text/javascript", "text/html", "image/svg+xml", "application/octet-stream"])
async def test_n3_a_hostile_server_cannot_serve_script_where_json_is_due(gated: GateWorld, kind: str) -> None:
    answer = await answer_of(gated, "/api/kernels", web.Response(text="evil()", content_type=kind))
    assert answer.status == 502
    assert b"evil" not in answer.body


async def test_headers_of_a_hostile_server_do_not_pass(gated: GateWorld) -> None:
    hostile = {
        "Set-Cookie": "__Host-tre=x; Path=/",
        "Content-Security-Policy": "default-src *",
        "Access-Control-Allow-Origin": "*",
        "Refresh": "0; url=http://evil.example/",
        "Link": "<http://evil.example/?rows>; rel=preconnect",
        "Clear-Site-Data": '"*"',
        "Service-Worker-Allowed": "/",
        "X-Rows": "1,2,3",
    }
    answer = await answer_of(gated, "/api/kernels", web.json_response([], headers=hostile))
    assert answer.status == 200
    assert "evil" not in str(answer.headers)
    assert not {"Set-Cookie", "Refresh", "Link", "Clear-Site-Data", "X-Rows", "Access-Control-Allow-Origin"} & set(
        answer.headers
    )
    assert answer.headers.getall("Content-Security-Policy")[0].startswith("default-src 'self'")


async def test_a_redirect_elsewhere_loses_its_target(gated: GateWorld) -> None:
    hostile = web.Response(status=302, headers={"Location": "http://evil.example/?rows=1"})
    answer = await answer_of(gated, "/lab", hostile)
    assert "Location" not in answer.headers
    kind = await answer_of(gated, "/lab", web.Response(status=302, headers={"Location": "/lab/tree/x"}))
    assert kind.headers["Location"] == "/lab/tree/x"


async def test_contents_are_judged_both_ways(gated: GateWorld) -> None:
    binary = {"name": "a", "type": "file", "format": "base64", "mimetype": None}
    secret = base64.b64encode(b"rows").decode()
    answer = await answer_of(gated, "/api/contents/a.parquet", web.json_response({**binary, "content": secret}))
    assert (answer.status, answer.code) == (403, "closed-download")
    text = {"name": "a", "type": "file", "format": "text", "content": "x"}
    assert (await answer_of(gated, "/api/contents/a.txt", web.json_response(text))).json == text
    cookie = await gated.open()
    before = len(gated.workspace.asked)
    upload = {"type": "file", "format": "base64", "content": secret}
    assert (await gated.lab("PUT", "/api/contents/a", cookie, json=upload)).code == "closed-upload"
    too_long = {"type": "file", "format": "text", "content": "x" * (3 << 20)}
    assert (await gated.lab("PUT", "/api/contents/a", cookie, json=too_long)).code == "too-big"
    longer = {"type": "notebook", "format": "json", "content": "x" * (9 << 20)}
    assert (await gated.lab("PUT", "/api/contents/a", cookie, json=longer)).status == 413
    packed = await gated.lab("PUT", "/api/contents/a", cookie, data=b"x", headers={"Content-Encoding": "gzip"})
    assert packed.status == 415
    assert len(gated.workspace.asked) == before, "nothing of that reached the workspace"
    saved = await gated.lab(
        "PUT", "/api/contents/a.txt", cookie, json={"type": "file", "format": "text", "content": "x"}
    )
    assert saved.status == 200
    assert json.loads(gated.workspace.bodies[-1])["content"] == "x"


async def test_a_huge_answer_of_the_contents_api_is_cut(gated: GateWorld) -> None:
    answer = await answer_of(
        gated, "/api/contents/a.ipynb", web.json_response({"type": "notebook", "content": "x" * (9 << 20)})
    )
    assert (answer.status, answer.code) == (403, "too-big")


async def test_a_workspace_that_is_gone_is_said_in_words(gated: GateWorld) -> None:
    cookie = await gated.open()
    await gated.workspace.stop()
    answer = await gated.lab("GET", "/api/kernels", cookie)
    assert (answer.status, answer.code) == (503, "workspace-silent")


async def test_a_new_start_needs_a_new_ticket(gated: GateWorld) -> None:
    cookie = await gated.open()
    run_workspace(gated.world.db, gated.settings, gated.clock(), ANA, nonce="11ee")
    await gated.gate.core.rights.confirm()
    answer = await gated.lab("GET", "/api/kernels", cookie)
    assert (answer.status, answer.code) == (403, "workspace-restarted")


async def test_activity_is_noted_for_culling_but_not_for_polling(gated: GateWorld) -> None:
    def last() -> object:
        with gated.world.db.read() as session:
            row = session.get(WorkspaceRow, gated.workspace_id)
            assert row is not None
            return row.last_activity

    cookie = await gated.open()
    began = last()
    gated.clock.pass_by(seconds=60)
    await gated.lab("GET", "/api/kernels", cookie)
    await gated.gate.core.store.flush()
    assert last() == began
    await gated.lab("POST", "/api/kernels", cookie, json={})
    await gated.gate.core.store.flush(at_end=True)
    assert last() == gated.clock()


async def test_what_passes_is_logged_by_whom_and_how_much_and_never_by_name(
    gated: GateWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    cookie = await gated.open()
    text = {"name": "a", "type": "file", "format": "text", "content": "canary-content"}

    async def file(_request: web.Request) -> web.StreamResponse:
        return web.json_response(text)

    gated.workspace.answer = file
    await gated.lab("GET", "/api/contents/canary-name.csv", cookie)
    await gated.lab("PUT", "/api/contents/canary-name.csv", cookie, json=text)
    told = capsys.readouterr().out
    assert told.count("gate.passed") == 2
    assert "GET contents" in told
    assert f"bytes={len(json.dumps(text))}" in told
    assert "canary" not in told
    assert cookie not in told


async def test_smuggled_and_odd_requests_reach_nobody(gated: GateWorld) -> None:
    cookie = await gated.open()
    host = gated.settings.workspace_host(gated.workspace_id) + gated.settings.port_suffix
    rest = f"Cookie: __Host-ws={cookie}\r\nSec-Fetch-Site: same-origin\r\nOrigin: {gated.own}\r\n"
    head = f"Host: {host}\r\n{rest}"
    post = f"POST /api/kernels HTTP/1.1\r\n{head}"
    chunks = "2\r\n{}\r\n0\r\n\r\n"
    tries = {
        "two lengths": f"{post}Content-Length: 2\r\nContent-Length: 9\r\n\r\n{{}}",
        "length and chunks": f"{post}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}",
        "strange coding": f"{post}Transfer-Encoding: gzip, chunked\r\n\r\n{chunks}",
        "expectation": f"{post}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{{}}",
        "two hosts": f"GET /api/kernels HTTP/1.1\r\nHost: tre.localhost\r\n{head}\r\n",
        "no host": f"GET /api/kernels HTTP/1.1\r\n{rest}\r\n",
        "old protocol": f"GET /api/kernels HTTP/1.0\r\n{head}\r\n",
        "absolute form": f"GET http://{host}/api/kernels HTTP/1.1\r\n{head}\r\n",
        "authority form": f"CONNECT {host} HTTP/1.1\r\n{head}\r\n",
        "asterisk": f"OPTIONS * HTTP/1.1\r\n{head}\r\n",
        "double slash": f"GET //api/kernels HTTP/1.1\r\n{head}\r\n",
        "dot segments": f"GET /lab/../api/kernels HTTP/1.1\r\n{head}\r\n",
        "encoded slash": f"GET /api%2fkernels HTTP/1.1\r\n{head}\r\n",
        "other host": f"GET /api/kernels HTTP/1.1\r\nHost: evil.example\r\n{rest}\r\n",
        "folded header": f"GET /api/kernels HTTP/1.1\r\nHost: {host}\r\n {rest}\r\n",
        "space before colon": f"GET /api/kernels HTTP/1.1\r\nHost : {host}\r\n{rest}\r\n",
    }
    for name, sent in tries.items():
        received = await raw(gated.settings.listen_port, sent.encode())
        status = int(received.split()[1]) if received else 0
        assert status == 0 or 400 <= status < 500, (name, received[:200])
    assert gated.workspace.asked == []
    fine = f"GET /api/kernels HTTP/1.1\r\n{head}\r\n"
    assert b" 200 " in (await raw(gated.settings.listen_port, fine.encode())).split(b"\r\n")[0]


async def test_an_answer_that_breaks_off_is_not_filled_up_with_another_one(gated: GateWorld) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "100000"})
        await answer.prepare(request)
        await answer.write(b"[" + b" " * 99_000)
        assert request.transport is not None
        request.transport.abort()
        return answer

    gated.workspace.answer = broken
    cookie = await gated.open()
    host = gated.settings.workspace_host(gated.workspace_id) + gated.settings.port_suffix
    lines = [
        "GET /api/kernels HTTP/1.1",
        f"Host: {host}",
        f"Origin: {gated.own}",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Mode: cors",
        f"Cookie: {FRAME_COOKIE}={cookie}",
    ]
    received = await raw(gated.settings.listen_port, "\r\n".join([*lines, "", ""]).encode())
    assert received.startswith(b"HTTP/1.1 200")
    assert received.count(b"HTTP/1.1") == 1


async def test_D2_a_held_write_lock_does_not_hold_up_the_watch_of_rights(gated: GateWorld) -> None:
    cookie = await gated.open()
    assert (await gated.lab("GET", "/api/kernels", cookie)).status == 200
    release, held = threading.Event(), threading.Event()

    def hold() -> None:
        with gated.world.db.write():
            held.set()
            release.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        held.wait(5)
        before = gated.gate.core.rights.lost
        await asyncio.sleep(1.5)  # the meter's write is waiting by now
        gated.clock.now += dt.timedelta(days=400)
        await until(lambda: gated.gate.core.rights.lost > before, 3)
    finally:
        release.set()
        holder.join()
