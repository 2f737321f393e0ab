"""A1: only the bytes, the destination and the words that the quorum approved leave, under the policy it was shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from tests.airlock.build import CHLOE, CLEAN, DAN, FORM, Airlock
from tests.governance.build import ANA, World, profile
from tre_orchestrator.airlock import reviews
from tre_orchestrator.airlock.access import find_request
from tre_orchestrator.airlock.approval import approved_entry
from tre_orchestrator.airlock.release import open_release
from tre_orchestrator.airlock.states import State
from tre_orchestrator.airlock.store import Stored
from tre_orchestrator.airlock.tables import FileRow, ReleaseRow, RequestRow, ReviewRow
from tre_orchestrator.errors import NotFound, Refused, Unavailable

OTHER = b"sex,n\nfemale,121\nmale,141\n"


def _change_file(air: Airlock, **values: Any) -> None:
    with air.db.write() as session:
        session.execute(update(FileRow).values(**values))


def _put(air: Airlock, data: bytes) -> Stored:
    with air.db.read() as session:
        row = session.query(RequestRow).one()
        return air.store.put(row.id, air.store.unwrap(row.id, row.wrapped_key), [data])


def _swap_bytes(air: Airlock) -> None:
    """Other bytes, properly stored, under the approved file's row."""
    _change_file(air, blob=_put(air, OTHER).name)


def _swap_bytes_and_hash(air: Airlock) -> None:
    stored = _put(air, OTHER)
    _change_file(air, blob=stored.name, sha256=stored.sha256, size=stored.size)


def _change_request(**values: Any) -> Callable[[Airlock], None]:
    def change(air: Airlock) -> None:
        with air.db.write() as session:
            session.execute(update(RequestRow).values(**values))

    return change


def _stricter_policy(air: Airlock) -> None:
    World(air.db, air.settings, air.now).apply(profile(**{"1": {"thresholds": {"small_count": 15}}}))


def _add_a_file(air: Airlock) -> None:
    with air.db.write() as session:
        file = session.query(FileRow).first()
        assert file is not None
        session.add(
            FileRow(
                request_id=file.request_id, turn=file.turn, path="z.csv", size=file.size, sha256=file.sha256,
                blob=file.blob, context=file.context, content=file.content, verdict="pass",
            )
        )  # fmt: skip


TAMPERING: dict[str, Callable[[Airlock], None]] = {
    "bytes in the store": _swap_bytes,
    "bytes and their hash": _swap_bytes_and_hash,
    "path": lambda air: _change_file(air, path="b.csv"),
    "context": lambda air: _change_file(air, context={"population": "someone else"}),
    "supporting file made releasable": lambda air: _change_file(air, supporting=True),
    "one more file": _add_a_file,
    "destination": _change_request(destination="elsewhere"),
    "title": _change_request(form={**FORM.model_dump(mode="json"), "title": "Another title"}),
    "older file list": _change_request(files_turn=0),
    "policy": _stricter_policy,
}


@pytest.mark.parametrize("what", TAMPERING)
def test_A1_a_change_after_the_approval_stops_the_release(air: Airlock, what: str) -> None:
    request = air.approved()
    TAMPERING[what](air)
    air.advance()
    with air.db.read() as session:
        row = find_request(session, "heart", request.id)
        assert State(row.state) is State.release_failed
        assert row.problem
        assert session.get(ReleaseRow, row.id) is None
    with pytest.raises((Refused, NotFound)):
        open_release(air.db, air.store, "heart", request.id, ANA, air.now)
    air.at(days=1).advance()
    with air.db.read() as session:
        assert State(find_request(session, "heart", request.id).state) is State.release_failed


def test_A1_an_approval_without_votes_releases_nothing(air: Airlock) -> None:
    request = air.awaiting()
    _change_request(state="approved")(air)
    air.advance()
    assert air.view(request).state is State.release_failed


def test_A1_a_review_that_the_ledger_does_not_know_stops_the_release(air: Airlock) -> None:
    request = air.approved()
    with air.db.write() as session:
        session.add(ReviewRow(request_id=request.id, author=ANA, turn=1, person="olu", submitted_at=air.now))
    air.advance()
    assert air.view(request).state is State.release_failed


def test_A1_bytes_changed_after_the_release_do_not_leave(air: Airlock) -> None:
    request = air.released()
    with air.db.read() as session:
        name = session.get_one(ReleaseRow, request.id).blob
        key = air.store.unwrap(request.id, session.get_one(RequestRow, request.id).wrapped_key)
    other = air.store.put(request.id, key, [b"PK other" * 400_000])
    blobs = air.settings.store_dir / "blobs"
    (blobs / name[:2] / name).write_bytes((blobs / other.name[:2] / other.name).read_bytes())
    with pytest.raises(Unavailable, match="does not hold the bytes"):  # before a byte is given
        open_release(air.db, air.store, "heart", request.id, ANA, air.now)


def test_a_policy_change_in_review_starts_a_new_turn_in_which_old_votes_do_not_count(air: Airlock) -> None:
    request = air.awaiting()
    air.review(request, CHLOE)
    _stricter_policy(air)
    with pytest.raises(Refused) as refused:
        air.vote(request, "a.csv", DAN)
    assert refused.value.code == "policy-changed"
    air.advance()
    again = air.view(request, CHLOE)
    assert (again.state, again.turn) == (State.awaiting_review, 2)
    assert again.policy is not None
    assert again.policy.small_count == 15
    assert again.unvoted == ("a.csv",)
    assert again.reviews_in == 0
    air.review(request, DAN)
    air.review(request, CHLOE)
    air.advance()
    assert air.view(request).state is State.released


def test_after_a_policy_change_a_checker_can_have_an_approved_request_checked_again(air: Airlock) -> None:
    request = air.approved()
    _stricter_policy(air)
    air.advance()
    failed = air.view(request, CHLOE)
    button = failed.action("recheck")
    assert button is not None
    assert button.why_not is None
    air.act(reviews.recheck, request, CHLOE)
    air.advance()
    assert air.view(request).state is State.awaiting_review


def test_the_ledgers_approval_names_files_destination_policy_and_quorum(air: Airlock) -> None:
    request = air.approved({"a.csv": CLEAN, "b.csv": CLEAN})
    with air.db.read() as session:
        entry = approved_entry(session, find_request(session, "heart", request.id))
    assert entry is not None
    assert entry.facts["destination"] == "author-download"
    assert entry.facts["approvals"] == {"required": 2, "given": 2}
    assert entry.facts["files"] == 2
    assert request.policy is not None
    assert entry.facts["policy"] == request.policy.reference
