"""Every page in a real Chromium: axe-core finds nothing, nothing overflows a phone, no policy is broken; and what the
pages' one script does: follow a start, keep Lab's surround true, load again what changed.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect

from tests.web.browsing import chromium, context_of, served, violations
from tests.web.test_governance import edit, hold_copies
from tests.web.test_workspace import revoke_all
from tests.web.world import CSRF, Requests, World, field_of
from tre_orchestrator.workspaces.tables import WorkspaceRow

pytestmark = pytest.mark.browser
LAB = "/projects/winter-pressures/workspace"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def origin(world: World) -> Iterator[str]:
    with served(world) as address:
        yield address


def listen(page: Page, wrong: list[str]) -> None:
    """Note every broken policy and every script error."""
    page.on("console", lambda message: wrong.append(message.text) if "Policy" in message.text else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))


EMPTY = [
    ("analyst", "/"),
    ("analyst", "/requests"),
    ("analyst", "/projects/winter-pressures"),
    ("analyst", "/projects/diabetes-outcomes"),
    ("analyst", "/projects/rare-conditions"),
    ("analyst", LAB),
    ("analyst", "/projects/diabetes-outcomes/workspace"),
    ("analyst", "/projects/winter-pressures/requests/new"),
    ("analyst", "/account"),
    ("analyst", "/no-such-page"),
    ("analyst", "/ops"),
    ("checker", "/"),
    ("checker", "/queue"),
    ("controller", "/"),
    ("controller", "/datasets"),
    ("controller", "/datasets/admissions"),
    ("other controller", "/datasets/wellbeing"),
    ("ops", "/"),
    ("ops", "/approvals"),
    ("ops", "/approvals/diabetes-outcomes"),
    ("ops", "/approvals/winter-pressures"),
    ("ops", "/ops"),
    (None, "/verify"),
    (None, "/accessibility"),
]


def look(browser: Browser, world: World, origin: str, who: str | None, address: str) -> list[str]:
    """Everything that is wrong with a page: as a desktop shows it, on a phone, and at 400 % zoom (320 px)."""
    wrong: list[str] = []
    context = context_of(browser, world, who)
    page = context.new_page()
    listen(page, wrong)
    page.goto(origin + address)
    for width in (1280, 390, 320):
        page.set_viewport_size({"width": width, "height": 900})
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wide > 0:
            wrong.append(f"{address} is {wide} px too wide at {width}")
        if width != 320:
            wrong += [f"{address} at {width}: {line}" for line in violations(page)]
    context.close()
    return wrong


@pytest.mark.parametrize(("who", "address"), EMPTY)
def test_page_without_work(browser: Browser, world: World, origin: str, who: str | None, address: str) -> None:
    assert look(browser, world, origin, who, address) == []


def in_review(requests: Requests) -> str:
    """A request with one review in, a comment, and a colleague's vote that may not be seen."""
    address = requests.checked()
    requests.review(address, "checker", "request-changes")
    requests.post("checker", f"{requests.review_of(address)}/comment", text="Please round.", public="yes")
    return address


def undecided(requests: Requests) -> str:
    address = in_review(requests)
    requests.review(address, "second checker")
    return address


def held(requests: Requests) -> str:
    """Copies that wait for their controller's word."""
    hold_copies(requests.world)
    return "/datasets/admissions"


def edited(requests: Requests) -> str:
    edit(requests.world, "winter-pressures", purpose="Something else", tier=0)
    return "/approvals/winter-pressures"


WORK = [
    ("held", "controller", "request"),
    ("held", "controller", "/"),
    ("held", "analyst", "/projects/winter-pressures"),
    ("edited", "ops", "request"),
    ("released", "analyst", "request"),
    ("released", "controller", "request"),
    ("released", "second checker", "review"),
    ("released", "ops", "/ops"),
    ("draft", "analyst", "request"),
    ("draft", "analyst", "/?done=draft-made"),
    ("draft", "analyst", LAB),
    ("in_review", "analyst", "request"),
    ("in_review", "other analyst", "request"),
    ("in_review", "checker", "review"),
    ("in_review", "second checker", "review"),
    ("in_review", "second checker", "/queue"),
    ("undecided", "analyst", "/requests"),
    ("undecided", "checker", "review"),
]


@pytest.mark.parametrize(("state", "who", "place"), WORK)
def test_page_with_work_on_it(browser: Browser, world: World, origin: str, state: str, who: str, place: str) -> None:
    requests = Requests(world)
    make: dict[str, Callable[[Requests], str]] = {"released": Requests.released, "draft": Requests.draft}
    make |= {"in_review": in_review, "undecided": undecided, "held": held, "edited": edited}
    address = make[state](requests)
    world.clock.now += dt.timedelta(hours=2)
    places = {"request": address, "review": requests.review_of(address)}
    assert look(browser, world, origin, who, places.get(place, place)) == []


def test_refused_forms_are_accessible_too(browser: Browser, world: World, origin: str) -> None:
    context = context_of(browser, world, "controller")
    page = context.new_page()
    page.goto(f"{origin}/datasets/admissions")
    page.get_by_label("Grace in minutes").fill("soon")
    page.get_by_role("button", name=re.compile("^Grant version")).click()
    expect(page.get_by_role("alert")).to_contain_text("whole number of minutes")
    expect(page).to_have_title(re.compile("^Error: "))
    assert violations(page) == []
    page.goto(f"{origin}/datasets/admissions")
    page.get_by_role("link", name="Revoke the grant to winter-pressures").click()
    assert violations(page) == []
    context.close()


BROKEN = """<!doctype html><html><head><title></title></head><body style="background:#fff">
<img src="x.png"><p style="color:#ccc">pale words</p><input type="text">
<a href="/"></a><button></button></body></html>"""


def test_broken_control_page_fails(browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.set_content(BROKEN)
    found = {line.partition(":")[0] for line in violations(page)}
    context.close()
    assert {"html-has-lang", "image-alt", "color-contrast", "label", "link-name", "button-name"} <= found


def test_keyboard_reaches_the_content_first_and_focus_is_seen(browser: Browser, world: World, origin: str) -> None:
    context = context_of(browser, world, "analyst")
    page = context.new_page()
    page.goto(origin)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to main content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")
    context.close()


def test_start_is_followed_step_by_step_to_the_frame(browser: Browser, world: World, origin: str) -> None:
    set_state(world, "starting")
    world.hub.events = [
        {"progress": 20, "message": "Proving the lock"},
        {"progress": 60, "message": "Starting the notebook server"},
        {"progress": 100, "message": "Ready", "ready": True},
    ]
    context = context_of(browser, world, "analyst")
    page = context.new_page()
    gate(page, world)

    def go_on(route: Route) -> None:
        set_state(world, "running")
        route.continue_()

    page.route("**/workspace/progress", go_on)
    page.goto(origin + LAB)
    expect(page.get_by_title("JupyterLab in Winter pressures")).to_be_visible()
    context.close()


def test_failed_start_says_why(browser: Browser, world: World, origin: str) -> None:
    set_state(world, "starting")
    world.hub.events = [
        {"progress": 20, "message": "Proving the lock"},
        {"progress": 100, "failed": True, "message": "The lock did not hold: DNS was reached. Nothing was started."},
    ]
    context = context_of(browser, world, "analyst")
    page = context.new_page()
    page.goto(origin + LAB)
    expect(page.get_by_text("The lock did not hold: DNS was reached. Nothing was started.")).to_be_visible()
    expect(page.get_by_text("Proving the lock")).to_be_visible()
    expect(page.get_by_role("link", name="Back to the project")).to_be_visible()
    assert violations(page) == []
    context.close()


def test_ticket_is_posted_into_the_frame_and_the_surround_tells_bytes_and_time(
    browser: Browser, world: World, origin: str
) -> None:
    set_state(world, "running")
    context = context_of(browser, world, "analyst")
    page = context.new_page()
    entered = gate(page, world)
    page.goto(origin + LAB)
    expect(page.frame_locator("iframe[name=lab]").get_by_text("Lab is here")).to_be_visible()
    assert [(one.method, one.post_data) for one in entered] == [("POST", "ticket=one-use-ticket")]
    expect(page.get_by_text("1.2 MB of 1.0 GB today")).to_be_visible()
    expect(page.get_by_text("The browser's limit is near.")).to_be_visible()
    context.close()


def test_D2_lost_right_replaces_the_frame_by_the_reason(browser: Browser, world: World, origin: str) -> None:
    set_state(world, "running")
    context = context_of(browser, world, "analyst")
    page = context.new_page()
    gate(page, world)
    page.goto(origin + LAB)
    expect(page.frame_locator("iframe[name=lab]").get_by_text("Lab is here")).to_be_visible()
    revoke_all(world)
    expect(page.get_by_role("heading", name="This workspace was closed")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("revoked its grant")
    expect(page.locator("iframe")).to_have_count(0)
    context.close()


def test_page_left_open_loads_itself_again_but_never_over_typed_words(
    browser: Browser, world: World, origin: str
) -> None:
    requests = Requests(world)
    address = requests.submitted()
    author = context_of(browser, world, "analyst")
    page = author.new_page()
    page.goto(origin + address)
    expect(page.get_by_text("Being checked", exact=True).first).to_be_visible()
    requests.advance()
    expect(page.get_by_text(re.compile("Waiting for review|Stopped by a check")).first).to_be_visible()
    checker = context_of(browser, world, "checker")
    review = checker.new_page()
    review.goto(origin + requests.review_of(address))
    review.get_by_label("Add a comment").fill("half a thought")
    version = field_of(world.client("analyst").get(address).text, "version")
    assert requests.post("analyst", f"{address}/withdraw", version=version).status_code == 303
    expect(review.get_by_text("This page has changed since you opened it.")).to_be_visible()
    expect(review.get_by_label("Add a comment")).to_have_value("half a thought")
    author.close()
    checker.close()


def test_whole_way_works_without_javascript(browser: Browser, world: World, origin: str, tmp_path: Path) -> None:
    requests = Requests(world)
    checked = requests.checked({"table.csv": "month,n\nJan,120\nFeb,140\n"})
    for who in ("checker", "second checker"):
        context = context_of(browser, world, who, java_script_enabled=False)
        page = context.new_page()
        page.goto(f"{origin}/queue")
        page.get_by_role("link", name="Admissions by month and condition").click()
        page.get_by_label("Approve").check()
        page.get_by_role("button", name="Vote on table.csv").click()
        page.get_by_role("button", name="Submit review").click()
        context.close()
    requests.advance()
    context = context_of(browser, world, "analyst", java_script_enabled=False)
    page = context.new_page()
    page.goto(origin + checked)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the bundle").click()
    download.value.save_as(tmp_path / "bundle.zip")
    assert (tmp_path / "bundle.zip").read_bytes().startswith(b"PK")
    context.close()


def set_state(world: World, state: str) -> None:
    identifier = world.run_workspace("ana-silva", "winter-pressures")
    with world.db.write() as session:
        row = session.get(WorkspaceRow, identifier)
        assert row is not None
        row.state = state


def gate(page: Page, world: World) -> list[Request]:
    """Answers in the gate's place: a ticket, the meter, and a workspace's host; returns what was posted there."""
    entered: list[Request] = []

    def ticket(route: Route) -> None:
        assert route.request.headers["x-tre-csrf"] == CSRF
        assert route.request.post_data_json == {"project": "winter-pressures"}
        url = f"{world.settings.workspace_origin('abcdefgh23456789')}/.tre/enter"
        route.fulfill(json={"url": url, "ticket": "one-use-ticket"})

    def meter(route: Route) -> None:
        facts = {"bytes_today": 1_234_567, "soft": 500_000_000, "hard": 1_000_000_000}
        route.fulfill(json={**facts, "ends_at": None, "warning": "The browser's limit is near."})

    def enter(route: Route) -> None:
        entered.append(route.request)
        route.fulfill(content_type="text/html", body="<p>Lab is here</p>")

    page.route("**/gate/ticket", ticket)
    page.route("**/gate/meter?*", meter)
    page.route("http://*.lab.tre.localhost:8000/**", enter)
    return entered
