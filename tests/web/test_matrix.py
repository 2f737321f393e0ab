"""Every page for every part: who gets it, who gets nothing."""

from __future__ import annotations

import pytest
from starlette.routing import compile_path

from tests.web.world import PEOPLE, Requests, World
from tre_orchestrator.web import metrics
from tre_orchestrator.web.app import API, PAGES

PARTS = ("analyst", "other analyst", "checker", "second checker", "controller", "other controller", "ops", None)

# Ana and Ben are members of winter-pressures (ready) and diabetes-outcomes (waits); Erin controls the admissions, Femi
# the wellbeing survey; Grace is ops and approver. The columns are PARTS.
ADDRESSES: dict[str, tuple[int, ...]] = {
    "/": (200, 200, 200, 200, 200, 200, 200, 303),
    "/requests": (200, 200, 200, 200, 200, 200, 200, 303),
    "/account": (200, 200, 200, 200, 200, 200, 200, 303),
    "/projects/winter-pressures": (200, 200, 200, 200, 200, 404, 200, 303),
    "/projects/diabetes-outcomes": (200, 200, 200, 200, 200, 200, 200, 303),
    "/projects/no-such-project": (404, 404, 404, 404, 404, 404, 404, 303),
    "/projects/NO": (404, 404, 404, 404, 404, 404, 404, 303),
    "/projects/winter-pressures/workspace": (200, 200, 404, 404, 404, 404, 404, 303),
    "/projects/diabetes-outcomes/workspace": (403, 403, 404, 404, 404, 404, 404, 303),
    "/projects/winter-pressures/workspace/state": (200, 200, 404, 404, 404, 404, 404, 303),
    "/projects/winter-pressures/requests/new": (200, 200, 404, 404, 404, 404, 404, 303),
    "/queue": (403, 403, 200, 200, 403, 403, 403, 303),
    "/datasets": (403, 403, 403, 403, 200, 200, 403, 303),
    "/datasets/admissions": (403, 403, 403, 403, 200, 404, 403, 303),
    "/datasets/wellbeing": (403, 403, 403, 403, 404, 200, 403, 303),
    "/datasets/no-such": (403, 403, 403, 403, 404, 404, 403, 303),
    "/approvals": (404, 404, 404, 404, 404, 404, 200, 303),
    "/approvals/diabetes-outcomes": (404, 404, 404, 404, 404, 404, 200, 303),
    "/ops": (403, 403, 403, 403, 403, 403, 200, 303),
    "/ops/checkpoint": (403, 403, 403, 403, 403, 403, 404, 303),
    "/verify": (200, 200, 200, 200, 200, 200, 200, 200),
    "/verify/key.pem": (200, 200, 200, 200, 200, 200, 200, 200),
    "/verify/tre_verify.py": (200, 200, 200, 200, 200, 200, 200, 200),
    "/verify/checkpoint.txt": (404, 404, 404, 404, 404, 404, 404, 404),
    "/accessibility": (200, 200, 200, 200, 200, 200, 200, 200),
    "/no-such-page": (404, 404, 404, 404, 404, 404, 404, 404),
    "/health": (404, 404, 404, 404, 404, 404, 404, 200),
    "/metrics": (404, 404, 404, 404, 404, 404, 404, 200),
    "/static/tre.css": (200, 200, 200, 200, 200, 200, 200, 200),
    "/api/me": (200, 200, 200, 200, 200, 200, 200, 401),
    "/api/projects": (200, 200, 200, 200, 200, 200, 200, 401),
    "/api/projects/winter-pressures": (200, 200, 200, 200, 200, 404, 200, 401),
    "/api/projects/winter-pressures/decision": (200, 200, 200, 200, 200, 404, 200, 401),
    "/api/projects/winter-pressures/decision?person=ben-okafor": (403, 200, 403, 403, 403, 403, 200, 401),
    "/api/projects/winter-pressures/requests": (200, 200, 200, 200, 200, 404, 200, 401),
    "/api/requests": (200, 200, 200, 200, 200, 200, 200, 401),
    "/api/queue": (403, 403, 200, 200, 403, 403, 403, 401),
    "/api/datasets": (403, 403, 403, 403, 200, 200, 403, 401),
    "/api/ledger/checkpoint": (404, 404, 404, 404, 404, 404, 404, 401),
    "/api/no-such": (404, 404, 404, 404, 404, 404, 404, 404),
}

# the same for one request of Ana's in project winter-pressures, per state
REQUEST: dict[str, dict[str, tuple[int, ...]]] = {
    "draft": {
        "/projects/winter-pressures/requests/1": (200, 404, 404, 404, 404, 404, 404, 303),
        "/queue/winter-pressures/1": (303, 404, 404, 404, 404, 404, 404, 303),
        "/api/projects/winter-pressures/requests/1": (200, 404, 404, 404, 404, 404, 404, 401),
    },
    "checked": {
        "/projects/winter-pressures/requests/1": (200, 200, 303, 303, 200, 404, 404, 303),
        "/queue/winter-pressures/1": (303, 303, 200, 200, 303, 404, 404, 303),
        "/api/projects/winter-pressures/requests/1": (200, 200, 200, 200, 200, 404, 404, 401),
        "/projects/diabetes-outcomes/requests/1": (404, 404, 404, 404, 404, 404, 404, 303),
        "/queue/diabetes-outcomes/1": (404, 404, 404, 404, 404, 404, 404, 303),
        "/projects/winter-pressures/requests/2": (404, 404, 404, 404, 404, 404, 404, 303),
        "/projects/winter-pressures/requests/x": (404, 404, 404, 404, 404, 404, 404, 303),
        "/projects/winter-pressures/requests/1/images/1": (404, 404, 404, 404, 404, 404, 404, 303),
        "/projects/winter-pressures/requests/1/files/1": (404, 404, 200, 200, 404, 404, 404, 303),
    },
}


def statuses(world: World, address: str) -> tuple[int, ...]:
    return tuple(world.client(part).get(address).status_code for part in PARTS)


@pytest.mark.parametrize("address", ADDRESSES)
def test_page_by_part(world: World, address: str) -> None:
    found = dict(zip(PARTS, statuses(world, address), strict=True))
    assert found == dict(zip(PARTS, ADDRESSES[address], strict=True))


@pytest.mark.parametrize("state", REQUEST)
def test_P3_request_by_part(world: World, state: str) -> None:
    getattr(Requests(world), state)()
    found = {address: statuses(world, address) for address in REQUEST[state]}
    assert found == REQUEST[state]


def test_matrix_names_every_page_that_can_be_read() -> None:
    written = [*ADDRESSES, *(address for states in REQUEST.values() for address in states)]
    written += [
        "/metrics",
        "/projects/winter-pressures/workspace/progress",
        "/datasets/admissions/grants/1",
        "/favicon.ico",
    ]
    written += ["/api/projects/winter-pressures/requests/1/bundle"]
    routes = [route for part in (*PAGES, *API, metrics) for route in part.router.routes]
    readable = [route.path for route in routes if "GET" in (getattr(route, "methods", None) or ())]
    assert len(readable) > 25
    for path in readable:
        pattern, _, _ = compile_path(path)
        assert any(pattern.match(address.partition("?")[0]) for address in written), f"{path} is in no row"


def test_everybody_of_the_demo_is_in_the_matrix() -> None:
    assert set(PEOPLE) == {part for part in PARTS if part}
