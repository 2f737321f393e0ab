"""A5: a blind vote cannot be seen before the quorum is in: not by view, list, ledger or timing of states."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.airlock.build import BEN, CHLOE, CLEAN, DAN, FAY, Airlock
from tests.governance.build import ANA, World, profile
from tre_orchestrator.airlock import requests, reviews
from tre_orchestrator.airlock.access import find_request
from tre_orchestrator.airlock.comments import comment
from tre_orchestrator.airlock.states import State
from tre_orchestrator.airlock.tally import votes_of
from tre_orchestrator.airlock.views import RequestView
from tre_orchestrator.airlock.votes import Vote
from tre_orchestrator.errors import Refused
from tre_orchestrator.ledger.canonical import Json
from tre_orchestrator.ledger.commitments import opens
from tre_orchestrator.ledger.read import entries
from tre_orchestrator.ledger.tables import LedgerBody, LedgerEntry

BOTH = (Vote.approve, Vote.request_changes)


def _seen(view: RequestView) -> dict[str, Any]:
    """Everything in a view that could tell how somebody else voted."""
    return {
        "state": view.state,
        "version": view.version,
        "reviews_in": view.reviews_in,
        "files": [(file.votes, file.decision, file.why_not_vote, file.verdict) for file in view.files],
        "comments": view.comments,
        "actions": [(action.name, action.why_not) for action in view.actions],
        "problem": view.problem,
        "late": view.late,
    }


def _half_way(air: Airlock, vote: Vote) -> RequestView:
    request = air.awaiting({"a.csv": CLEAN, "b.csv": CLEAN})
    air.review(request, CHLOE, vote)
    with air.db.write() as session:
        comment(session, "heart", request.id, CHLOE, f"I would {vote.value}", air.now, public=True)
    return request


def test_A5_every_view_is_the_same_whatever_the_first_checker_voted(air: Airlock) -> None:
    first, second = (_half_way(air, vote) for vote in BOTH)
    for who in (ANA, BEN, DAN, FAY):
        assert _seen(air.view(first, who)) == _seen(air.view(second, who)), who


def test_A5_every_list_is_the_same_whatever_the_first_checker_voted(air: Airlock) -> None:
    ids = [_half_way(air, vote).id for vote in BOTH]
    with air.db.read() as session:
        for lines in (
            requests.queue(session, DAN, air.now),
            requests.mine(session, ANA, air.now),
            requests.of_project(session, "heart", BEN, air.now),
        ):
            shown = {line.id: line for line in lines}
            one, other = (shown[number] for number in ids)
            assert (one.state, one.reviews_in, one.late, one.problem) == (
                other.state, other.reviews_in, other.late, other.problem,
            )  # fmt: skip


def test_A5_the_author_does_not_learn_that_a_review_is_in_from_a_number(air: Airlock) -> None:
    request = _half_way(air, Vote.approve)
    assert air.view(request, ANA).reviews_in is None
    assert air.view(request, DAN).reviews_in == 1


def test_A5_the_ledger_holds_only_commitments_of_one_length_until_the_quorum(air: Airlock) -> None:
    for vote in BOTH:
        _half_way(air, vote)
    with air.db.read() as session:
        cast = entries(session, kind="vote.cast")
        stored = session.query(LedgerEntry).filter_by(kind="vote.cast").all()
        assert all(entry.body is None for entry in cast)
        assert not session.query(LedgerBody).filter(LedgerBody.seq.in_([entry.seq for entry in cast])).count()
        assert {frozenset(entry.facts) for entry in cast} == {frozenset({"turn", "file", "commitment"})}
        lengths = {len(entry.entry) - len(str(entry.seq)) - len(json.loads(entry.entry)["subject"]) for entry in stored}
        assert len(lengths) <= 2  # the file's number may have one digit more
        assert not entries(session, kind="votes.revealed")
        text = b"".join(entry.entry for entry in stored).decode()
    assert "approve" not in text
    assert "request-changes" not in text


def test_A5_trying_both_votes_does_not_open_a_commitment(air: Airlock) -> None:
    request = _half_way(air, Vote.approve)
    with air.db.read() as session:
        row = find_request(session, "heart", request.id)
        vote = votes_of(session, row)[0]
        for guess in BOTH:
            value: dict[str, Json] = {
                "request": f"request/heart/{row.id}", "turn": 1, "path": "a.csv", "content": vote.content,
                "person": CHLOE, "vote": guess.value, "reason": vote.reason,
            }  # fmt: skip
            assert not opens(vote.commitment, "", value)
            assert not opens(vote.commitment, "00" * 32, value)
            assert opens(vote.commitment, vote.salt, value) == (guess is Vote.approve)


def test_A5_the_quorum_opens_the_votes_in_the_ledger_with_what_proves_them(air: Airlock) -> None:
    request = air.consolidating()
    with air.db.read() as session:
        revealed = entries(session, kind="votes.revealed")[0]
        committed = {entry.facts["commitment"] for entry in entries(session, kind="vote.cast")}
    assert revealed.body is not None
    votes = revealed.body["votes"]
    assert {vote["vote"] for vote in votes} == {"approve", "request-changes"}
    for vote in votes:
        value = {name: vote[name] for name in ("request", "turn", "path", "content", "person", "vote", "reason")}
        assert vote["commitment"] in committed
        assert opens(vote["commitment"], vote["salt"], value)
    assert [vote.person for vote in air.view(request, FAY).files[0].votes] == [CHLOE, DAN]


def test_A5_an_author_never_learns_who_voted_what(air: Airlock) -> None:
    for request in (air.consolidating(), air.returned(), air.approved(), air.released()):
        for who in (ANA, BEN):
            view = air.view(request, who)
            assert all(not file.votes and file.own_vote is None for file in view.files)
            assert all(not remark.person for remark in view.comments)


def test_a_returned_request_tells_its_author_why_and_which_file(air: Airlock) -> None:
    request = air.returned()
    view = air.view(request, ANA)
    assert view.problem == "Round the counts"
    assert [(remark.text, remark.decision) for remark in view.comments] == [("Round the counts", True)]
    assert view.files[0].decision is not None


def test_A5_a_turn_recalled_or_rechecked_never_shows_its_votes(air: Airlock) -> None:
    request = air.awaiting()
    air.vote(request, "a.csv", CHLOE, Vote.request_changes, "Looks odd")
    World(air.db, air.settings, air.now).apply(profile(**{"1": {"thresholds": {"small_count": 15}}}))
    air.advance()
    seen = air.view(request, DAN)
    assert (seen.state, seen.turn) == (State.awaiting_review, 2)
    assert not seen.files[0].votes
    own = air.view(request, CHLOE).files[0].own_vote
    assert own is not None
    assert not own.counts
    air.act(requests.withdraw, request, ANA)
    assert not air.view(request, DAN).files[0].votes


def test_A5_nobody_can_decide_before_the_quorum_is_in(air: Airlock) -> None:
    request = _half_way(air, Vote.request_changes)
    for act in (reviews.return_, reviews.reject):
        for who in (CHLOE, DAN):
            with pytest.raises(Refused) as refused:
                air.act(act, request, who, "No")
            assert refused.value.code == "not-consolidating"
