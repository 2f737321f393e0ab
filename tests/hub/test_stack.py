"""A real JupyterHub behind a real gate: signing in, named servers, restart, and nothing more."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.governance.build import ANA, BEN, HEART, person
from tests.hub.browser import HttpBrowser
from tests.hub.conftest import NOW, RunningHub
from tests.hub.process_backend import alive
from tre_orchestrator.catalogue.names import PersonId, ProjectName
from tre_orchestrator.errors import NotFound, Refused, TreError
from tre_orchestrator.governance import credentials
from tre_orchestrator.governance.passwords import set_password
from tre_orchestrator.hub.api import HubApi, service_token
from tre_orchestrator.ledger.append import console
from tre_orchestrator.ledger.read import entries
from tre_orchestrator.ops.health import UnixConnection
from tre_orchestrator.workspaces.lifecycle import workspace_of
from tre_orchestrator.workspaces.tables import WorkspaceState

pytestmark = pytest.mark.stack
PASSWORD = "correct horse battery"


def link(hub: RunningHub, who: PersonId = ANA) -> str:
    with hub.world.db.write() as session:
        return credentials.issue_login_link(session, who, NOW)


def signed_in(hub: RunningHub, browser: HttpBrowser) -> PersonId | None:
    cookie = browser.cookies.get("__Host-tre", "")
    with hub.world.db.read() as session:
        found = credentials.session_of(session, cookie, NOW)
    return found.person if found else None


async def test_a_one_time_link_signs_in_once(hub: RunningHub, browser: HttpBrowser) -> None:
    token = link(hub)
    page = await browser.go("/projects/heart")
    assert page.hops == ["/projects/heart", "/gate/login", "/hub/api/oauth2/authorize", "/hub/login"]
    assert "Use a one-time code instead" in page.text
    landed = await browser.submit(page, {"token": token})
    assert landed.hops[-1] == "/projects/heart", "back where it wanted to go"
    assert signed_in(hub, browser) == ANA
    assert set(browser.cookies) == {"__Host-tre"}, "what was for signing in only is gone"
    other = HttpBrowser(hub.settings, browser.client)
    refused = await other.sign_in({"token": token})
    assert refused.status == 403
    assert "used before" in refused.error
    assert signed_in(hub, other) is None


async def test_a_link_signs_in_its_own_person_where_another_one_is_signed_in(
    hub: RunningHub, browser: HttpBrowser
) -> None:
    await browser.sign_in({"token": link(hub, ANA)})
    assert signed_in(hub, browser) == ANA
    old = browser.cookies["__Host-tre"]
    page = await browser.sign_in({"token": link(hub, BEN)})
    assert page.hops[-1] == "/"
    assert signed_in(hub, browser) == BEN
    with hub.world.db.read() as session:
        assert credentials.session_of(session, old, NOW) is None, "the session before it is closed"


async def test_a_password_signs_in_and_a_wrong_one_says_nothing_about_the_person(
    hub: RunningHub, browser: HttpBrowser
) -> None:
    with hub.world.db.write() as session:
        set_password(session, ANA, PASSWORD, console("test"), NOW)
    wrong = await browser.sign_in({"username": ANA, "password": "not the password"})
    unknown = await browser.sign_in({"username": "nobody", "password": "not the password"})
    assert (wrong.status, wrong.error) == (unknown.status, unknown.error)
    assert wrong.status == 403
    assert PASSWORD not in wrong.text
    empty = await browser.sign_in({"username": "", "password": ""})
    assert "Enter your user name and password" in empty.error
    await browser.sign_in({"username": ANA, "password": PASSWORD})
    assert signed_in(hub, browser) == ANA


async def test_p1_an_invalid_person_gets_no_session(hub: RunningHub, browser: HttpBrowser) -> None:
    token = link(hub, BEN)
    await asyncio.to_thread(hub.world.apply, person("ben-okafor", "analyst", active=False))
    try:
        page = await browser.sign_in({"token": token})
        assert page.status == 403
        assert "inactive" in page.error
        assert signed_in(hub, browser) is None
    finally:
        await asyncio.to_thread(hub.world.apply, person("ben-okafor", "analyst"))


async def test_the_sign_in_page_needs_no_inline_script_and_labels_its_fields(
    hub: RunningHub, browser: HttpBrowser
) -> None:
    page = await browser.go("/hub/login")
    for script in re.findall(r"<script([^>]*)>(.*?)</script>", page.text, re.S):
        assert "src=" in script[0]
        assert script[1].strip() == ""
    assert "style=" not in page.text
    assert "<style" not in page.text
    for field in re.findall(r'<input type="(?:text|password)" id="([^"]+)"', page.text):
        assert f'<label for="{field}"' in page.text
    assert 'lang="en"' in page.text
    for name in ("gate.css", "sign-in.js"):
        assert f"/gate/static/{name}" in page.text
        assert (await browser.go(f"/gate/static/{name}")).status == 200
    policies = [value for name, value in page.headers if name == "Content-Security-Policy"]
    assert any("script-src 'self'" in policy and "unsafe" not in policy for policy in policies)


async def test_a_sign_in_form_from_another_page_is_refused(hub: RunningHub, browser: HttpBrowser) -> None:
    page = await browser.go("/hub/login")
    token = re.search(r'name="_xsrf" value="([^"]*)"', page.text)
    assert token
    refused = await browser._follow("POST", "/hub/login", {"_xsrf": token[1], "token": link(hub)}, "same-site")
    assert refused.status == 403
    forged = await browser._follow("POST", "/hub/login", {"_xsrf": "forged", "token": link(hub)}, "same-origin")
    assert forged.status == 403
    assert signed_in(hub, browser) is None


async def test_an_answer_of_the_hub_is_good_in_the_browser_that_asked_only(
    hub: RunningHub, browser: HttpBrowser
) -> None:
    """A code that an attacker got for his own account signs nobody else in (login CSRF)."""
    await browser.go("/gate/login")
    victim = HttpBrowser(hub.settings, browser.client)
    stolen = await victim.go("/gate/callback?code=abc&state=def")
    assert stolen.status == 403
    assert "Start again" in stolen.text
    assert "__Host-tre" not in victim.cookies


def ask_hub(hub: RunningHub, method: str, path: str, token: str, body: object = None) -> tuple[int, str]:
    connection = UnixConnection(hub.settings.run_dir / "hub.sock")
    headers = {"Authorization": f"token {token}"} if token else {}
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    answer: http.client.HTTPResponse = connection.getresponse()
    return answer.status, answer.read().decode()


def test_services_may_do_their_part_and_no_more(hub: RunningHub) -> None:
    HubApi(hub.settings, "web").ensure_user(ANA)
    tokens = {name: service_token(hub.settings, name) for name in ("gate", "web", "controller")}  # type: ignore[arg-type]
    expected = {
        ("GET", "/hub/api/users"): {},
        ("GET", "/hub/api/info"): {},
        ("POST", "/hub/api/users/evil"): {},
        ("POST", "/hub/api/users/ana-silva/tokens"): {},
        ("POST", "/hub/api/shutdown"): {},
        ("POST", "/hub/api/users/ana-silva/server"): {"web": 422},
        ("GET", "/hub/api/tre/sign-ins/" + "0" * 32): {"gate": 404},
        ("PUT", "/hub/api/tre/people/ana-silva"): {"web": 204},
        ("PUT", "/hub/api/tre/people/nobody"): {"web": 404},
        ("POST", "/hub/api/tre/people/ana-silva/stops/heart"): {"web": 204},
    }
    for (method, path), allowed in expected.items():
        for name, token in tokens.items():
            status, text = ask_hub(hub, method, path, token, {} if method != "GET" else None)
            if name in allowed:
                assert status == allowed[name], (method, path, name, text)
            else:
                assert status in (403, 404) or (status == 200 and text == "[]"), (method, path, name, status, text)
        status, _text = ask_hub(hub, method, path, "", {} if method != "GET" else None)
        assert status in (403, 404)


async def test_p2_nobody_is_an_administrator_and_a_browsers_own_rights_end_at_the_gate(
    hub: RunningHub, browser: HttpBrowser
) -> None:
    await browser.sign_in({"token": link(hub)})
    assert signed_in(hub, browser) == ANA
    with sqlite3.connect(hub.settings.state_dir / "hub" / "jupyterhub.sqlite") as stored:
        assert stored.execute("select count(*) from users where admin").fetchone() == (0,)
        (scopes,) = stored.execute("select scopes from roles where name = 'user'").fetchone()
        groups = stored.execute("select groups.name from groups, user_group_map where group_id = groups.id").fetchall()
    # the two readings are what JupyterHub adds to it: one's own name and groups
    own = {"access:services!service=gate", "read:users:name!user", "read:users:groups!user"}
    assert set(json.loads(scopes)) == own
    assert ("heart",) in groups


async def test_a_named_server_starts_with_progress_survives_a_restart_and_ends(
    hub: RunningHub, browser: HttpBrowser
) -> None:
    api = HubApi(hub.settings, "web")
    await asyncio.to_thread(api.ensure_user, ANA)
    assert await asyncio.to_thread(api.start_server, ANA, HEART)
    events = [event async for event in api.progress(ANA, HEART)]
    assert events[-1]["ready"], events
    assert {"Checking that you may work in this project", "Making the sandbox"} <= {
        event["message"] for event in events
    }
    percents = [event["progress"] for event in events]
    assert percents == sorted(percents)
    assert await asyncio.to_thread(api.start_server, ANA, HEART) is False
    with hub.world.db.read() as session:
        view = workspace_of(session, ANA, HEART)
    assert view is not None
    assert view.state is WorkspaceState.running
    await asyncio.to_thread(hub.restart)
    found = await asyncio.to_thread(api.server, ANA, HEART)
    assert found is not None
    assert found["ready"], "the restarted hub finds it as it is"
    with hub.world.db.read() as session:
        again = workspace_of(session, ANA, HEART)
    assert again is not None
    assert (again.nonce, again.state) == (view.nonce, WorkspaceState.running)
    await asyncio.to_thread(api.stop_server, ANA, HEART)
    await _until_stopped(hub)
    assert not alive(view.pid)
    await asyncio.to_thread(api.stop_server, ANA, HEART)


def ends(hub: RunningHub) -> list[tuple[str, str, str]]:
    """Every recorded wish to end a workspace: who, the kind of actor, the reason."""
    with hub.world.db.read() as session:
        found = entries(session, kind="workspace.end.intended")
        return [(one.actor.id, one.actor.kind, str(one.facts["reason"])) for one in found]


async def test_stop_ends_a_workspace_that_is_still_starting_and_the_page_is_told(
    hub: RunningHub, browser: HttpBrowser
) -> None:
    api = HubApi(hub.settings, "web")
    await asyncio.to_thread(api.ensure_user, ANA)
    hold = hub.settings.state_dir / "hold"
    for held in (True, False):  # while the backend starts it; while its server is awaited
        if held:
            hold.touch()
        await asyncio.to_thread(api.start_server, ANA, HEART)
        following = asyncio.create_task(last_event(api))
        if not held:
            await _until_state(hub, WorkspaceState.running)
        stopping = asyncio.create_task(asyncio.to_thread(api.stop_server, ANA, HEART))
        await _until_stopped(hub)
        hold.unlink(missing_ok=True)
        await stopping
        told = await asyncio.wait_for(following, 30)
        assert told.get("failed"), told
        assert "stopped" in told["message"]
        await _until_hub_forgot(api)
        assert ends(hub)[-1] == (ANA, "person", "asked")
        for _ in range(20):
            assert list((hub.settings.state_dir / "running").glob("*")) == [], "nothing of it runs"
            await asyncio.sleep(0.05)
    await asyncio.to_thread(api.start_server, ANA, HEART)
    assert (await last_event(api)).get("ready"), "it can be started again"
    await asyncio.to_thread(api.stop_server, ANA, HEART)
    await _until_stopped(hub)


async def test_an_end_that_nobody_asked_for_is_recorded_as_the_hubs(hub: RunningHub, browser: HttpBrowser) -> None:
    """JupyterHub's own way to stop a server says nothing of the person."""
    api = HubApi(hub.settings, "web")
    await asyncio.to_thread(api.ensure_user, ANA)
    await asyncio.to_thread(api.start_server, ANA, HEART)
    assert (await last_event(api)).get("ready")
    path = f"/hub/api/users/{ANA}/servers/{HEART}"
    status, text = await asyncio.to_thread(ask_hub, hub, "DELETE", path, service_token(hub.settings, "controller"))
    assert status in (202, 204), text
    await _until_stopped(hub)
    assert ends(hub)[-1] == ("hub", "software", "hub-ended")


async def last_event(api: HubApi) -> dict[str, object]:
    return [event async for event in api.progress(ANA, HEART)][-1]


async def test_one_that_ended_without_the_hub_can_be_started_again(hub: RunningHub, browser: HttpBrowser) -> None:
    api = HubApi(hub.settings, "web")
    await asyncio.to_thread(api.ensure_user, ANA)
    await asyncio.to_thread(api.start_server, ANA, HEART)
    [event async for event in api.progress(ANA, HEART)]
    for path in (hub.settings.state_dir / "running").glob("*"):
        os.kill(int(path.read_text().split()[0]), signal.SIGKILL)
    assert await asyncio.to_thread(api.start_server, ANA, HEART)
    events = [event async for event in api.progress(ANA, HEART)]
    assert events[-1].get("ready"), events
    await asyncio.to_thread(api.stop_server, ANA, HEART)
    await _until_stopped(hub)


async def test_a_start_that_is_refused_says_why_in_words(hub: RunningHub, browser: HttpBrowser) -> None:
    api = HubApi(hub.settings, "web")
    for who in (ANA, BEN):
        await asyncio.to_thread(api.ensure_user, who)
    with pytest.raises(Refused) as not_member:
        await asyncio.to_thread(api.start_server, BEN, HEART)
    assert "member" in not_member.value.sentence
    with pytest.raises(TreError) as unknown:
        await asyncio.to_thread(api.start_server, ANA, ProjectName("unknown"))
    assert "unknown" in unknown.value.sentence
    reason = "The disk is full. Remove files and try again."
    (hub.settings.state_dir / "fail").write_text(reason)
    try:
        with pytest.raises(TreError) as failed:
            await asyncio.to_thread(api.start_server, ANA, HEART)
        assert reason in failed.value.sentence
        told = [event async for event in api.progress(ANA, HEART)]
        assert told[-1]["failed"]
        assert reason in told[-1]["message"]
    finally:
        (hub.settings.state_dir / "fail").unlink()


def test_the_hub_knows_people_of_the_catalogue_only(hub: RunningHub) -> None:
    with pytest.raises(NotFound):
        HubApi(hub.settings, "web").ensure_user(PersonId("nobody"))


def test_the_hub_listens_on_its_socket_only_and_for_its_owner_only(hub: RunningHub) -> None:
    assert (hub.settings.run_dir / "hub.sock").stat().st_mode & 0o077 == 0
    assert hub.process is not None
    inodes = set()
    for handle in Path(f"/proc/{hub.process.pid}/fd").iterdir():
        target = str(handle.readlink()) if handle.is_symlink() else ""
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            assert line.split()[9] not in inodes, f"the hub listens: {line}"


async def test_r3_the_hubs_log_holds_no_secret(hub: RunningHub, browser: HttpBrowser) -> None:
    with hub.world.db.write() as session:
        set_password(session, ANA, PASSWORD, console("test"), NOW)
    await browser.go("/gate/login")
    await browser.sign_in({"username": ANA, "password": PASSWORD})
    assert signed_in(hub, browser) == ANA
    text = hub.log.read_text()
    for name in ("gate", "web", "controller"):
        assert service_token(hub.settings, name) not in text  # type: ignore[arg-type]
    assert PASSWORD not in text
    assert "/hub/api/oauth2/authorize" in text, "requests are logged"
    assert re.search(r"\b(?:code|state|token|code_challenge|_xsrf)(?:=|%3D)", text) is None
    for line in text.splitlines():
        assert json.loads(line)["event"], line


async def _until_stopped(hub: RunningHub) -> None:
    await _until_state(hub, WorkspaceState.stopped)


async def _until_state(hub: RunningHub, state: WorkspaceState) -> None:
    for _ in range(200):
        with hub.world.db.read() as session:
            view = workspace_of(session, ANA, HEART)
        if view is not None and view.state is state:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"it was never {state}")


async def _until_hub_forgot(api: HubApi) -> None:
    for _ in range(200):
        if await asyncio.to_thread(api.server, ANA, HEART) is None:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the hub still knows it")
