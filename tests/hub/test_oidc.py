"""Signing in by an OpenID Connect provider: a real hub, a real gate, and a small provider of the test's own."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from tests.gate.build import Clock, free_port
from tests.governance.build import ANA, person
from tests.hub.browser import HttpBrowser
from tests.hub.conftest import NOW, RunningHub, make_hub
from tre_orchestrator.gate.app import serving
from tre_orchestrator.governance import credentials
from tre_orchestrator.governance.credentials import WebSession
from tre_orchestrator.hub.configure import OIDC_SECRET

pytestmark = pytest.mark.stack


class Provider:
    """Says of everybody who asks that he is the person the test names."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.claims: dict[str, Any] = {}
        self.verifiers: list[str] = []
        self.tokens: list[str] = []
        self.broken = ""

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.verifiers.append(str(form.get("code_verifier", "")))
        parts = ({"alg": "none"}, {"iss": "test", "aud": "tre", **self.claims})
        token = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
        self.tokens.append(self.broken or token + ".c2ln")
        return web.json_response({"access_token": "a", "token_type": "Bearer", "id_token": self.tokens[-1]})


@pytest.fixture(scope="module")
def provider() -> Provider:
    return Provider(free_port())


@pytest.fixture(scope="module")
def hub(provider: Provider) -> Iterator[RunningHub]:
    where = f"http://127.0.0.1:{provider.port}"
    oidc = {
        "client_id": "tre",
        "authorize_url": f"{where}/authorize",
        "token_url": f"{where}/token",
        "username_claim": "preferred_username",
        "login_service": "Example University",
        "scope": "openid",
    }
    with make_hub(oidc=oidc) as running:
        yield running


@pytest_asyncio.fixture
async def browser(hub: RunningHub, provider: Provider) -> AsyncIterator[HttpBrowser]:
    app = web.Application()
    app.router.add_post("/token", provider.token)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", provider.port).start()
    async with (
        serving(hub.settings, hub.world.db, Clock(NOW + dt.timedelta(seconds=1))),
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client,
    ):
        yield HttpBrowser(hub.settings, client)
    await runner.cleanup()


async def sign_in(browser: HttpBrowser, state: str | None = None) -> Any:
    """Press the button, be sent to the provider, come back."""
    page = await browser.go("/gate/login?next=/projects/heart")
    assert "Sign in with Example University" in page.text
    status, headers, _text = await browser._once(
        "GET", "/hub/oauth_login?next=" + next_of(page.path), None, "same-origin"
    )
    assert status == 302
    away = urlsplit(dict(headers)["Location"])
    asked = {key: values[0] for key, values in parse_qs(away.query).items()}
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == browser.settings.people_origin + "/hub/oauth_callback"
    back = urlencode({"code": "c", "state": state or asked["state"]})
    return await browser._follow("GET", f"/hub/oauth_callback?{back}", None, "cross-site")


def next_of(path: str) -> str:
    return urlencode({"": parse_qs(urlsplit(path).query)["next"][0]})[1:]


def session(hub: RunningHub, browser: HttpBrowser) -> WebSession | None:
    with hub.world.db.read() as stored:
        return credentials.session_of(stored, browser.cookies.get("__Host-tre", ""), NOW)


@pytest.mark.parametrize(("amr", "mfa"), [(["pwd"], False), (["pwd", "mfa"], True), (None, False)])
async def test_p1_the_session_knows_whether_a_second_factor_was_proven(
    hub: RunningHub, provider: Provider, browser: HttpBrowser, amr: Any, mfa: bool
) -> None:
    provider.claims = {"preferred_username": ANA, "amr": amr}
    page = await sign_in(browser)
    assert page.hops[-1] == "/projects/heart", page.text
    found = session(hub, browser)
    assert found is not None
    assert (found.person, found.mfa) == (ANA, mfa)
    assert provider.verifiers[-1], "PKCE"


@pytest.mark.parametrize("name", ["nobody", "Ana Silva", None])
async def test_p1_somebody_who_is_nobody_here_gets_no_session(
    hub: RunningHub, provider: Provider, browser: HttpBrowser, name: Any
) -> None:
    provider.claims = {"preferred_username": name, "amr": ["mfa"]}
    page = await sign_in(browser)
    assert page.status == 403
    assert session(hub, browser) is None


async def test_p1_an_invalid_person_gets_no_session(hub: RunningHub, provider: Provider, browser: HttpBrowser) -> None:
    provider.claims = {"preferred_username": ANA, "amr": ["mfa"]}
    await asyncio.to_thread(hub.world.apply, person("ana-silva", "analyst", accredited="2026-11-22"))
    try:
        page = await sign_in(browser)
        assert page.status == 403
        assert "accreditation ran out" in page.text
        assert session(hub, browser) is None
    finally:
        await asyncio.to_thread(hub.world.apply, person("ana-silva", "analyst"))


async def test_an_unreadable_answer_is_refused_and_not_repeated(
    hub: RunningHub, provider: Provider, browser: HttpBrowser
) -> None:
    provider.broken = "eyJhbGciOiJub25lIn0.Y2FuYXJ5LWNhbmFyeQ.x"
    try:
        page = await sign_in(browser)
    finally:
        provider.broken = ""
    assert (page.status, session(hub, browser)) == (403, None)
    assert "no readable answer" in page.text
    assert "Y2FuYXJ5LWNhbmFyeQ" not in page.text + hub.log.read_text()


async def test_an_answer_for_another_browser_is_refused(
    hub: RunningHub, provider: Provider, browser: HttpBrowser
) -> None:
    provider.claims = {"preferred_username": ANA}
    page = await sign_in(browser, state=base64.urlsafe_b64encode(b'{"state_id": "forged"}').decode())
    assert page.status in (400, 403)
    assert session(hub, browser) is None


async def test_passwords_and_links_are_no_way_in_then(hub: RunningHub, browser: HttpBrowser) -> None:
    page = await browser.go("/hub/login")
    assert "<form" not in page.text
    with hub.world.db.write() as stored:
        token = credentials.issue_login_link(stored, ANA, NOW)
    answer = await browser._follow("POST", "/hub/login", {"token": token}, "same-origin")
    assert answer.status >= 400
    assert session(hub, browser) is None


async def test_r3_the_log_holds_no_secret_and_no_token(
    hub: RunningHub, provider: Provider, browser: HttpBrowser
) -> None:
    provider.claims = {"preferred_username": ANA}
    await sign_in(browser)
    assert session(hub, browser) is not None
    log = hub.log.read_text()
    assert "/hub/oauth_callback" in log
    assert (hub.settings.keys_dir / OIDC_SECRET).read_text() not in log
    for secret in (*provider.tokens, *provider.verifiers):
        assert secret not in log
    assert "state=" not in log
