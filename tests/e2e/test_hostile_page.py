"""N3 on the whole running TRE, in a real Chromium: what a script may do that owns one workspace's page.

Ana has two workspaces open in one browser; the script runs in the page of one. Most attacks run twice: in a browser as
it is, and in one told to ignore the fences that the gate's headers put up, so that the gate itself is seen to refuse.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.conftest import CHROMIUM_FLAGS, RunningTre, new_context, sign_in
from tests.e2e.desk import PageKernel, at_desk, open_workspace
from tests.e2e.hostile import (
    ASK,
    CLOSED,
    FRAMED,
    MINE,
    PAGE_SCRIPT,
    PEER,
    PLANT,
    SOCKET,
    THEIRS,
    Outside,
    Stage,
    ask,
    attack,
    is_clean,
    origin_of,
    record,
    ways_out,
    wishes_for_people,
    wishes_for_workspace,
)
from tests.e2e.lab import lab_frame, open_notebook, run_cell
from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.governance.identity import HEADER, Identity, sign_identity
from tre_orchestrator.governance.secrets import IDENTITY, required_secret

pytestmark = [pytest.mark.stack, pytest.mark.timeout(420)]

CHROMIUM = "/usr/bin/chromium"
WAYS = {"as it is": False, "without fences": True}
UNFENCED = [*CHROMIUM_FLAGS, "--disable-features=ConnectionAllowlists"]


@pytest.fixture(scope="module")
def stages(tre: RunningTre, browser: Browser) -> Iterator[dict[str, Stage]]:
    found: dict[str, Stage] = {}
    unfenced = browser.browser_type.launch(executable_path=CHROMIUM, args=UNFENCED)
    for way, bypass in WAYS.items():
        context = (unfenced if bypass else browser).new_context(bypass_csp=bypass)
        context.set_default_timeout(30_000)
        tab = sign_in(context, tre.fresh_links()["Ana Silva"], tre.origin)
        theirs = open_workspace(tre, context.new_page(), THEIRS)
        kernel = PageKernel(theirs)
        if found:
            kernel.id = found["as it is"].kernel.id
        kernel.run("kept = 41")
        found[way] = Stage(tre, context, tab, open_workspace(tre, tab, MINE), theirs, kernel)
    yield found
    unfenced.close()
    found["as it is"].context.close()


@pytest.fixture(params=WAYS)
def stage(stages: dict[str, Stage], request: pytest.FixtureRequest) -> Stage:
    return stages[request.param]


@pytest.fixture
def plain(stages: dict[str, Stage]) -> Stage:
    return stages["as it is"]


def test_the_control_a_workspaces_own_page_can_do_all_of_it(stage: Stage) -> None:
    spare = PageKernel(stage.theirs)
    spare.run("1")
    wishes = [one for one in wishes_for_workspace(stage.other, spare.id) if "no-cors" not in one[0]]
    seen = stage.theirs.evaluate(ASK, wishes)
    for way in ("list cors", "kernels cors", "start as JSON", "end"):
        assert seen[way].startswith("20"), seen
    url = f"{stage.other.replace('http', 'ws')}/api/kernels/{stage.kernel.id}/channels"
    assert stage.theirs.evaluate(SOCKET, url) == "open"
    stage.theirs.evaluate(
        "async (kept) => { for (const one of await (await fetch('/api/kernels')).json())"
        " if (one.id !== kept) await fetch(`/api/kernels/${one.id}`, { method: 'DELETE' }); }",
        stage.kernel.id,
    )
    assert stage.is_untouched()


def test_N3_nothing_is_read_or_started_in_the_persons_other_workspace(stage: Stage) -> None:
    seen = stage.mine.evaluate(ASK, wishes_for_workspace(stage.other, stage.kernel.id))
    assert set(seen.values()) <= CLOSED, seen
    url = f"{stage.other.replace('http', 'ws')}/api/kernels/{stage.kernel.id}/channels"
    assert stage.mine.evaluate(SOCKET, url) == "refused"
    stage.mine.evaluate(attack("forms"), [f"{stage.other}/api/kernels", f"{stage.other}/.tre/enter"])
    stage.tab.wait_for_timeout(1500)
    assert stage.is_untouched()


def test_N3_no_other_page_can_be_framed(stage: Stage) -> None:
    """Neither the other workspace, nor a page that people act on, nor the one where they sign in."""
    people = stage.tre.origin
    for url in (f"{stage.other}/lab", people, f"{people}/hub/login", f"{people}/gate/login", f"{people}/account"):
        name = stage.mine.evaluate(FRAMED, url)
        framed = next(frame for frame in stage.tab.frames if frame.name == name)
        assert not framed.url.startswith((stage.other, people)), framed.url


def test_N3_nothing_changes_on_peoples_pages(stage: Stage) -> None:
    people = stage.tre.origin
    before = record(stage.tre)
    seen = stage.mine.evaluate(ASK, wishes_for_people(people))
    assert set(seen.values()) <= CLOSED, seen
    assert stage.mine.evaluate(SOCKET, f"{people.replace('http', 'ws')}/api/me") == "refused"
    targets = [f"{people}/projects/{THEIRS}/workspace/stop", f"{people}/account/tokens", f"{people}/logout"]
    stage.mine.evaluate(attack("forms"), targets)
    stage.tab.wait_for_timeout(1500)
    assert "Ana Silva" in stage.person()
    assert record(stage.tre) == before
    assert stage.is_untouched()


def test_N3_a_same_site_request_with_every_cookie_is_refused_by_the_gate(stage: Stage) -> None:
    """The answer that a browser without any fence of its own would get."""
    cookies = "; ".join(f"{one['name']}={one['value']}" for one in stage.context.cookies(stage.tre.origin))
    fetch = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Origin": origin_of(stage.mine)}
    for path in (f"/projects/{THEIRS}/workspace/stop", "/account/tokens", "/gate/ticket", "/logout", "/hub/login"):
        assert ask(stage.tre, "POST", path, {**fetch, "Cookie": cookies}).status == 403, path
    held = "; ".join(f"{one['name']}={one['value']}" for one in stage.context.cookies(stage.other))
    host = stage.other.removeprefix("http://")
    for method, path in (("GET", "/api/contents"), ("POST", "/api/kernels"), ("GET", "/lab")):
        assert ask(stage.tre, method, path, {**fetch, "Cookie": held}, host=host).status == 403, path
    own = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Cookie": held}
    assert ask(stage.tre, "GET", "/api/contents", own, host=host).status == 200
    assert "Ana Silva" in stage.person()


@pytest.fixture
def outside() -> Iterator[Outside]:
    found = Outside()
    yield found
    found.tcp.close()
    found.udp.close()


def test_N1_nothing_leaves_the_page_for_elsewhere(plain: Stage, outside: Outside) -> None:
    """HTTP in every form, WebRTC by UDP and TCP, connections ahead of use; windows, top navigation, downloads."""
    downloads: list[Any] = []
    plain.tab.on("download", lambda download: downloads.append(download))
    pages, there = len(plain.context.pages), plain.tab.url
    plain.mine.evaluate(PEER, outside.ports)
    plain.mine.evaluate(f"(aim) => {{ ({attack('leave')})(aim); }}", [outside.origin, plain.other, plain.tre.origin])
    plain.tab.wait_for_timeout(6000)
    assert outside.heard == []
    assert (plain.tab.url, len(plain.context.pages), downloads) == (there, pages, [])
    plain.mine = open_workspace(plain.tre, plain.tab, MINE)  # its last try leads the frame itself away, into an error


def test_the_control_a_page_without_the_gates_headers_can_leave(browser: Browser, outside: Outside) -> None:
    context = new_context(browser)
    page = context.new_page()
    page.goto(f"{outside.origin}/start")
    outside.heard.clear()
    page.evaluate(PEER, outside.ports)
    assert "a datagram" in outside.heard
    assert "a connection" in outside.heard
    context.close()


def test_N3_files_do_not_leave_through_the_browser(plain: Stage) -> None:
    kernel = PageKernel(plain.theirs)
    kernel.run(
        "import os\n"
        "open(os.path.expanduser('~/note.txt'), 'w').write('text'); open('/outputs/rows.csv', 'w').write('1,2')\n"
        "open(os.path.expanduser('~/rows.parquet'), 'wb').write(bytes(range(256)))"
    )
    seen = plain.theirs.evaluate(ASK, ways_out())
    assert seen.pop("open text") == "200"
    assert set(seen.values()) == {"403"}, seen
    terminal = f"{plain.other.replace('http', 'ws')}/terminals/websocket/1"
    assert plain.theirs.evaluate(SOCKET, terminal) == "refused"
    page = plain.context.new_page()
    for path in ("/files/note.txt", "/lab", "/api/contents/note.txt"):
        answer = page.goto(plain.other + path)
        assert answer is not None
        assert answer.status == 403, path
    page.close()
    plain.theirs.evaluate("(id) => fetch(`/api/kernels/${id}`, { method: 'DELETE' })", kernel.id)


def test_P1_an_identity_forged_outside_is_nobodys(tre: RunningTre, plain: Stage) -> None:
    """Even one signed with the real key, as long as it comes from outside."""
    key = required_secret(tre.settings.keys_dir, IDENTITY)
    until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=20)
    forged = sign_identity(key, Identity(PersonId("grace-lin"), "x", "x", True, "session", until))
    cookies = "; ".join(f"{one['name']}={one['value']}" for one in plain.context.cookies(tre.origin))
    for name in (HEADER, HEADER.lower(), HEADER.replace("-", "_")):
        assert ask(tre, "GET", "/api/me", {name: forged}).status == 401
        answer = ask(tre, "GET", "/api/me", {name: forged, "Cookie": cookies, "Sec-Fetch-Site": "same-origin"})
        assert answer.status == 200
        assert "Ana Silva" in answer.body
        assert "Grace" not in answer.body


def test_N3_another_person_does_not_get_into_a_workspace(tre: RunningTre, browser: Browser, plain: Stage) -> None:
    ben = at_desk(tre, browser, "Ben Okafor")
    own = origin_of(open_workspace(tre, ben, MINE))
    assert own not in (plain.other, origin_of(plain.mine))
    csrf = ben.locator("input[name=csrf]").first.input_value()
    take = """async ([csrf, project]) => {
      const headers = { "Content-Type": "application/json", "X-Tre-Csrf": csrf };
      return (await fetch("/gate/ticket", { method: "POST", headers, body: JSON.stringify({ project }) })).json();
    }"""
    given = ben.evaluate(take, [csrf, MINE])
    assert given["url"] == f"{own}/.tre/enter"
    entering = {
        "Origin": tre.origin,
        "Sec-Fetch-Site": "same-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "iframe",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    form = f"ticket={given['ticket']}"
    answer = ask(tre, "POST", "/.tre/enter", entering, host=plain.other.removeprefix("http://"), body=form)
    assert answer.status in (401, 403, 404)
    assert answer.cookies is None
    given = ben.evaluate(take, [csrf, MINE])
    form = f"ticket={given['ticket']}"
    assert ask(tre, "POST", "/.tre/enter", entering, host=own.removeprefix("http://"), body=form).status == 303
    assert ask(tre, "POST", "/.tre/enter", entering, host=own.removeprefix("http://"), body=form).status != 303
    held = "; ".join(f"{one['name']}={one['value']}" for one in ben.context.cookies(own))
    asking = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Cookie": held}
    assert ask(tre, "GET", "/api/contents", asking, host=own.removeprefix("http://")).status == 200
    assert ask(tre, "GET", "/api/contents", asking, host=plain.other.removeprefix("http://")).status == 401
    ben.context.close()


OUTPUT = f"""
from IPython.display import HTML, display
display(HTML("<b class='seen'>shown</b><script>{PAGE_SCRIPT}</script><img src=x onerror=\\"{PAGE_SCRIPT}\\">"))
"""


def test_N3_a_script_in_a_cells_output_runs_only_where_the_tier_lets_it(tre: RunningTre, plain: Stage) -> None:
    """Tier 1 does not; tier 0 does, and is the control."""
    for page, runs in ((plain.theirs.page, False), (plain.mine.page, True)):
        open_notebook(page)
        assert "shown" in run_cell(page, OUTPUT)
        page.wait_for_timeout(1000)
        assert bool(lab_frame(page).evaluate("() => window.pwned")) is runs


def test_N3_tossed_cookies_change_nothing(tre: RunningTre, browser: Browser) -> None:
    page = at_desk(tre, browser, "Ana Silva")
    mine = open_workspace(tre, page, MINE)
    mine.evaluate(attack("toss"), [tre.settings.site, f"lab.{tre.settings.site}"])
    mine.evaluate(
        """(site) => { for (const name of ["_xsrf", "__Host-tre", "__Host-hub-_xsrf", "jupyterhub-hub-login",
          "__Host-hub-jupyterhub-hub-login", "jupyterhub-session-id", "__Host-hub-jupyterhub-session-id"])
          for (const path of ["/", "/hub", "/hub/login", "/gate"])
            document.cookie = `${name}=tossed; Domain=${site}; Path=${path}`;
          for (let number = 0; number < 100; number++)
            document.cookie = `bomb${number}=${"x".repeat(4000)}; Domain=${site}; Path=/`; }""",
        tre.settings.site,
    )
    held = page.context.cookies([tre.origin, f"{tre.origin}/hub/login"])
    assert sum(one["value"] == "tossed" for one in held) >= 3, "the control: plain cookies can be tossed"
    assert not [one for one in held if one["name"].startswith("__Host-") and one["value"] == "tossed"]
    page.goto(f"{tre.origin}/account")
    expect(page.locator("header")).to_contain_text("Ana Silva")
    page.goto(f"{tre.origin}/logout")
    again = sign_in(page.context, tre.fresh_links()["Ana Silva"], tre.origin)
    again.goto(f"{tre.origin}/account")
    expect(again.locator("header")).to_contain_text("Ana Silva")
    page.context.close()


def test_N3_what_a_cell_plants_is_not_loaded_at_the_next_load(tre: RunningTre, browser: Browser) -> None:
    """Extensions, custom scripts, settings and configuration in every place that Jupyter may look; then a new load of
    the page, and a new start of the server."""
    page = at_desk(tre, browser, "Ana Silva")
    frame = open_workspace(tre, page, MINE)
    assert PageKernel(frame).run(PLANT) == "True True\n"
    is_clean(open_workspace(tre, page, MINE))
    page.locator("summary", has_text="Stop workspace").click()
    page.get_by_role("button", name="Stop it now").click()
    expect(page.get_by_role("button", name=re.compile("^start", re.I)).first).to_be_visible(timeout=60_000)
    frame = open_workspace(tre, page, MINE)
    is_clean(frame)
    there = PageKernel(frame).run(
        "import os; print(os.path.exists(os.path.expanduser('~/.jupyter/custom/custom.js')),"
        " os.path.exists('/outputs/ran-in-server'))"
    )
    assert there == "True False\n"
    page.context.close()
