"""Nobody decides on their own work, nobody decides alone, nobody votes twice: by rule and by database (P2, P3)."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError

from tests.airlock.build import BEN, CHLOE, CLEAN, DAN, FAY, HEART, MIA, Airlock
from tests.governance.build import ANA, World, person, project
from tre_orchestrator.airlock import requests, reviews
from tre_orchestrator.airlock.access import find_request
from tre_orchestrator.airlock.states import State
from tre_orchestrator.airlock.tables import FileRow, RequestRow, ReviewRow, VoteRow
from tre_orchestrator.airlock.votes import Vote
from tre_orchestrator.errors import NotFound, Refused, Stale


def test_P2_self_approval_is_refused_even_for_an_author_who_is_a_checker(air: Airlock) -> None:
    World(air.db, air.settings, air.now).apply(person(ANA, "analyst", "checker"))
    request = air.awaiting()
    with pytest.raises(Refused) as refused:
        air.vote(request, "a.csv", ANA)
    assert refused.value.code == "own-request"


def test_P2_a_member_of_the_project_who_is_a_checker_does_not_check_it(air: Airlock) -> None:
    request = air.awaiting()
    with pytest.raises(Refused) as refused:
        air.vote(request, "a.csv", MIA)
    assert refused.value.code == "own-project"


def test_P2_leaving_the_project_after_submission_does_not_make_a_checker(air: Airlock) -> None:
    request = air.awaiting()
    World(air.db, air.settings, air.now).apply(project(members=[{"person": ANA}]))
    with pytest.raises(Refused) as refused:
        air.vote(request, "a.csv", MIA)
    assert refused.value.code == "own-project"


def test_P2_joining_the_project_after_voting_undoes_the_approval(air: Airlock) -> None:
    request = air.approved()
    World(air.db, air.settings, air.now).apply(project(members=[{"person": ANA}, {"person": CHLOE}]))
    air.advance()
    found = air.view(request)
    assert found.state is State.release_failed
    assert "belongs to the project" in found.problem


def test_P2_nobody_votes_twice(air: Airlock) -> None:
    request = air.in_review()
    with pytest.raises(Refused) as refused:
        air.vote(request, "a.csv", CHLOE, Vote.request_changes, "Changed my mind")
    assert refused.value.code == "already-voted"


def test_P2_nobody_reviews_twice_and_one_checker_is_no_quorum(air: Airlock) -> None:
    request = air.awaiting()
    air.review(request, CHLOE)
    assert air.view(request).state is State.in_review
    with pytest.raises(Refused) as refused:
        air.review(request, CHLOE)
    assert refused.value.code == "review-in"
    assert air.view(request).state is State.in_review


def test_P1_a_checker_whose_accreditation_ran_out_does_nothing(air: Airlock) -> None:
    request = air.awaiting()
    World(air.db, air.settings, air.now).apply(person(CHLOE, "checker", accredited="2026-11-22"))
    with pytest.raises(Refused) as refused:
        air.vote(request, "a.csv", CHLOE)
    assert refused.value.code == "accreditation-expired"
    with pytest.raises(NotFound):
        air.view(request, CHLOE)


def test_P3_a_request_is_found_through_its_own_project_only(air: Airlock) -> None:
    request = air.awaiting()
    for who in (BEN, CHLOE, DAN, ANA):
        with pytest.raises(NotFound), air.db.read() as session:
            requests.view(session, "lungs-study", request.id, who, air.now)
    with pytest.raises(NotFound), air.db.write() as session:
        reviews.cast_vote(session, "lungs-study", request.id, "a.csv", DAN, Vote.approve, "", version=1, now=air.now)
    with pytest.raises(NotFound):
        air.vote(request, "b.csv", DAN)


def test_a_vote_on_what_is_no_longer_there_is_stale(air: Airlock) -> None:
    request = air.awaiting()
    seen = air.view(request, CHLOE).version
    air.act(requests.withdraw, request, ANA)
    with pytest.raises(Stale) as stale:
        air.vote(request, "a.csv", CHLOE, version=seen)
    assert stale.value.status == 409
    assert "Withdrawn" in stale.value.sentence


def test_two_checkers_who_looked_at_the_same_time_do_not_disturb_each_other(air: Airlock) -> None:
    request = air.awaiting()
    seen = {who: air.view(request, who).version for who in (CHLOE, DAN)}
    for who in (CHLOE, DAN):
        air.vote(request, "a.csv", who, version=seen[who])
        with air.db.write() as session:
            reviews.submit_review(session, HEART, request.id, who, air.now, version=seen[who])
    assert air.view(request).state is State.approved


def test_a_vote_after_the_decision_is_stale(air: Airlock) -> None:
    request = air.awaiting()
    seen = air.view(request, FAY).version
    air.review(request, CHLOE)
    air.review(request, DAN)
    with pytest.raises(Stale):
        air.vote(request, "a.csv", FAY, version=seen)


def test_agreeing_needs_no_words_and_overriding_does(air: Airlock) -> None:
    request = air.awaiting({"a.csv": CLEAN, "b.txt": b"The model converged."})
    assert [file.verdict for file in request.files] == ["pass", "review"]
    air.vote(request, "a.csv", CHLOE, Vote.approve)
    with pytest.raises(Refused, match="goes against"):
        air.vote(request, "a.csv", DAN, Vote.request_changes)
    with pytest.raises(Refused, match="goes against"):
        air.vote(request, "b.txt", CHLOE, Vote.approve)
    air.vote(request, "b.txt", CHLOE, Vote.approve, "Nothing about people in it")
    air.vote(request, "b.txt", DAN, Vote.request_changes)


def test_a_review_is_complete_or_refused(air: Airlock) -> None:
    request = air.awaiting({"a.csv": CLEAN, "b.csv": CLEAN})
    air.vote(request, "a.csv", CHLOE)
    with pytest.raises(Refused, match=r"b\.csv"), air.db.write() as session:
        reviews.submit_review(session, HEART, request.id, CHLOE, air.now, version=air.version(request))


def test_recall_is_possible_until_a_review_is_in(air: Airlock) -> None:
    request = air.awaiting()
    air.review(request, CHLOE)
    with pytest.raises(Refused) as refused:
        air.act(requests.withdraw, request, ANA)
    assert refused.value.code == "no-review-in"


def _vote_row(air: Airlock, request_id: int, who: str) -> VoteRow:
    with air.db.read() as session:
        file = session.query(FileRow).filter_by(request_id=request_id).one()
        return VoteRow(
            request_id=request_id, author=ANA, file_id=file.id, turn=file.turn, path=file.path, content=file.content,
            person=who, vote="approve", reason="", commitment="0" * 64, salt="0" * 64, cast_at=air.now,
        )  # fmt: skip


def test_P2_the_database_refuses_an_authors_vote_and_review(air: Airlock) -> None:
    request = air.awaiting()
    for row in (
        _vote_row(air, request.id, ANA),
        ReviewRow(request_id=request.id, author=ANA, turn=1, person=ANA, submitted_at=air.now),
    ):
        with pytest.raises(DBAPIError), air.db.write() as session:
            session.add(row)


def test_P2_the_database_refuses_a_vote_that_names_another_author(air: Airlock) -> None:
    request = air.awaiting()
    row = _vote_row(air, request.id, ANA)
    row.author = CHLOE
    with pytest.raises(DBAPIError), air.db.write() as session:
        session.add(row)


def test_P2_the_database_refuses_a_second_vote(air: Airlock) -> None:
    request = air.in_review()
    with pytest.raises(DBAPIError), air.db.write() as session:
        session.add(_vote_row(air, request.id, CHLOE))


@pytest.mark.parametrize("table", ["airlock_votes", "airlock_reviews", "airlock_downloads"])
@pytest.mark.parametrize("act", ["UPDATE {} SET person = 'eve'", "DELETE FROM {}"])
def test_the_database_refuses_to_change_what_people_did(air: Airlock, table: str, act: str) -> None:
    from tre_orchestrator.airlock.release import open_release

    request = air.released()
    open_release(air.db, air.store, HEART, request.id, ANA, air.now)
    with pytest.raises(DBAPIError, match="never changed"), air.db.write() as session:
        session.execute(text(act.format(table)))


def test_P2_a_vote_put_into_the_database_is_found_and_decides_nothing(air: Airlock) -> None:
    request = air.awaiting()
    with air.db.write() as session:
        session.add(_vote_row(air, request.id, CHLOE))
        session.add(ReviewRow(request_id=request.id, author=ANA, turn=1, person=CHLOE, submitted_at=air.now))
    air.vote(request, "a.csv", DAN)
    from tre_orchestrator.errors import Unavailable

    with pytest.raises(Unavailable, match="ledger"), air.db.write() as session:
        reviews.submit_review(session, HEART, request.id, DAN, air.now, version=air.version(request))
    assert air.view(request).state is State.in_review


def test_P2_votes_moved_to_another_request_do_not_count(air: Airlock) -> None:
    first = air.approved()
    with air.db.write() as session:
        session.execute(update(RequestRow).where(RequestRow.id == first.id).values(files_turn=1, state="approved"))
        row = find_request(session, HEART, first.id)
        assert row.state_since <= air.now + dt.timedelta(seconds=1)
    second = air.awaiting()
    with air.db.write() as session:
        session.execute(update(RequestRow).where(RequestRow.id == second.id).values(state="approved"))
    air.advance()
    assert air.view(second).state is State.release_failed
    assert air.view(first).state is State.released
