"""Who asks: the gate's statement on every request, a person who is valid now (P1), the session's token on writes."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.web.world import CSRF, Requests, World
from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.governance.identity import HEADER, identity, sign_identity
from tre_orchestrator.governance.tables import CatalogueRow


def test_nobody_signed_in_is_sent_to_sign_in_and_back(world: World) -> None:
    answer = world.client(None).get("/projects/winter-pressures?a=1")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/gate/login?next=/projects/winter-pressures%3Fa%3D1"


def test_nobody_signed_in_at_the_api_is_401_with_a_sentence(world: World) -> None:
    answer = world.client(None).get("/api/me")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "sign-in"


@pytest.mark.parametrize("change", ["other key", "cut", "person", "nonsense"])
def test_P1_forged_statement_is_refused(world: World, change: str) -> None:
    good = world.header("ana-silva")
    body, _, mac = good.partition(".")
    now = world.clock()
    forged = {
        "other key": sign_identity(
            b"x" * 32, identity(PersonId("grace-lin"), "s", CSRF, mfa=True, via="session", now=now)
        ),
        "cut": good[:-2],
        "person": world.header("grace-lin").partition(".")[0] + "." + mac,
        "nonsense": "é",
    }[change]
    answer = world.client(None).get("/", headers={HEADER: forged.encode()})
    assert answer.status_code == 403
    assert "did not come through the gate" in answer.text
    assert body


def test_P4_old_statement_is_refused(world: World) -> None:
    old = world.header("ana-silva")
    world.clock.now += dt.timedelta(seconds=31)
    assert world.client(None).get("/", headers={HEADER: old}).status_code == 403


def test_P1_person_who_is_no_longer_valid_gets_nothing(world: World) -> None:
    with world.db.write() as session:
        row = session.get(CatalogueRow, ("Person", "ana-silva"))
        assert row is not None
        spec = {**row.document["spec"], "accreditation": {"scheme": "S", "expires": "2026-11-22"}}
        row.document = {**row.document, "spec": spec}
    answer = world.client("analyst").get("/projects/winter-pressures")
    assert answer.status_code == 403
    assert "ran out on 22 November 2026" in answer.text
    assert "Purpose" not in answer.text


WRITES = (
    ("analyst", "/projects/winter-pressures/workspace/start"),
    ("analyst", "/projects/winter-pressures/workspace/stop"),
    ("analyst", "/projects/winter-pressures/requests"),
    ("analyst", "/projects/winter-pressures/requests/1/form"),
    ("analyst", "/projects/winter-pressures/requests/1/withdraw"),
    ("analyst", "/projects/winter-pressures/requests/1/bundle/download"),
    ("checker", "/queue/winter-pressures/1/votes"),
    ("checker", "/queue/winter-pressures/1/review"),
    ("controller", "/datasets/admissions/grants"),
    ("controller", "/datasets/admissions/grants/1"),
    ("controller", "/datasets/admissions/copies/1"),
    ("ops", "/approvals/diabetes-outcomes"),
    ("ops", "/ops/invitations"),
    ("ops", "/ops/resets"),
    ("analyst", "/account/tokens"),
    ("analyst", "/account/tokens/1/revocation"),
    ("analyst", "/account/sessions/others/end"),
)


@pytest.mark.parametrize(("who", "address"), WRITES)
@pytest.mark.parametrize("token", [None, "", "0" * 64, "é"])
def test_form_without_this_sessions_token_does_nothing(world: World, who: str, address: str, token: str | None) -> None:
    before = entries(world)
    answer = world.client(who).post(address, data={} if token is None else {"csrf": token})
    assert answer.status_code == 403
    assert "not of this session" in answer.text
    assert entries(world) == before
    assert world.hub.asked == []


def test_form_of_an_api_token_is_refused_even_with_an_empty_session_token(world: World) -> None:
    answer = world.client("ops", via="token").post("/ops/invitations", data={"csrf": "", "person": "ana-silva"})
    assert answer.status_code == 403


def test_api_write_of_a_browser_session_needs_the_token_header(world: World) -> None:
    body = {"reason": "x"}
    assert world.client("controller").post("/api/grants/1/revocation", json=body).json()["code"] == "csrf"
    with_token = world.client("controller").post("/api/grants/1/revocation", json=body, headers={"X-Tre-Csrf": CSRF})
    assert with_token.json()["code"] == "grant-unknown"


def test_api_write_of_a_persons_own_token_needs_no_more(world: World) -> None:
    answer = world.client("controller", via="token").post("/api/grants/1/revocation", json={"reason": "x"})
    assert answer.json()["code"] == "grant-unknown"


def test_bundle_by_api_is_not_recorded_for_a_foreign_page(world: World) -> None:
    address = Requests(world).released()
    before = entries(world)
    assert world.client("analyst").get(f"/api{address}/bundle").status_code == 403
    assert entries(world) == before
    assert world.client("analyst", via="token").get(f"/api{address}/bundle").content.startswith(b"PK")


def entries(world: World) -> int:
    from tre_orchestrator.ledger.read import size

    with world.db.read() as session:
        return size(session)
