"""Pure rules of the gate: hosts, who may send, headers, cookies, contents."""

from __future__ import annotations

import base64
import json

import pytest

from tre_orchestrator.gate import contents
from tre_orchestrator.gate.headers import (
    cookie,
    cookies_for_hub,
    from_people,
    hub_cookie,
    location_from_workspace,
    own_cookie,
    people_headers,
    to_people,
    to_workspace,
    workspace_headers,
    workspace_policy,
)
from tre_orchestrator.gate.hosts import Hosts, PeopleHost, WorkspaceHost
from tre_orchestrator.gate.oauth import safe_next
from tre_orchestrator.gate.writes import Fetch, why_not_enter, why_not_in_workspace, why_not_socket, why_not_write

PEOPLE = "http://tre.localhost:8000"
ID = "abcdefghijklmn23"
OWN = f"http://{ID}.lab.tre.localhost:8000"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "tre.localhost",
        "tre.localhost:80",
        "tre.localhost:8000:8000",
        "TRE.localhost:8000",
        "tre.localhost.:8000",
        "127.0.0.1:8000",
        "localhost:8000",
        "lab.tre.localhost:8000",
        ".lab.tre.localhost:8000",
        f"{ID}.lab.tre.localhost",
        f"{ID.upper()}.lab.tre.localhost:8000",
        f"{ID}x.lab.tre.localhost:8000",
        f"{ID[:-1]}.lab.tre.localhost:8000",
        f"{ID[:-1]}1.lab.tre.localhost:8000",
        f"x.{ID}.lab.tre.localhost:8000",
        f"{ID}.tre.localhost:8000",
        f"{ID}.lab.tre.localhost:8000@evil",
    ],
)
def test_other_hosts_are_nobodys(name: str) -> None:
    assert Hosts("tre.localhost", ":8000").named(name) is None


def test_our_hosts_are_told_apart() -> None:
    hosts = Hosts("tre.localhost", ":8000")
    assert hosts.named("tre.localhost:8000") == PeopleHost()
    assert hosts.named(f"{ID}.lab.tre.localhost:8000") == WorkspaceHost(ID)  # type: ignore[arg-type]
    assert Hosts("tre.example", "").named("tre.example") == PeopleHost()
    assert Hosts("tre.example", "").named("tre.example:443") is None


SITES = ["", "none", "same-origin", "same-site", "cross-site"]
ORIGINS = [None, "null", PEOPLE, OWN, "http://evil.example"]


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_a_change_needs_the_pages_own_origin(method: str, site: str, origin: str | None) -> None:
    refusal = why_not_write(Fetch(method, site, "cors", "empty", origin), PEOPLE)
    fine = method in ("GET", "HEAD") or (site, origin) == ("same-origin", PEOPLE)
    assert (refusal is None) == fine


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_n3_only_the_workspaces_own_page_reaches_its_api(method: str, site: str, origin: str | None) -> None:
    refusal = why_not_in_workspace(Fetch(method, site, "cors", "empty", origin), OWN, page=False)
    fine = site == "same-origin" and (origin == OWN or (method == "GET" and origin is None))
    assert (refusal is None) == fine


@pytest.mark.parametrize("dest", ["document", "iframe", "frame", "embed", "object", "empty", ""])
@pytest.mark.parametrize("site", SITES)
def test_a_workspaces_page_loads_in_a_frame_of_the_site_only(site: str, dest: str) -> None:
    refusal = why_not_in_workspace(Fetch("GET", site, "navigate", dest, None), OWN, page=True)
    assert (refusal is None) == (site in ("same-origin", "same-site") and dest in ("iframe", "frame"))


def test_an_address_of_the_api_is_no_page_to_go_to() -> None:
    assert why_not_in_workspace(Fetch("GET", "same-origin", "navigate", "iframe", None), OWN, page=False) is not None


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("site", SITES)
def test_n3_a_socket_opens_for_its_own_origin_only(site: str, origin: str | None) -> None:
    refusal = why_not_socket(Fetch("GET", site, "websocket", "empty", origin), OWN)
    assert (refusal is None) == (origin == OWN and site in ("", "same-origin"))


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("dest", ["document", "iframe", "empty"])
def test_a_ticket_comes_from_the_portals_page_into_its_frame(dest: str, site: str, origin: str | None) -> None:
    refusal = why_not_enter(Fetch("POST", site, "navigate", dest, origin), PEOPLE)
    assert (refusal is None) == ((dest, site, origin) == ("iframe", "same-site", PEOPLE))


def test_a_workspace_sees_nothing_of_the_browser() -> None:
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Cookie": "__Host-ws=secret; __Host-tre=secret",
        "Authorization": "Bearer tre_secret",
        "X-Forwarded-For": "1.2.3.4",
        "X-Tre-Identity": "secret",
        "Origin": OWN,
        "Referer": OWN,
        "Host": ID,
        "X-XSRFToken": "x",
    }
    assert to_workspace(headers, "inner") == {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Host": "localhost",
        "Authorization": "token inner",
    }


@pytest.mark.parametrize(
    "name",
    [
        "X-Tre-Identity",
        "x-tre-identity",
        "X-TRE-Identity",
        "X-Tre-Anything",
        "X_Tre_Identity",
        "X-Tre_Identity",
        "Cookie",
        "Authorization",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Real-Ip",
        "Connection",
        "Transfer-Encoding",
        "Upgrade",
    ],
)
def test_what_a_browser_may_not_say_does_not_pass(name: str) -> None:
    sent = to_people([(name, "forged")], host="tre.localhost:8000", peer="127.0.0.1", scheme="http", cookies="")
    assert "forged" not in [value for _name, value in sent]


def test_the_csrf_header_is_the_one_tre_header_that_passes() -> None:
    sent = to_people([("X-Tre-Csrf", "t")], host="h", peer="p", scheme="http", cookies="")
    assert ("X-Tre-Csrf", "t") in sent


def test_hub_cookies_are_prefixed_out_and_stripped_in() -> None:
    out = hub_cookie('jupyterhub-hub-login="2|1:0|x"; expires=Mon, 23 Nov 2026 09:00:00 GMT; Path=/hub/; Domain=x')
    assert out == (
        '__Host-hub-jupyterhub-hub-login="2|1:0|x"; expires=Mon, 23 Nov 2026 09:00:00 GMT; '
        "Path=/; Secure; HttpOnly; SameSite=Lax"
    )
    tossed = ["_xsrf=tossed; jupyterhub-hub-login=tossed; __Host-hub-_xsrf=ours; __Host-tre=s; __Host-hub-=x"]
    assert cookies_for_hub(tossed) == "_xsrf=ours"
    assert hub_cookie("no equals sign") is None


def test_a_doubled_cookie_is_no_cookie() -> None:
    assert cookie(["a=1; b=2"], "a") == "1"
    assert cookie(["a=1; a=2"], "a") is None
    assert cookie(["a=1", "a=1"], "a") is None
    assert cookie([], "a") is None


def test_own_cookies_are_for_this_host_and_not_for_script() -> None:
    made = own_cookie("__Host-ws", "v", strict=True, max_age=5)
    assert made == "__Host-ws=v; Max-Age=5; Path=/; Secure; HttpOnly; SameSite=Strict"


@pytest.mark.parametrize(
    ("location", "kept"),
    [
        ("/lab", "/lab"),
        ("/api/contents/a%20b", "/api/contents/a%20b"),
        ("https://evil.example/?rows=1", None),
        ("//evil.example/", None),
        ("/\\evil.example", None),
        ("javascript:alert(1)", None),
        (None, None),
    ],
)
def test_a_workspace_cannot_send_a_browser_elsewhere(location: str | None, kept: str | None) -> None:
    assert location_from_workspace(location) == kept


def test_the_policy_opens_inline_scripts_only_where_the_tier_says() -> None:
    closed = workspace_policy(PEOPLE, scripts_in_output=False)
    opened = workspace_policy(PEOPLE, scripts_in_output=True)
    assert "script-src 'self' 'unsafe-eval';" in closed
    assert opened == closed.replace("'unsafe-eval'", "'unsafe-eval' 'unsafe-inline'")
    for directive in ("default-src 'self'", "connect-src 'self'", "object-src 'none'", f"frame-ancestors {PEOPLE}"):
        assert directive in closed.split("; ")
    sandbox = next(part for part in closed.split("; ") if part.startswith("sandbox"))
    assert "popups" not in sandbox
    assert "downloads" not in sandbox
    assert "top-navigation" not in sandbox


def test_answers_of_either_host_carry_their_fences() -> None:
    inside = workspace_headers(PEOPLE)
    assert inside["Connection-Allowlist"] == "(response-origin); webrtc=block"
    assert inside["X-Content-Type-Options"] == "nosniff"
    assert inside["Cross-Origin-Resource-Policy"] == "same-origin"
    assert inside["Referrer-Policy"] == "no-referrer"
    assert "clipboard-write=()" in inside["Permissions-Policy"]
    assert inside["Cache-Control"] == "no-store"
    outside = dict(people_headers(https=True))
    assert outside["Content-Security-Policy"].startswith("frame-ancestors 'none'")
    assert "Strict-Transport-Security" in outside


def test_nobody_behind_the_gate_opens_it_to_other_origins() -> None:
    kept = from_people([("Access-Control-Allow-Origin", "*"), ("Set-Cookie", "a=b"), ("X-Ok", "1"), ("Server", "x")])
    assert kept == [("X-Ok", "1")]


@pytest.mark.parametrize(
    ("path", "after"),
    [
        ("/projects/heart?x=1", "/projects/heart?x=1"),
        ("/", "/"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("/gate/login", "/"),
        ("/hub/logout", "/"),
        ("/logout", "/"),
        ("", "/"),
    ],
)
def test_after_signing_in_one_stays_here(path: str, after: str) -> None:
    assert safe_next(path) == after


def model(**fields: object) -> bytes:
    return json.dumps({"name": "a", "type": "file", **fields}).encode()


PIXELS = base64.b64encode(b"x" * 100).decode()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (model(format="text", content="a,b\n"), None),
        (model(format="base64", mimetype="image/png", content=PIXELS), None),
        (model(format="base64", mimetype="application/octet-stream", content=PIXELS), "closed-download"),
        (model(format="base64", mimetype=None, content=PIXELS), "closed-download"),
        (model(format="base64", content=PIXELS), "closed-download"),
        (model(type="directory", format="json", content=[]), None),
        (model(type="notebook", format="json", content={"cells": ["x" * contents.MAX_FILE]}), None),
        (model(type="notebook", format="json", content={"cells": ["x" * contents.MAX_NOTEBOOK]}), "too-big"),
        (model(format="text", content="x" * contents.MAX_FILE), "too-big"),
        (model(format=None, content=None, size=10**9), None),
        (b'[{"id": "checkpoint"}]', None),
        (b'"text"', "not-contents"),
        (b"\xff\xfe", "not-contents"),
        (b'{"format": "base64", "format": "text", "content": "x"}', "not-contents"),
    ],
)
def test_what_the_contents_api_may_show(body: bytes, code: str | None) -> None:
    refusal = contents.why_not_read(body)
    assert (refusal.code if refusal else None) == code


@pytest.mark.parametrize(
    ("method", "body", "code"),
    [
        ("PUT", model(format="text", content="x"), None),
        ("PUT", model(type="notebook", format="json", content={}), None),
        ("PUT", model(type="directory"), None),
        ("POST", b"", None),
        ("POST", b'{"copy_from": "a.ipynb"}', None),
        ("PATCH", b'{"path": "b.ipynb"}', None),
        ("PUT", model(format="base64", content=PIXELS), "closed-upload"),
        ("PUT", model(format="BASE64", content=PIXELS), "closed-upload"),
        ("PUT", model(format="text", content="x", chunk=1), "closed-upload"),
        ("PUT", model(format="text", content="x", chunk=None), "closed-upload"),
        ("PUT", model(format=["base64"], content=PIXELS), "closed-upload"),
        ("PUT", model(format="text", content="x" * contents.MAX_FILE), "too-big"),
        ("PUT", b"not json", "not-contents"),
        ("PUT", b'{"format": "text", "format": "base64", "content": "eA=="}', "not-contents"),
        ("PUT", b"[" * 100_000, "not-contents"),
        ("DELETE", b"anything", None),
    ],
)
def test_what_the_contents_api_may_take(method: str, body: bytes, code: str | None) -> None:
    refusal = contents.why_not_save(method, body)
    assert (refusal.code if refusal else None) == code
