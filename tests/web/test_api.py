"""The API that `tre` uses: the same functions, the same words, as JSON."""

from __future__ import annotations

import datetime as dt
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from tests.web.world import World
from tre_orchestrator.web.api.plain import plain


def post(world: World, who: str, path: str, body: Any) -> tuple[int, Any]:
    answer = world.client(who, via="token").post(path, json=body)
    return answer.status_code, answer.json()


PROJECT = {
    "apiVersion": "tre.dev/v1alpha1",
    "kind": "Project",
    "metadata": {"name": "new-study"},
    "spec": {
        "title": "A new study",
        "purpose": "To learn",
        "tier": 0,
        "members": [{"person": "ben-okafor"}],
        "start": "2026-01-01",
        "end": "2027-01-01",
    },
}


def test_catalogue_is_applied_by_ops_only(world: World) -> None:
    status, body = post(world, "analyst", "/api/catalogue", [PROJECT])
    assert (status, body["code"]) == (403, "not-ops")
    assert post(world, "ops", "/api/catalogue", [PROJECT]) == (
        200,
        {"created": ["Project/new-study"], "changed": [], "unchanged": []},
    )
    assert "A new study" in world.client("other analyst").get("/").text


def test_catalogue_errors_name_every_fault(world: World) -> None:
    bad = {**PROJECT, "spec": {**PROJECT["spec"], "tier": 9, "colour": "red"}}  # type: ignore[dict-item]
    status, body = post(world, "ops", "/api/catalogue", [PROJECT, bad])
    assert status == 422
    assert {one["field"] for one in body["errors"]} == {"spec.tier", "spec.colour"}
    assert world.client("other analyst").get("/projects/new-study").status_code == 404


def test_decision_has_every_reason_and_the_digest_to_approve(world: World) -> None:
    body = world.client("analyst", via="token").get("/api/projects/diabetes-outcomes/decision").json()
    assert body["allowed"] is False
    assert {one["code"] for one in body["refusals"]} == {"approval-missing", "grant-missing"}
    answer = {"role": "approver", "digest": body["digest"], "controls": body["controls"]}
    assert post(world, "ops", "/api/projects/diabetes-outcomes/approvals", answer)[0] == 201
    body = world.client("analyst", via="token").get("/api/projects/diabetes-outcomes/decision").json()
    assert {one["code"] for one in body["refusals"]} == {"grant-missing"}
    refused = {**answer, "reason": "Not yet"}
    assert post(world, "ops", "/api/projects/diabetes-outcomes/refusals", refused)[0] == 201


def test_grant_revocation_and_wrong_digest(world: World) -> None:
    now = world.client("controller", via="token").get("/api/projects/diabetes-outcomes").json()
    terms = {
        "digest": now["digest"],
        "version": "1.0",
        "project": "diabetes-outcomes",
        "organisation": "northshire-trust",
        "until": "2027-03-31",
    }
    status, given = post(world, "controller", "/api/datasets/admissions/grants", terms)
    assert status == 201
    assert post(world, "other controller", f"/api/grants/{given['id']}/revocation", {"reason": "x"})[0] == 404
    status, ended = post(world, "controller", f"/api/grants/{given['id']}/revocation", {"reason": "Over"})
    assert (status, ended["revoke_reason"]) == (200, "Over")
    uses = world.client("controller", via="token").get("/api/datasets").json()["uses"]
    assert {use["project"]: bool(use["live"]) for use in uses}["diabetes-outcomes"] is False
    stale = {**terms, "digest": "0" * 64}
    assert post(world, "controller", "/api/datasets/admissions/grants", stale)[0] == 409
    right = {"role": "approver", "digest": now["digest"], "controls": now["controls"]}
    for field, code in (("digest", "project-changed"), ("controls", "controls-changed")):
        wrong = {**right, field: "0" * 64}
        status, body = post(world, "ops", "/api/projects/diabetes-outcomes/approvals", wrong)
        assert (status, body["code"]) == (409, code)
    assert post(world, "controller", "/api/copies/none/decision", {"decision": "delete"})[0] == 404


def test_whole_way_of_a_request_by_token(world: World) -> None:
    world.run_workspace("ana-silva", "winter-pressures")
    world.courier.files = {"a.csv": b"month,n\nJan,120\nFeb,140\n"}
    place = "/api/projects/winter-pressures/requests"
    status, made = post(world, "analyst", place, {"folder": "tables"})
    assert (status, made["state"]) == (201, "draft")
    one = f"{place}/{made['id']}"
    context = {
        "statistic": "frequencies",
        "population": "Adults",
        "n": 260,
        "variables": ["month"],
        "controls": "none needed: large counts",
        "relation": "none",
    }
    form = {"title": "Counts", "purpose": "Table 1", "folder": "tables", "defaults": context}
    status, saved = post(world, "analyst", f"{one}/form", {"version": made["version"], "form": form})
    assert status == 200
    stale = post(world, "analyst", f"{one}/submission", {"version": made["version"]})
    assert (stale[0], stale[1]["code"]) == (409, "stale-request")
    status, sent = post(world, "analyst", f"{one}/submission", {"version": saved["version"]})
    assert (status, sent["state"]) == (200, "checking")
    advance(world)
    version = world.client("checker", via="token").get(one).json()["version"]
    assert post(world, "analyst", f"{one}/votes", {"version": version, "path": "a.csv", "vote": "approve"})[0] == 403
    for who in ("checker", "second checker"):
        assert post(world, who, f"{one}/claim", {"version": version})[0] == 200
        assert post(world, who, f"{one}/comments", {"text": "Looks right"})[0] == 201
        vote = {"version": version, "path": "a.csv", "vote": "approve"}
        assert post(world, who, f"{one}/votes", vote)[0] == 201
        assert post(world, who, f"{one}/review", {"version": version})[0] == 200
        version = world.client("checker", via="token").get(one).json()["version"]
    advance(world)
    assert world.client("analyst", via="token").get(f"{one}/bundle").content.startswith(b"PK")
    version = world.client("checker", via="token").get(one).json()["version"]
    status, over = post(world, "checker", f"{one}/revocation", {"version": version, "reason": "Wrong"})
    assert (status, over["state"]) == (200, "revoked")
    assert world.client("analyst", via="token").get(f"{one}/bundle").status_code == 403
    for act in ("return", "rejection", "recheck"):
        assert post(world, "checker", f"{one}/{act}", {"version": over["version"]})[0] == 403
    assert post(world, "analyst", f"{one}/contest", {"version": over["version"], "reason": "x"})[0] == 403
    assert post(world, "analyst", f"{one}/withdrawal", {"version": over["version"]})[0] == 403


def test_vote_that_is_none_is_refused(world: World) -> None:
    body = {"version": 1, "path": "a.csv", "vote": "abstain"}
    status, answer = post(world, "checker", "/api/projects/winter-pressures/requests/1/votes", body)
    assert (status, answer["code"]) == (422, "request")


def test_me_says_how_the_caller_got_in(world: World) -> None:
    me = world.client("checker", via="token").get("/api/me").json()
    assert (me["person"], me["full_name"], me["roles"], me["via"]) == (
        "chloe-martin",
        "Chloé Martin",
        ["checker"],
        "token",
    )


def test_view_that_has_no_json_form_is_an_error_not_a_guess() -> None:
    with pytest.raises(TypeError):
        plain(object())
    assert plain({Enum("E", {"a": "b"}).a: (dt.date(2026, 1, 2), Path("/x"), None)}) == {  # type: ignore[attr-defined]
        "b": ["2026-01-02", "/x", None]
    }


def advance(world: World) -> None:
    from tests.web.world import Requests

    Requests(world).advance()
