"""Every act × every person × every state, through the business layer: who may do what when (P2, P3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy.orm import Session

from tests.airlock.build import BEN, CHLOE, CLEAN, FAY, FORM, MIA, Airlock
from tests.governance.build import ANA, ERIN
from tre_orchestrator.airlock import requests, reviews
from tre_orchestrator.airlock.comments import comment
from tre_orchestrator.airlock.release import open_release, revoke
from tre_orchestrator.airlock.states import State
from tre_orchestrator.airlock.views import RequestView
from tre_orchestrator.airlock.votes import Vote
from tre_orchestrator.errors import NotFound, Refused

ADMIN, NOBODY = "rita-admin", "nobody"
PEOPLE = (ANA, BEN, MIA, FAY, ERIN, ADMIN, NOBODY)


class RolledBack(Exception):  # noqa: N818
    """Undoes a try that succeeded, so that the next one meets the same state."""


def _release_failed(air: Airlock) -> RequestView:
    request = air.approved()
    for path in (air.settings.store_dir / "blobs").glob("??/*"):
        path.unlink()
    air.advance()
    return air.view(request)


def _ended(what: Any) -> Callable[[Airlock], RequestView]:
    return lambda air: air.view(air.act(what, air.consolidating(), CHLOE, "No"))


def _revoked(air: Airlock) -> RequestView:
    return air.view(air.act(revoke, air.released(), CHLOE, "A mistake"))


def _expired(air: Airlock) -> RequestView:
    request = air.released()
    air.at(days=31).advance()
    return air.view(request)


def _checking(air: Airlock) -> RequestView:
    return air.submit(air.draft(), {"a.csv": CLEAN})


BUILT: dict[State, Callable[[Airlock], RequestView]] = {
    State.draft: Airlock.draft,
    State.checking: _checking,
    State.blocked: Airlock.blocked,
    State.awaiting_review: Airlock.awaiting,
    State.in_review: Airlock.in_review,
    State.consolidating: Airlock.consolidating,
    State.returned: Airlock.returned,
    State.rejected: _ended(reviews.reject),
    State.approved: Airlock.approved,
    State.release_failed: _release_failed,
    State.released: Airlock.released,
    State.revoked: _revoked,
    State.expired: _expired,
    State.withdrawn: lambda air: air.act(requests.withdraw, air.draft(), ANA),
}

Act = Callable[[Session, Airlock, RequestView, str], object]
ACTS: dict[str, Act] = {
    "update": lambda s, air, r, who: requests.update_draft(s, "heart", r.id, who, FORM, air.now, version=r.version),
    "contest": lambda s, air, r, who: requests.contest(s, "heart", r.id, who, "All clear", air.now, version=r.version),
    "withdraw": lambda s, air, r, who: requests.withdraw(s, "heart", r.id, who, air.now, version=r.version),
    "claim": lambda s, air, r, who: reviews.claim(s, "heart", r.id, who, air.now, version=r.version),
    "vote": lambda s, air, r, who: reviews.cast_vote(
        s, "heart", r.id, "a.csv", who, Vote.approve, "Fine", version=r.version, now=air.now
    ),
    "return": lambda s, air, r, who: reviews.return_(s, "heart", r.id, who, "No", air.now, version=r.version),
    "reject": lambda s, air, r, who: reviews.reject(s, "heart", r.id, who, "No", air.now, version=r.version),
    "recheck": lambda s, air, r, who: reviews.recheck(s, "heart", r.id, who, air.now, version=r.version),
    "revoke": lambda s, air, r, who: revoke(s, "heart", r.id, who, "Wrong", air.now, version=r.version),
    "comment": lambda s, air, r, who: comment(s, "heart", r.id, who, "A word", air.now),
}
AUTHORS = {
    "update": {State.draft, State.blocked, State.returned},
    "contest": {State.blocked},
    "withdraw": {
        State.draft, State.checking, State.blocked, State.awaiting_review, State.in_review, State.returned,
        State.release_failed,
    },
}  # fmt: skip
CHECKERS = {
    "claim": {State.awaiting_review, State.in_review},
    "vote": {State.awaiting_review, State.in_review},
    "return": {State.consolidating},
    "reject": {State.consolidating},
    "recheck": set[State](),  # nothing changed the policy here
    "revoke": {State.approved, State.release_failed, State.released},
}
LIVE = set(BUILT) - {State.rejected, State.revoked, State.expired, State.withdrawn}


def _may(act: str, who: str, state: State) -> bool:
    if act == "comment":
        return state in LIVE and (who == ANA or (who == FAY and state is not State.draft))
    if who == ANA:
        return state in AUTHORS.get(act, set())
    if who == FAY:
        return state in CHECKERS.get(act, set())
    return who == ERIN and act == "revoke" and state in CHECKERS["revoke"]


@pytest.mark.parametrize("state", BUILT)
def test_who_may_do_what(air: Airlock, state: State) -> None:
    request = BUILT[state](air)
    assert request.state is state, request.problem
    for act, who, allowed in _tries(air, request):
        assert allowed == _may(act, who, state), f"{who} {act} {state}"


@pytest.mark.parametrize("state", BUILT)
def test_the_buttons_say_what_the_acts_do(air: Airlock, state: State) -> None:
    request = BUILT[state](air)
    for act, who, allowed in _tries(air, request):
        if act in ("comment", "vote"):
            continue
        try:
            button = air.view(request, who).action(act)
        except NotFound:
            button = None
        assert (button is not None and button.why_not is None) == allowed, f"{who} {act} {state}: {button}"


@pytest.mark.parametrize("state", [state for state in BUILT if state is not State.released])
def test_A7_nothing_can_be_fetched_unless_released(air: Airlock, state: State) -> None:
    request = BUILT[state](air)
    with pytest.raises(Refused):
        open_release(air.db, air.store, "heart", request.id, ANA, air.now)


def _tries(air: Airlock, request: RequestView) -> Iterator[tuple[str, str, bool]]:
    for act, do in ACTS.items():
        for who in PEOPLE:
            allowed = True
            try:
                with air.db.write() as session:
                    do(session, air, request, who)
                    raise RolledBack
            except RolledBack:
                pass
            except (Refused, NotFound):
                allowed = False
            yield act, who, allowed
