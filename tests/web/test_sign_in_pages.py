"""The pages that stand before everything else: sign in, sign out, refused, closed. In a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
from playwright.sync_api import Browser, Page, Route

from tests.web.browsing import chromium, violations
from tre_orchestrator.errors import Refusal, Refused, TreError
from tre_orchestrator.gate import pages
from tre_orchestrator.gate.core import SignInError
from tre_orchestrator.gate.people import STYLE
from tre_orchestrator.gate.reading import SIGNED_OUT
from tre_orchestrator.gate.rights import LOST
from tre_orchestrator.hub.configure import TEMPLATES

pytestmark = pytest.mark.browser
SPENT = "This link was used before, ran out or is incomplete. Ask for a new one."


def hub_page(name: str, **values: str) -> str:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    given = {"authenticator_login_url": "/hub/login", "xsrf": "x", "status_message": "Forbidden", **values}
    return environment.get_template(name).render(given)


def gate_page(error: TreError, link: tuple[str, str] | None = None) -> str:
    body = pages.error_page(error, style=STYLE, link=link).body
    assert isinstance(body, bytes)
    return body.decode()


def sign_out_page() -> str:
    body = pages.sign_out_page(style=STYLE).body
    assert isinstance(body, bytes)
    return body.decode()


PAGES = {
    "sign in": hub_page("login.html"),
    "wrong password": hub_page("login.html", login_error="Name and password do not match.", username="ana-silva"),
    "spent link": hub_page("login.html", login_error=SPENT),
    "nothing filled in": hub_page("login.html", login_error="Enter your user name and password."),
    "sign in elsewhere": hub_page("login.html", login_service="Example University"),
    "refused elsewhere": hub_page("login.html", login_service="Example University", login_error="No such person."),
    "signed out": hub_page("logout.html"),
    "hub error": hub_page("error.html", message="You may not."),
    "sign out?": sign_out_page(),
    "closed": gate_page(Refused([LOST])),
    "signed out frame": gate_page(Refused([SIGNED_OUT])),
    "sign in again": gate_page(SignInError("no-frame", "This page is not open any more."), ("/gate/login", "Sign in")),
    "starting": gate_page(TreError("starting", "This part does not answer.", status=503), ("/", "First page")),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


def show(page: Page, html: str, fragment: str = "") -> None:
    """Open the page with the gate's own files beside it."""

    def answer(route: Route) -> None:
        name = Path(route.request.url.partition("#")[0]).name
        if (file := pages.OWN_FILES.get(name)) is not None:
            route.fulfill(body=file[0], content_type=file[1])
        else:
            route.fulfill(body=html, content_type="text/html; charset=utf-8")

    page.route("**/*", answer)
    page.goto(f"http://tre.localhost/hub/login{fragment}")


@pytest.mark.parametrize("name", PAGES)
def test_page_before_signing_in_is_accessible_at_every_width(page: Page, name: str) -> None:
    show(page, PAGES[name])
    for width in (1280, 390, 320):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert violations(page) == []


def test_page_of_an_opened_link_is_accessible_and_its_button_has_the_focus(page: Page) -> None:
    show(page, PAGES["sign in"], "#token=abc")
    page.wait_for_function("document.activeElement.id === 'token-button'")
    assert violations(page) == []


def test_a_broken_sign_in_page_fails(page: Page) -> None:
    """The control: without labels, axe finds something."""
    show(page, re.sub(r"<label.*?</label>", "", PAGES["sign in"]))
    assert violations(page) != []


@pytest.mark.parametrize(("name", "field"), [("wrong password", "username"), ("spent link", "code")])
def test_the_error_leads_to_its_field(page: Page, name: str, field: str) -> None:
    show(page, PAGES[name])
    page.wait_for_function("document.activeElement.id === 'error'")
    page.click("#error a")
    page.wait_for_function(f"document.activeElement.id === '{field}'")
    assert page.get_attribute(f"#{field}", "aria-invalid") == "true"
    assert "error-text" in (page.get_attribute(f"#{field}", "aria-describedby") or "")


def test_nobodys_words_become_markup() -> None:
    told = gate_page(Refused([Refusal("x", "<script>alert(1)</script>")]))
    assert "<script>" not in told
