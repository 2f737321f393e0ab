"""Between an approval and the bytes: who can still stop them, what is tried again, and what the bundle says of data."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.airlock.build import ANA, BEN, CHLOE, CLEAN, DAN, MIA, Airlock
from tests.governance.build import ERIN, GRACE, HEART, World, project
from tre_orchestrator.airlock import release, requests
from tre_orchestrator.airlock.states import State
from tre_orchestrator.airlock.store import make_store, open_store
from tre_orchestrator.airlock.votes import Vote
from tre_orchestrator.catalogue.models import Role
from tre_orchestrator.errors import NotFound, Refused, Unavailable
from tre_orchestrator.governance import approvals
from tre_orchestrator.governance.grants import live_grants, revoke
from tre_orchestrator.ledger.append import BODY_MAX_BYTES
from tre_orchestrator.ledger.read import EntryView, entries

MEMBERS = [{"person": str(ANA)}, {"person": BEN}, {"person": MIA}]


def world_of(air: Airlock) -> World:
    return World(air.db, air.settings, air.now)


def told(air: Airlock, kind: str) -> list[EntryView]:
    with air.db.read() as session:
        return entries(session, kind=kind, limit=1000)


def revoke_grant(air: Airlock) -> None:
    with air.db.write() as session:
        (grant,) = live_grants(session, air.now, project=HEART)
        revoke(session, grant.id, ERIN, "A fault in the data", air.now)


def test_R1_the_last_review_is_possible_however_much_was_said(air: Airlock) -> None:
    request = air.awaiting({f"{number:03}.csv": CLEAN for number in range(70)})
    for minutes in range(1, 6):  # a bounded number of files at a time
        air.at(minutes=minutes).advance()
    for who in (CHLOE, DAN):
        air.review(request, who, Vote.request_changes, "\U0001f9ea" * 2000)
    assert air.view(request).state is State.consolidating
    opened = told(air, "votes.revealed")
    votes = [vote for entry in opened for vote in (entry.body or {})["votes"]]
    assert len(votes) == 140
    assert {(vote["person"], vote["path"]) for vote in votes} == {
        (who, f"{number:03}.csv") for who in (CHLOE, DAN) for number in range(70)
    }
    assert len(json.dumps([entry.body for entry in opened], ensure_ascii=False).encode()) > BODY_MAX_BYTES


def test_D2_a_grant_revoked_after_the_decision_holds_the_release_until_it_is_granted_again(air: Airlock) -> None:
    request = air.approved()
    revoke_grant(air)
    air.advance()
    held = air.view(request)
    assert held.state is State.release_failed
    assert "trust revoked its grant of 'lungs'" in held.problem
    later = air.at(hours=3)
    later.advance()
    assert later.view(request).state is State.release_failed
    world_of(later).grant()
    for hours in (4, 5, 6):
        air.at(hours=hours).advance()
    assert air.view(request).state is State.released


def test_D2_a_grant_revoked_while_the_bundle_is_built_holds_it(air: Airlock, monkeypatch: pytest.MonkeyPatch) -> None:
    request = air.approved()
    packed = release.pack

    def pack(*given: Any) -> Any:
        stored = packed(*given)
        revoke_grant(air)
        return stored

    monkeypatch.setattr(release, "pack", pack)
    air.advance()
    assert air.view(request).state is State.release_failed
    assert told(air, "release.made") == []


def test_P2_an_approver_who_refuses_the_project_holds_its_releases(air: Airlock) -> None:
    request = air.approved()
    seen = world_of(air).seen()
    with air.db.write() as session:
        approvals.refuse(session, HEART, Role.approver, seen, GRACE, "The purpose is another one now", air.now)
    air.advance()
    assert "approval was withdrawn" in air.view(request).problem
    world_of(air).approve()
    air.at(hours=2).advance()
    assert air.view(request).state is State.released


def test_a_grant_that_ran_out_holds_nothing(air: Airlock) -> None:
    request = air.approved()
    air.at(days=300).advance()
    assert air.view(request).state in (State.released, State.expired)


def test_a_release_that_fails_for_weeks_is_told_once_and_ends(air: Airlock, monkeypatch: pytest.MonkeyPatch) -> None:
    request = air.approved()

    def put(*_: object) -> Iterator[bytes]:
        raise Unavailable("disk-full", "The disk is full. Ask ops to make room.")

    monkeypatch.setattr(type(air.store), "put", put)
    for hours in range(0, 31 * 24, 3):
        air.at(hours=hours).advance()
    assert [entry.facts["code"] for entry in told(air, "release.failed")] == ["disk-full"]
    assert air.view(request).state is State.withdrawn
    assert len(told(air, "request.withdrawn")) == 1


def test_P1_who_left_the_project_fetches_nothing(air: Airlock) -> None:
    request = air.released()
    world_of(air).apply(project(members=[{"person": BEN}]))
    with pytest.raises(Refused, match="no member of this project any more"):
        release.open_release(air.db, air.store, "heart", request.id, ANA, air.now)
    assert told(air, "release.fetched") == []


def test_P2_who_was_a_member_at_an_earlier_submission_never_votes(air: Airlock) -> None:
    world_of(air).apply(project(members=MEMBERS))
    request = air.returned()
    world_of(air).apply(project(members=[{"person": str(ANA)}, {"person": BEN}]))
    world_of(air).approve()
    submitted = air.submit(request, {"a.csv": CLEAN})
    air.advance()
    with pytest.raises(Refused, match="member of this project"):
        air.vote(air.view(submitted), "a.csv", MIA)


def test_A4_the_attestation_names_what_was_mounted_not_what_the_project_asks_for_today(
    air: Airlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = air.approved()
    world_of(air).apply(project(members=MEMBERS, datasets=[]))
    world_of(air).approve()
    described: list[Any] = []
    made = release.bundle
    monkeypatch.setattr(release, "bundle", lambda approved, *rest: described.append(approved) or made(approved, *rest))
    air.advance()
    assert air.view(request).state is State.released, air.view(request).problem
    (approved,) = described
    assert [(one["name"], one["version"]) for one in approved.datasets] == [("lungs", "1.0")]


@pytest.mark.parametrize("number", [0, -1, 2**31, 2**63, 10**40])
def test_P3_a_number_that_no_request_has_is_not_found(air: Airlock, number: int) -> None:
    with air.db.read() as session, pytest.raises(NotFound):
        requests.view(session, "heart", number, ANA, air.now)


@pytest.mark.parametrize("key", ["airlock-master", "airlock-names"])
def test_a_lost_key_of_the_store_is_not_made_anew(air: Airlock, key: str) -> None:
    air.awaiting()
    path = air.settings.keys_dir / key
    kept = path.read_bytes()
    path.unlink()
    for act in (make_store, open_store):
        with pytest.raises(Unavailable, match=key):
            act(air.settings)
    assert not path.exists()
    path.touch(0o600)
    path.write_bytes(kept)
    make_store(air.settings)
    open_store(air.settings)


def test_the_time_of_a_failed_release_counts_from_the_decision(air: Airlock) -> None:
    request = air.approved()
    revoke_grant(air)
    for days in range(30):
        air.at(days=days).advance()
    assert air.view(request).state is State.release_failed
    air.at(days=30, hours=1).advance()
    assert air.view(request).state is State.withdrawn
    assert air.now + dt.timedelta(days=30) <= air.view(request).state_since
