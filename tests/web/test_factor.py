"""P1: where the tier asks for a second factor, a request is neither seen nor decided without one."""

from __future__ import annotations

import pytest

from tests.web.world import CSRF, Requests, World
from tre_orchestrator.governance.tables import CatalogueRow


def ask_for_a_factor(world: World) -> None:
    with world.db.write() as session:
        row = session.get(CatalogueRow, ("PolicyProfile", "standard"))
        assert row is not None
        tiers = {tier: {**policy, "mfa": True} for tier, policy in row.document["spec"]["tiers"].items()}
        row.document = {**row.document, "spec": {**row.document["spec"], "tiers": tiers}}


@pytest.mark.parametrize(
    ("who", "method", "place"),
    [
        ("analyst", "GET", "/projects/{project}/requests/{id}"),
        ("analyst", "POST", "/projects/{project}/requests/{id}/bundle/download"),
        ("analyst", "GET", "/api/projects/{project}/requests/{id}/bundle"),
        ("checker", "GET", "/queue/{project}/{id}"),
        ("checker", "POST", "/queue/{project}/{id}/revoke"),
        ("checker", "GET", "/api/projects/{project}/requests/{id}"),
    ],
)
def test_P1_requests_of_a_tier_with_a_second_factor_need_one(world: World, who: str, method: str, place: str) -> None:
    number = Requests(world).released().rsplit("/", 1)[1]
    address = place.format(project="winter-pressures", id=number)
    data = {"csrf": CSRF, "reason": "x", "version": "1"} if method == "POST" else None
    assert "second factor" not in world.client(who).request(method, address, data=data).text
    ask_for_a_factor(world)
    answer = world.client(who).request(method, address, data=data)
    assert answer.status_code == 403
    assert "second factor" in answer.text


def test_P3_a_second_factor_that_is_missing_tells_strangers_nothing(world: World) -> None:
    number = Requests(world).released().rsplit("/", 1)[1]
    ask_for_a_factor(world)
    stranger = world.client("other controller")
    for project in ("winter-pressures", "no-such-project"):
        assert stranger.get(f"/projects/{project}/requests/{number}").status_code == 404
