"""Headers on every answer, sizes, errors that tell nothing, and numbers without names."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.web.world import CSRF, World
from tre_orchestrator.web import security
from tre_orchestrator.web.site import Machine

ADDRESSES = ("/", "/verify", "/static/tre.css", "/no-such", "/api/me", "/ops", "/health", "/favicon.ico")


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("who", ["analyst", None])
def test_every_answer_has_the_headers(world: World, address: str, who: str | None) -> None:
    headers = world.client(who).get(address).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "strict-origin"
    assert headers["cache-control"] in ("no-store", "no-cache")


def test_only_the_workspace_page_may_frame_and_only_workspaces(world: World) -> None:
    world.run_workspace("ana-silva", "winter-pressures")
    policy = world.client("analyst").get("/projects/winter-pressures/workspace").headers["content-security-policy"]
    assert "frame-src http://*.lab.tre.localhost:8000;" in policy + ";"
    assert "form-action 'self' http://*.lab.tre.localhost:8000;" in policy
    assert "lab" not in world.client("analyst").get("/projects/winter-pressures").headers["content-security-policy"]


def test_no_page_holds_inline_script_style_or_handlers(world: World) -> None:
    world.run_workspace("ana-silva", "winter-pressures")
    for who, address in (
        ("analyst", "/"),
        ("analyst", "/projects/winter-pressures"),
        ("analyst", "/projects/winter-pressures/workspace"),
        ("analyst", "/account"),
        ("controller", "/datasets/admissions"),
        ("ops", "/ops"),
        ("ops", "/approvals/diabetes-outcomes"),
    ):
        html = world.client(who).get(address).text
        assert re.findall(r"<script(?![^>]*\ssrc=)[^>]*>", html) == []
        assert re.findall(r"<style|\sstyle=|\son[a-z]+=\"|javascript:", html) == []
        assert re.findall(r"(?:src|href)=\"(?:https?:)?//", html) == []


def test_unforeseen_failure_is_a_page_with_headers_and_tells_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("secret-row-value")

    monkeypatch.setattr("tre_orchestrator.web.pages.home.mine", fail)
    answer = world.client("analyst").get("/")
    assert answer.status_code == 500
    assert "content-security-policy" in answer.headers
    reference = re.search(r"reference ([0-9a-f]{8})", answer.text)
    assert reference
    logged = "".join(capsys.readouterr())
    assert reference[1] in logged
    assert "ValueError" in logged
    assert "secret-row-value" not in logged + answer.text


def test_unforeseen_failure_of_the_api_is_a_problem(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tre_orchestrator.web.api.airlock.mine", lambda *_: 1 / 0)
    answer = world.client("analyst").get("/api/requests")
    assert (answer.status_code, answer.json()["code"]) == (500, "unforeseen")


def test_body_that_is_too_large_is_not_read(world: World) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 1 << 20
            yield b"x" * (1 << 20)

    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = world.client("analyst").post("/account/tokens", content=endless(), headers=headers)
    assert answer.status_code == 413
    assert "KiB" in answer.text
    assert "content-security-policy" in answer.headers
    assert sent > security.BODY_MAX


@pytest.mark.parametrize("body", ["[1", '{"documents": []}', '"x"', "null"])
def test_malformed_json_is_a_problem(world: World, body: str) -> None:
    headers = {"X-Tre-Csrf": CSRF, "Content-Type": "application/json"}
    answer = world.client("ops").post("/api/catalogue", content=body, headers=headers)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_unknown_key_in_a_body_is_refused(world: World) -> None:
    body = {"role": "approver", "digest": "0" * 64, "controls": "0" * 64, "force": True}
    answer = world.client("ops", via="token").post("/api/projects/diabetes-outcomes/approvals", json=body)
    assert answer.status_code == 422
    assert "force" in answer.json()["title"]


def test_R3_metrics_name_routes_and_never_what_was_in_them(world: World) -> None:
    client = world.client("analyst")
    client.get("/projects/winter-pressures")
    client.get("/canary-7f3a-in-a-path?canary-query")
    client.request("CANARY", "/")
    text = world.client(None).get("/metrics").text
    assert 'route="/projects/{project}"' in text
    assert 'method="other"' in text
    assert "canary" not in text.lower().replace('method="other"', "")
    assert "winter-pressures" not in text
    assert "ana-silva" not in text


def test_error_page_keeps_the_persons_own_frame(world: World) -> None:
    assert "Ana Silva" in world.client("analyst").get("/no-such-page").text
    assert "Sign in" in world.client(None).get("/no-such-page").text


@pytest.mark.parametrize("address", ["/metrics", "/health"])
@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Forwarded-Host"])
def test_numbers_are_not_for_the_front_door(world: World, address: str, header: str) -> None:
    assert world.client(None).get(address, headers={header: "127.0.0.1"}).status_code == 404
    assert world.client(None).get(address).status_code == 200


def test_health_says_when_the_database_is_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert world.client(None).get("/health").json() == {"ok": True, "process": "web"}
    world.db.dispose()
    monkeypatch.setattr(world.db, "_sessions", lambda: (_ for _ in ()).throw(OSError("gone")))
    assert world.client(None).get("/health").status_code == 500


def test_machine_that_does_not_answer_is_shown_with_its_words(world: World) -> None:
    from tests.web.world import with_machine
    from tre_orchestrator.ops.health import Health

    broken = with_machine(world, Machine(lambda _: [Health("hub", False, "does not answer (gone)")], lambda _: []))
    html = broken.client("ops").get("/ops").text
    assert "does not answer (gone)" in html
    assert "not known" in html
