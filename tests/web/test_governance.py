"""Controllers, approvers and ops at work on their pages; what they do shows on everybody's."""

from __future__ import annotations

import re

import pytest

from tests.web.world import CSRF, Requests, World, field_of
from tre_orchestrator.catalogue.names import DatasetName, PersonId, ProjectName
from tre_orchestrator.governance.copies import open_holds, record_use
from tre_orchestrator.governance.invitations import reset
from tre_orchestrator.governance.tables import CatalogueRow

TERMS = {
    "csrf": CSRF,
    "project": "diabetes-outcomes",
    "version": "1.0",
    "organisation": "northshire-trust",
    "until": "2027-03-31",
    "grace": "5",
    "conditions": "Publish with the data's citation.",
}


def terms(world: World) -> dict[str, str]:
    """The form as the controller sees it now."""
    html = world.client("controller").get("/datasets/admissions").text
    return {**TERMS, "digest": field_of(html[html.index("Diabetes, wellbeing") :], "digest")}


def edit(world: World, project: str, **spec: object) -> None:
    with world.db.write() as session:
        row = session.get(CatalogueRow, ("Project", project))
        assert row is not None
        row.document = {**row.document, "spec": {**row.document["spec"], **spec}}


def test_grant_by_page_lets_the_project_use_the_data(world: World) -> None:
    controller = world.client("controller")
    assert "Diabetes, wellbeing and time in hospital" in controller.get("/").text
    answer = controller.post("/datasets/admissions/grants", data=terms(world))
    assert (answer.status_code, answer.headers["location"]) == (303, "/datasets/admissions?done=granted")
    html = controller.get(answer.headers["location"]).text
    assert "Granted. Workspaces of the project may use the data from now on." in html
    assert "31 March 2027" in html
    assert "5 minutes" in html
    project = world.client("analyst").get("/projects/diabetes-outcomes").text
    assert "has not granted" not in project
    assert "Publish with the data&#39;s citation." in project


@pytest.mark.parametrize(
    ("field", "value", "status", "sentence"),
    [
        ("until", "soon", 422, "choose a date"),
        ("until", "2020-01-01", 422, "has passed"),
        ("until", "2040-01-01", 422, "at most 366 days"),
        ("grace", "a lot", 422, "whole number of minutes"),
        ("grace", "100000", 422, "Grace is between"),
        ("organisation", "wellbeing-survey", 403, "no controller"),
        ("project", "survey-methods", 403, "does not ask for"),
        ("project", "no-such", 404, "no project"),
        ("version", "9.9", 404, "no hashed version"),
    ],
)
def test_grant_with_wrong_terms_is_refused_with_the_sentence(
    world: World, field: str, value: str, status: int, sentence: str
) -> None:
    answer = world.client("controller").post("/datasets/admissions/grants", data={**terms(world), field: value})
    assert answer.status_code == status
    assert sentence in answer.text
    if field in ("until", "grace"):
        assert f'value="{value}"' in answer.text
        assert "Publish with the data&#39;s citation." in answer.text


def test_D1_other_controller_cannot_grant_or_see(world: World) -> None:
    other = world.client("other controller")
    assert other.post("/datasets/admissions/grants", data=terms(world)).status_code == 404
    assert other.get("/datasets/admissions").status_code == 404


def revoke_link(world: World) -> str:
    html = world.client("controller").get("/datasets/admissions").text
    found = re.search(r'href="(/datasets/admissions/grants/[0-9a-f]+)">Revoke<span[^>]*> the grant to winter', html)
    assert found
    return found[1]


def test_revoking_asks_once_and_says_what_happens(world: World) -> None:
    link = revoke_link(world)
    html = world.client("controller").get(link).text
    assert "Revoke the grant to winter-pressures?" in html
    assert "Running workspaces end at once" in html
    without = world.client("controller").post(link, data={"csrf": CSRF})
    assert without.status_code == 422
    assert "Say why" in without.text
    answer = world.client("controller").post(link, data={"csrf": CSRF, "reason": "The study stopped."})
    assert answer.headers["location"] == "/datasets/admissions?done=revoked"
    project = world.client("analyst").get("/projects/winter-pressures").text
    assert "revoked its grant" in project
    assert "“The study stopped.”" in project
    assert "It has ended already" in world.client("controller").get(link).text
    again = world.client("controller").post(link, data={"csrf": CSRF, "reason": "Again"})
    assert again.status_code == 403


def test_P3_grant_is_looked_up_through_its_dataset_and_organisation(world: World) -> None:
    link = revoke_link(world)
    other = link.replace("admissions", "wellbeing")
    for who, address in (("controller", other), ("other controller", link), ("other controller", other)):
        assert world.client(who).get(address).status_code == 404
        assert world.client(who).post(address, data={"csrf": CSRF, "reason": "x"}).status_code == 404
    assert "revoked" not in world.client("analyst").get("/projects/winter-pressures").text


def hold_copies(world: World) -> None:
    """The project has used the admissions, and then their grant was revoked."""
    with world.db.write() as session:
        record_use(session, ProjectName("winter-pressures"), DatasetName("admissions"), "1.0", world.clock())
    world.client("controller").post(revoke_link(world), data={"csrf": CSRF, "reason": "The study stopped."})


def test_copies_after_the_end_wait_for_the_controllers_word(world: World) -> None:
    hold_copies(world)
    assert "copies in project winter-pressures wait" in world.client("controller").get("/").text
    html = world.client("controller").get("/datasets/admissions").text
    assert "Yes, delete the folders of winter-pressures" in html
    with world.db.read() as session:
        (hold,) = open_holds(session)
    place = f"/datasets/admissions/copies/{hold.id}"
    odd = world.client("controller").post(place, data={"csrf": CSRF, "decision": "sell"})
    assert odd.status_code == 422
    foreign = {"csrf": CSRF, "decision": "delete"}
    assert world.client("other controller").post(place, data=foreign).status_code == 404
    kept = world.client("controller").post(place, data={"csrf": CSRF, "decision": "release-hold"})
    assert kept.headers["location"].endswith("done=copies-release-hold")
    assert "the copies stay" in world.client("controller").get(kept.headers["location"]).text


def version(html: str) -> dict[str, str]:
    return {name: field_of(html, name) for name in ("digest", "controls")}


def test_P2_controls_that_changed_after_the_page_was_opened_are_read_first(world: World) -> None:
    approver, place = world.client("ops"), "/approvals/diabetes-outcomes"
    fields = {"csrf": CSRF, "role": "approver", "answer": "approve"}
    html = approver.get(place).text
    assert "3 checkers decide blind" not in html
    tier = re.search(r"Controls of tier (\d) that you approve with it", html)
    assert tier
    with world.db.write() as session:
        row = session.get(CatalogueRow, ("PolicyProfile", "standard"))
        assert row is not None
        tiers = row.document["spec"]["tiers"]
        changed = {**tiers, tier[1]: {**tiers[tier[1]], "quorum": 3}}
        row.document = {**row.document, "spec": {**row.document["spec"], "tiers": changed}}
    stale = approver.post(place, data={**fields, **version(html)})
    assert stale.status_code == 409
    assert "The controls of tier" in stale.text
    assert "3 checkers decide blind" in stale.text
    assert "has not approved" in world.client("analyst").get("/projects/diabetes-outcomes").text
    assert approver.post(place, data={**fields, **version(stale.text)}).status_code == 303


def test_D1_a_project_edited_after_the_grant_comes_back_to_its_controller(world: World) -> None:
    controller = world.client("controller")
    given = terms(world)
    edit(world, "diabetes-outcomes", purpose="Something else")
    stale = controller.post("/datasets/admissions/grants", data=given)
    assert stale.status_code == 409
    assert "The project changed since you looked at it" in stale.text
    assert controller.post("/datasets/admissions/grants", data=terms(world)).status_code == 303
    edit(world, "diabetes-outcomes", purpose="Something else again")
    assert "Edited since you granted it" in controller.get("/datasets").text
    html = controller.get("/datasets/admissions").text
    assert "Edited since you granted it" in html
    assert "Something else again" in html
    assert controller.post("/datasets/admissions/grants", data=terms(world)).status_code == 303
    assert "Edited since you granted it" not in controller.get("/datasets/admissions").text


def test_approval_by_page_is_for_exactly_the_version_shown(world: World) -> None:
    approver = world.client("ops")
    assert "Diabetes, wellbeing and time in hospital" in approver.get("/").text
    place = "/approvals/diabetes-outcomes"
    fields = {"csrf": CSRF, "role": "approver", "answer": "approve"}
    seen = version(approver.get(place).text)
    edit(world, "diabetes-outcomes", title="Another title")
    stale = approver.post(place, data={**fields, **seen})
    assert stale.status_code == 409
    assert "Another title" in stale.text
    assert version(stale.text)["digest"] != seen["digest"]
    done = approver.post(place, data={**fields, **version(stale.text)})
    assert done.headers["location"] == "/projects/diabetes-outcomes?done=approved"
    assert "has not approved" not in world.client("analyst").get("/projects/diabetes-outcomes").text


def test_edit_after_approval_locks_and_shows_what_changed(world: World) -> None:
    edit(world, "winter-pressures", purpose="Something else", tier=0)
    project = world.client("analyst").get("/projects/winter-pressures").text
    assert "was edited after it was approved" in project
    assert "Changed: purpose, tier" in project
    html = world.client("ops").get("/approvals/winter-pressures").text
    assert "Changed since the last approval" in html
    assert "Something else" in html
    assert "Help hospitals plan beds" in html


def test_refusal_needs_a_reason_that_members_read(world: World) -> None:
    place = "/approvals/diabetes-outcomes"
    seen = version(world.client("ops").get(place).text)
    fields = {"csrf": CSRF, "role": "approver", "answer": "refuse", **seen}
    assert world.client("ops").post(place, data=fields).status_code == 422
    done = world.client("ops").post(place, data={**fields, "reason": "The purpose is not for the public."})
    assert done.status_code == 303
    html = world.client("analyst").get("/projects/diabetes-outcomes").text
    assert "The purpose is not for the public." in html
    assert "refused this version" in html


def test_P2_who_does_not_hold_the_role_cannot_answer(world: World) -> None:
    place = "/approvals/diabetes-outcomes"
    seen = version(world.client("ops").get(place).text)
    fields = {"csrf": CSRF, "role": "approver", "answer": "approve", **seen}
    for who in ("analyst", "checker", "controller"):
        assert world.client(who).post(place, data=fields).status_code == 404
    wrong_role = world.client("ops").post(place, data={**fields, "role": "ops"})
    assert wrong_role.status_code == 403
    assert world.client("ops").post(place, data={**fields, "role": "king"}).status_code == 404


def test_tier_three_says_why_nothing_can_start(world: World) -> None:
    html = world.client("analyst").get("/projects/rare-conditions").text
    assert "pixels only" in html
    assert re.search(r"<button[^>]*disabled[^>]*>\s*Start workspace", html)


def test_ops_page_shows_processes_restarts_ledger_and_proofs(world: World) -> None:
    html = world.client("ops").get("/ops").text
    for words in ("hub", "ended with code 1", "entries", "Not proven yet", "None runs", "No checkpoint was made yet"):
        assert words in html
    Requests(world).released()
    html = world.client("ops").get("/ops").text
    assert "Ana Silva" in html
    answer = world.client("ops").get("/ops/checkpoint")
    assert answer.headers["content-disposition"].startswith('attachment; filename="checkpoint-')
    assert answer.text == world.client(None).get("/verify/checkpoint.txt").text
    assert answer.text.startswith("tre-ledger/")


def test_invitation_is_shown_once_and_recorded(world: World) -> None:
    answer = world.client("ops").post("/ops/invitations", data={"csrf": CSRF, "person": "ben-okafor"})
    link = re.search(r"http://tre\.localhost:8000/hub/login#token=[\w-]{40,}", answer.text)
    assert link
    assert link[0] not in world.client("ops").get("/ops").text
    unknown = world.client("ops").post("/ops/invitations", data={"csrf": CSRF, "person": "nobody"})
    assert unknown.status_code == 404
    by_api = world.client("ops", via="token").post("/api/people/ben-okafor/invitation")
    assert by_api.json()["link"].startswith("http://tre.localhost:8000/hub/login#token=")
    assert world.client("analyst", via="token").post("/api/people/ben-okafor/invitation").status_code == 403


def test_account_makes_shows_once_and_revokes_a_token(world: World) -> None:
    client = world.client("analyst")
    made = client.post("/account/tokens", data={"csrf": CSRF, "hours": "1"})
    token = re.search(r"tre_[\w-]{40,}", made.text)
    assert token
    html = client.get("/account").text
    assert token[0] not in html
    place = re.search(r"/account/tokens/[0-9a-f]+/revocation", html)
    assert place
    assert world.client("other analyst").post(place[0], data={"csrf": CSRF}).status_code == 404
    assert client.post(place[0], data={"csrf": CSRF}).status_code == 303
    assert "No tokens" in client.get("/account").text
    too_long = client.post("/account/tokens", data={"csrf": CSRF, "hours": "1000"})
    assert too_long.status_code == 422


def test_account_sets_a_password_once_and_asks_for_it_before_changing_it(world: World) -> None:
    client = world.client("analyst")
    assert "You have no password yet" in client.get("/account").text
    new = {"csrf": CSRF, "password": "a long enough secret", "again": "a long enough secret"}
    differs = client.post("/account/password", data={**new, "again": "another one, longer"})
    assert "differ" in differs.text
    assert client.post("/account/password", data=new, follow_redirects=False).status_code == 303
    assert "You have set a password" in client.get("/account").text
    wrong = client.post("/account/password", data={**new, "current": "not the one I have"})
    assert wrong.status_code in (200, 403)
    assert "Your password is set" not in wrong.text
    right = client.post("/account/password", data={**new, "current": "a long enough secret"}, follow_redirects=False)
    assert right.status_code == 303


def test_the_second_of_two_tabs_at_the_first_password_gets_a_sentence_and_the_first_one_holds(world: World) -> None:
    client = world.client("analyst")
    new = {"csrf": CSRF, "password": "a long enough secret", "again": "a long enough secret"}
    assert client.post("/account/password", data=new, follow_redirects=False).status_code == 303
    other = {"csrf": CSRF, "password": "another long secret", "again": "another long secret"}
    second = client.post("/account/password", data=other, follow_redirects=False)
    assert second.status_code == 409
    assert "was set a moment ago" in second.text
    changed = client.post(
        "/account/password", data={**other, "current": "a long enough secret"}, follow_redirects=False
    )
    assert changed.status_code == 303


def test_ops_resets_a_password_and_hands_out_a_link_shown_once(world: World) -> None:
    ops = world.client("ops")
    assert "Reset password" in ops.get("/ops").text
    asked = ops.post("/ops/resets", data={"csrf": CSRF, "person": "ben-okafor"})
    assert "another operator must ask for the same within a day" in asked.text
    assert "/hub/login#token=" not in asked.text
    with world.db.write() as session:
        assert reset(session, PersonId("ben-okafor"), PersonId("another-operator"), world.clock()) is not None
        assert reset(session, PersonId("ben-okafor"), PersonId("another-operator"), world.clock()) is None
    answer = ops.post("/ops/resets", data={"csrf": CSRF, "person": "ben-okafor"})
    assert answer.status_code == 200
    assert "/hub/login#token=" in answer.text
    assert "/hub/login#token=" not in ops.get("/ops").text
    assert world.client("analyst").post("/ops/resets", data={"csrf": CSRF, "person": "ben-okafor"}).status_code == 403
