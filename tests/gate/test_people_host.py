"""The people's host: who is asking is the gate's word alone, and only signing in is open of the hub."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest
from aiohttp import web

from tests.gate.build import GateWorld, raw
from tests.governance.build import ANA, BEN
from tre_orchestrator.governance import credentials
from tre_orchestrator.governance.identity import HEADER, Identity, sign_identity, verify_identity
from tre_orchestrator.governance.secrets import IDENTITY, required_secret

NAVIGATE = {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}


def heard(gated: GateWorld) -> Identity:
    """Who the web application was told is asking."""
    (values,) = [gated.web.asked[-1].headers.getall(HEADER)]
    assert len(values) == 1
    return verify_identity(required_secret(gated.settings.keys_dir, IDENTITY), values[0], gated.clock())


async def test_the_web_application_hears_who_is_signed_in(gated: GateWorld) -> None:
    cookie = gated.sign_in()
    answer = await gated.portal("GET", "/projects/heart?x=%20y", cookie)
    assert (answer.status, answer.body) == (200, b"hello")
    who = heard(gated)
    assert (who.person, who.via, who.csrf, who.mfa) == (ANA, "session", gated.csrf(cookie), False)
    asked = gated.web.asked[-1]
    assert asked.raw_path == "/projects/heart?x=%20y"
    assert "Cookie" not in asked.headers
    assert asked.headers["Host"] == gated.settings.site + gated.settings.port_suffix


@pytest.mark.parametrize("name", ["X-Tre-Identity", "x-tre-identity", "X-TRE-IDENTITY", "X_Tre_Identity"])
async def test_p1_nobody_names_himself_from_outside(gated: GateWorld, name: str) -> None:
    key = required_secret(gated.settings.keys_dir, IDENTITY)
    until = gated.clock() + dt.timedelta(seconds=20)
    forged = sign_identity(key, Identity(BEN, "x", "x", True, "session", until))
    assert (await gated.portal("GET", "/api/x", headers={name: forged})).status == 401
    answer = await gated.portal("GET", "/api/x", gated.sign_in(), headers={name: forged})
    assert answer.status == 200
    assert heard(gated).person == ANA


async def test_nobody_signed_in_is_sent_to_sign_in_or_told(gated: GateWorld) -> None:
    page = await gated.portal("GET", "/projects/heart?a=b", headers=NAVIGATE)
    assert (page.status, page.headers["Location"]) == (303, "/gate/login?next=%2Fprojects%2Fheart%3Fa%3Db")
    api = await gated.portal("GET", "/api/projects", headers=NAVIGATE)
    assert (api.status, api.code) == (401, "sign-in")
    script = await gated.portal("GET", "/projects/heart")
    assert script.status == 401
    assert gated.web.asked == []


@pytest.mark.parametrize("path", ["/static/govuk/govuk-frontend.min.css", "/verify", "/verify/key.pem", "/favicon.ico"])
async def test_what_outsiders_need_is_open_and_anonymous(gated: GateWorld, path: str) -> None:
    assert (await gated.portal("GET", path, headers={HEADER: "forged"})).status == 200
    assert HEADER not in gated.web.asked[-1].headers


async def test_a_token_works_on_the_api_only(gated: GateWorld) -> None:
    with gated.world.db.write() as session:
        token = credentials.issue_api_token(session, BEN, gated.clock())
    bearer = {"Authorization": f"Bearer {token}"}
    answer = await gated.ask("POST", "/api/projects", headers=bearer, json={})
    assert answer.status == 200
    assert (heard(gated).person, heard(gated).via) == (BEN, "token")
    assert "Authorization" not in gated.web.asked[-1].headers
    assert (await gated.ask("GET", "/projects", headers=bearer)).status == 401
    assert (await gated.ask("GET", "/gate/meter?project=heart", headers=bearer)).status == 401
    for wrong in (f"Bearer {token}x", "Bearer tre_", f"Basic {token}", f"bearer {token}", "Bearer", ""):
        assert (await gated.ask("GET", "/api/projects", headers={"Authorization": wrong})).status == 401, wrong
    gated.clock.pass_by(hours=9)
    assert (await gated.ask("GET", "/api/projects", headers=bearer)).status == 401


async def test_a_wrong_token_is_not_rescued_by_a_cookie(gated: GateWorld) -> None:
    answer = await gated.portal("GET", "/api/projects", gated.sign_in(), headers={"Authorization": "Bearer tre_wrong"})
    assert answer.status == 401


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-site", "Origin": "WORKSPACE"},
        {"Sec-Fetch-Site": "same-site", "Origin": "PEOPLE"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "none", "Origin": "PEOPLE"},
        {"Sec-Fetch-Site": "", "Origin": "PEOPLE"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "WORKSPACE"},
    ],
)
async def test_n3_a_same_site_form_post_changes_nothing(gated: GateWorld, method: str, headers: dict[str, str]) -> None:
    names = {"PEOPLE": gated.people, "WORKSPACE": gated.own}
    given = {name: names.get(value, value) for name, value in headers.items()}
    cookie = gated.sign_in()
    for path in ("/projects/heart/start", "/hub/login", "/gate/ticket", "/logout"):
        if path == "/hub/login" and method != "POST":
            continue
        answer = await gated.portal(method, path, cookie, headers=given, data=b"x=1")
        assert answer.status == 403, path
    assert gated.web.asked == []
    assert gated.hub.asked == []
    assert (await gated.portal("GET", "/api/x", cookie)).status == 200, "nor is anybody signed out"


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
async def test_other_methods_are_not_taken(gated: GateWorld, method: str) -> None:
    host = gated.settings.site + gated.settings.port_suffix
    received = await raw(gated.settings.listen_port, f"{method} /x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert received.split()[1] in (b"400", b"405")
    assert gated.web.asked == []


async def test_the_hubs_cookies_pass_under_their_prefix_and_tossed_ones_do_not(gated: GateWorld) -> None:
    async def page(_request: web.Request) -> web.StreamResponse:
        answer = web.Response(text="sign in", content_type="text/html")
        answer.headers.add("Set-Cookie", "_xsrf=fresh; Path=/hub/; Domain=lab.tre.localhost")
        answer.headers["Access-Control-Allow-Origin"] = "*"
        return answer

    gated.hub.answer = page
    tossed = "_xsrf=tossed; jupyterhub-hub-login=tossed; __Host-hub-_xsrf=ours; __Host-tre=other"
    answer = await gated.portal("GET", "/hub/login", headers={**NAVIGATE, "Cookie": tossed})
    assert gated.hub.asked[-1].headers["Cookie"] == "_xsrf=ours"
    assert answer.headers.getall("Set-Cookie") == ["__Host-hub-_xsrf=fresh; Path=/; Secure; HttpOnly; SameSite=Lax"]
    assert "Access-Control-Allow-Origin" not in answer.headers
    policies = answer.headers.getall("Content-Security-Policy")
    assert any("frame-ancestors 'none'" in policy for policy in policies)
    assert any("script-src 'self'" in policy for policy in policies)


async def test_a_doubled_session_cookie_is_nobodys(gated: GateWorld) -> None:
    cookie = gated.sign_in()
    twice = {"Cookie": f"__Host-tre={cookie}; __Host-tre={cookie}"}
    assert (await gated.portal("GET", "/api/x", headers=twice)).status == 401


async def test_cookies_of_the_web_application_need_its_prefix(gated: GateWorld) -> None:
    async def page(_request: web.Request) -> web.StreamResponse:
        answer = web.Response(text="x")
        for line in ("plain=1; Path=/", "__Host-tre=stolen; Path=/; Secure", "__Host-web-flash=1; Path=/; Secure"):
            answer.headers.add("Set-Cookie", line)
        return answer

    gated.web.answer = page
    cookie = gated.sign_in()
    sent = {"Cookie": f"__Host-tre={cookie}; plain=1; __Host-web-flash=1"}
    answer = await gated.portal("GET", "/", headers=sent)
    assert answer.headers.getall("Set-Cookie") == ["__Host-web-flash=1; Path=/; Secure"]
    assert gated.web.asked[-1].headers["Cookie"] == "__Host-web-flash=1"


@pytest.mark.parametrize(
    "path", ["/hub/api/users", "/hub/home", "/hub/token", "/hub/metrics", "/hub/spawn", "/hub/admin"]
)
async def test_the_hub_has_no_api_and_no_pages_at_the_front_door(gated: GateWorld, path: str) -> None:
    answer = await gated.portal("GET", path, gated.sign_in(), headers=NAVIGATE)
    assert answer.status == 403
    assert b"closed" in answer.body
    assert gated.hub.asked == []


@pytest.mark.parametrize(
    "path", ["/hub/%61pi/users", "/hub/login/..%2fapi/users", "/hub//api/users", "/hub/./api/users"]
)
async def test_path_tricks_do_not_reach_the_hub(gated: GateWorld, path: str) -> None:
    host = gated.settings.site + gated.settings.port_suffix
    received = await raw(gated.settings.listen_port, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert received.split()[1] in (b"400", b"403")
    assert gated.hub.asked == []


async def test_health_and_metrics_are_not_at_the_front_door(gated: GateWorld) -> None:
    cookie = gated.sign_in()
    for path in ("/gate/metrics", "/gate/health"):
        assert (await gated.portal("GET", path, cookie)).status == 404
    await gated.portal("GET", "/metrics", cookie)
    assert gated.web.asked[-1].raw_path == "/metrics", "the web application's own business, who is asking is known"


async def test_a_ticket_needs_the_csrf_token(gated: GateWorld) -> None:
    cookie = gated.sign_in()
    for token in ("", "wrong", gated.csrf(gated.sign_in())):
        answer = await gated.portal(
            "POST", "/gate/ticket", cookie, headers={"X-Tre-Csrf": token}, json={"project": "heart"}
        )
        assert (answer.status, answer.code) == (403, "csrf")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"project": 1}', b'{"project": "../x"}', b"{}", b"\xff"])
async def test_a_ticket_needs_a_project(gated: GateWorld, body: bytes) -> None:
    cookie = gated.sign_in()
    headers = {"X-Tre-Csrf": gated.csrf(cookie), "Content-Type": "application/json"}
    answer = await gated.portal("POST", "/gate/ticket", cookie, headers=headers, data=body)
    assert answer.status == 422


async def test_the_banner_learns_bytes_caps_and_end(gated: GateWorld) -> None:
    cookie = gated.sign_in()
    frame = await gated.open()
    await gated.lab("GET", "/api/kernels", frame)
    shown = (await gated.portal("GET", "/gate/meter?project=heart", cookie)).json
    assert shown["bytes_today"] == 2
    assert (shown["soft"], shown["hard"]) == (100 << 20, 500 << 20)
    assert dt.datetime.fromisoformat(shown["ends_at"]) == gated.clock() + dt.timedelta(hours=12)
    assert shown["warning"] == ""
    assert (await gated.portal("GET", "/gate/meter?project=other", cookie)).status == 404
    assert (await gated.portal("GET", "/gate/meter?project=heart")).status == 401


async def test_what_does_not_answer_is_said_in_words(gated: GateWorld) -> None:
    await gated.web.stop()
    cookie = gated.sign_in()
    page = await gated.portal("GET", "/", cookie, headers=NAVIGATE)
    assert page.status == 503
    assert b"try again in a moment" in page.body
    assert (await gated.portal("GET", "/api/x", cookie)).code == "starting"


async def test_long_answers_stream_as_they_come(gated: GateWorld) -> None:
    goes_on = asyncio.Event()

    async def events(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b"data: 1\n\n")
        await goes_on.wait()
        await answer.write(b"data: 2\n\n")
        return answer

    gated.web.answer = events
    headers = {
        "Host": gated.settings.site + gated.settings.port_suffix,
        "Cookie": f"__Host-tre={gated.sign_in()}",
        "Sec-Fetch-Mode": "cors",
    }
    url = f"http://127.0.0.1:{gated.settings.listen_port}/api/progress"
    async with gated.client.get(url, headers=headers) as answer:
        assert await asyncio.wait_for(answer.content.readany(), 5) == b"data: 1\n\n"
        goes_on.set()
        assert await asyncio.wait_for(answer.content.readany(), 5) == b"data: 2\n\n"


async def test_bodies_and_statuses_pass_unchanged(gated: GateWorld) -> None:
    async def refuse(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=409, body=b"x" * 300_000, headers={"X-Own": "1"})

    gated.web.answer = refuse
    body = bytes(range(256)) * 2000
    answer = await gated.portal("POST", "/api/x", gated.sign_in(), data=body)
    assert (answer.status, len(answer.body), answer.headers["X-Own"]) == (409, 300_000, "1")
    assert gated.web.bodies[-1] == body


async def test_too_long_a_form_does_not_reach_the_hub(gated: GateWorld) -> None:
    answer = await gated.portal("POST", "/hub/login", data=b"x" * 100_000)
    assert answer.status == 413
    assert gated.hub.asked == []


async def test_signing_out_by_a_foreign_link_asks_first(gated: GateWorld) -> None:
    cookie = gated.sign_in()
    foreign = {**NAVIGATE, "Sec-Fetch-Site": "cross-site"}
    asked = await gated.portal("GET", "/logout", cookie, headers=foreign)
    assert (asked.status, b"<form" in asked.body) == (200, True)
    assert (await gated.portal("GET", "/api/x", cookie)).status == 200
    out = await gated.portal("GET", "/logout", cookie, headers={**NAVIGATE, "Sec-Fetch-Site": "same-origin"})
    assert out.headers["Set-Cookie"].startswith("__Host-tre=; Max-Age=0")
    assert (await gated.portal("GET", "/api/x", cookie)).status == 401


async def test_idle_sessions_end_and_used_ones_go_on(gated: GateWorld) -> None:
    used, idle, polled = gated.sign_in(), gated.sign_in(BEN), gated.sign_in()
    for _ in range(5):
        gated.clock.pass_by(minutes=30)
        assert (await gated.portal("GET", "/x", used, headers=NAVIGATE)).status == 200
        await gated.portal("GET", "/gate/meter?project=heart", polled)
    assert (await gated.portal("GET", "/api/x", idle)).status == 401
    assert (await gated.portal("GET", "/api/x", polled)).status == 401, "a page that asks on its own is nobody's use"


async def test_n3_a_bomb_of_cookies_does_not_lock_the_person_out(gated: GateWorld) -> None:
    """180 cookies of 4 KiB is what a browser holds for a site; a workspace's page may set them all."""
    bomb = "; ".join(f"bomb{number}={'x' * 4080}" for number in range(180))
    headers = {"Cookie": f"{bomb}; __Host-tre={gated.sign_in()}"}
    answer = await gated.ask("GET", "/projects/heart", headers=headers)
    assert answer.status == 200
    assert "Cookie" not in gated.web.asked[-1].headers


@pytest.mark.parametrize("line", [b"Cookie: __Host-tre=canary\x00", b"Content-Length: canary"])
async def test_r3_a_request_that_cannot_be_read_is_not_repeated(
    gated: GateWorld, capfd: pytest.CaptureFixture[str], line: bytes
) -> None:
    host = (gated.settings.site + gated.settings.port_suffix).encode()
    answer = await raw(gated.settings.listen_port, b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n" + line + b"\r\n\r\n")
    assert b" 400 Bad Request" in answer.partition(b"\r\n")[0]
    assert b"frame-ancestors 'none'" in answer
    told = capfd.readouterr()
    assert b"canary" not in answer
    assert "canary" not in told.out + told.err
    assert gated.web.asked == []
