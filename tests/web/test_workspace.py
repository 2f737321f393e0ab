"""The page around a workspace: start, progress, frame, end, and why not."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.web.world import CSRF, World
from tre_orchestrator.errors import Unavailable
from tre_orchestrator.governance.tables import GrantRow
from tre_orchestrator.workspaces.tables import WorkspaceRow

PLACE = "/projects/winter-pressures/workspace"


def test_start_asks_the_hub_and_shows_the_page(world: World) -> None:
    answer = world.client("analyst").post(f"{PLACE}/start", data={"csrf": CSRF})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PLACE}?starting")
    assert world.hub.asked == [("user", "ana-silva", ""), ("start", "ana-silva", "winter-pressures")]


def test_just_after_asking_the_page_follows_the_start(world: World) -> None:
    assert "data-progress" in world.client("analyst").get(f"{PLACE}?starting").text
    assert "data-progress" not in world.client("analyst").get(PLACE).text


def test_P1_start_without_the_right_is_refused_with_every_reason_and_asks_nobody(world: World) -> None:
    answer = world.client("analyst").post("/projects/diabetes-outcomes/workspace/start", data={"csrf": CSRF})
    assert answer.status_code == 403
    assert "approver has not approved" in answer.text
    assert "northshire-trust has not granted" in answer.text
    assert world.hub.asked == []


def test_reason_of_the_hub_reaches_the_person(world: World) -> None:
    world.hub.refusal = "The disk is full: 12 MiB are free. Ask ops to make room."
    answer = world.client("analyst").post(f"{PLACE}/start", data={"csrf": CSRF})
    assert answer.status_code == 403
    assert "The disk is full: 12 MiB are free" in answer.text


def test_stop_ends_only_ones_own(world: World) -> None:
    world.run_workspace("ana-silva", "winter-pressures")
    answer = world.client("other analyst").post(f"{PLACE}/stop", data={"csrf": CSRF})
    assert answer.status_code == 303
    assert world.hub.asked == [("stop", "ben-okafor", "winter-pressures")]
    assert world.client("checker").post(f"{PLACE}/stop", data={"csrf": CSRF}).status_code == 404


def test_progress_is_told_step_by_step_and_only_what_a_browser_needs(world: World) -> None:
    world.hub.events = [
        {"progress": 10, "message": "Proving the lock", "raw_event": {"token": "secret"}},
        {"progress": 100, "ready": True, "message": "Ready", "url": "/user/x"},
    ]
    answer = world.client("analyst").get(f"{PLACE}/progress")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert events == [
        {"progress": 10, "message": "Proving the lock"},
        {"progress": 100, "message": "Ready", "ready": True},
    ]


def test_failure_on_the_way_is_an_event(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> AsyncIterator[dict[str, Any]]:
        yield {"progress": 5, "message": "Begin"}
        raise Unavailable("hub", "The hub does not answer. Try again in a moment.")

    monkeypatch.setattr(world.hub, "progress", broken)
    text = world.client("analyst").get(f"{PLACE}/progress").text
    assert '"failed": true' in text
    assert "The hub does not answer" in text


def test_frame_is_sandboxed_and_the_surround_tells_project_tier_time_and_person(world: World) -> None:
    world.run_workspace("ana-silva", "winter-pressures")
    html = world.client("analyst").get(PLACE).text
    assert 'sandbox="allow-scripts allow-same-origin allow-forms allow-modals"' in html
    for words in ("Winter pressures", "Tier", "Time left", "8 hours", "To your browser", "Ana Silva", "Stop workspace"):
        assert words in html


def test_state_of_a_running_workspace(world: World) -> None:
    world.run_workspace("ana-silva", "winter-pressures")
    facts = world.client("analyst").get(f"{PLACE}/state").json()
    assert facts == {
        "state": "running",
        "usable": True,
        "ends_at": "2026-11-23T17:00:00+00:00",
        "warning": "",
        "why": "",
    }


def test_D2_lost_right_closes_the_page_at_once_with_the_reason(world: World) -> None:
    world.run_workspace("ana-silva", "winter-pressures")
    revoke_all(world)
    facts = world.client("analyst").get(f"{PLACE}/state").json()
    assert facts["usable"] is False
    assert "revoked its grant" in facts["why"]
    page = world.client("analyst").get(PLACE)
    assert page.status_code == 403
    assert "<iframe" not in page.text
    assert "revoked its grant" in page.text


def test_D2_within_the_grace_the_page_stays_open(world: World) -> None:
    world.run_workspace("ana-silva", "winter-pressures")
    revoke_all(world, grace=600)
    assert world.client("analyst").get(f"{PLACE}/state").json()["usable"] is True
    assert "<iframe" in world.client("analyst").get(PLACE).text
    world.clock.now += dt.timedelta(seconds=601)
    assert world.client("analyst").get(f"{PLACE}/state").json()["usable"] is False
    start = world.client("analyst").post(f"{PLACE}/start", data={"csrf": CSRF})
    assert start.status_code == 403


def test_ended_workspace_says_why(world: World) -> None:
    identifier = world.run_workspace("ana-silva", "winter-pressures")
    with world.db.write() as session:
        row = session.get(WorkspaceRow, identifier)
        assert row is not None
        row.state, row.end_reason, row.nonce = "stopped", "It ran for the 12 hours that tier 1 allows.", ""
    html = world.client("analyst").get(PLACE).text
    assert "It ran for the 12 hours that tier 1 allows." in html
    assert "Start workspace" in html
    assert world.client("analyst").get(f"{PLACE}/state").json()["why"] == "It ran for the 12 hours that tier 1 allows."


def test_starting_workspace_shows_progress_and_works_without_script(world: World) -> None:
    identifier = world.run_workspace("ana-silva", "winter-pressures")
    with world.db.write() as session:
        row = session.get(WorkspaceRow, identifier)
        assert row is not None
        row.state = "starting"
    html = world.client("analyst").get(PLACE).text
    assert f'data-progress="{PLACE}/progress"' in html
    assert f'<noscript><meta http-equiv="refresh" content="3;url={PLACE}"></noscript>' in html


def revoke_all(world: World, grace: int = 0) -> None:
    with world.db.write() as session:
        for row in session.query(GrantRow).filter(GrantRow.project == "winter-pressures"):
            row.revoked_at, row.revoked_by, row.revoke_reason = world.clock(), "erin-walsh", "A reason"
            row.grace_seconds = grace
