"""Laws of votes and quorum, over arbitrary votes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tre_orchestrator.airlock.votes import (
    Ballot,
    FileDecision,
    Item,
    Outcome,
    Vote,
    decide,
    decide_file,
    standing,
    unvoted,
)

PEOPLE = ["chloe", "dan", "fay", "gil"]
ITEMS = [Item("a", "1"), Item("b", "1")]
ballot = st.builds(
    Ballot,
    path=st.sampled_from(["a", "b"]),
    content=st.sampled_from(["1", "2"]),
    person=st.sampled_from(PEOPLE),
    turn=st.integers(1, 3),
    vote=st.sampled_from(Vote),
)
ballots = st.lists(ballot, max_size=30, unique_by=lambda cast: (cast.path, cast.person, cast.turn))
reviewers = st.frozensets(st.sampled_from(PEOPLE))
quorum = st.integers(2, 4)
turn = st.integers(1, 3)


@given(ballots, reviewers, quorum, turn)
def test_approved_means_k_different_reviewers_said_yes_to_this_content_and_none_no(
    cast: list[Ballot], in_: frozenset[str], k: int, now: int
) -> None:
    for item in ITEMS:
        if decide_file(cast, item, now, in_, k) is FileDecision.approved:
            yes = {
                b.person for b in cast if (b.path, b.content) == (item.path, item.content) and b.vote is Vote.approve
            }
            assert len(yes & in_) >= k
            latest = standing(cast, item, now)
            assert all(latest[person].vote is Vote.approve for person in in_ if person in latest)


@given(ballots, reviewers, quorum, turn, st.randoms())
def test_the_order_of_votes_changes_nothing(
    cast: list[Ballot], in_: frozenset[str], k: int, now: int, random: object
) -> None:
    mixed = list(cast)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert decide(cast, ITEMS, now, in_, k) is decide(mixed, ITEMS, now, in_, k)


@given(ballots, reviewers, quorum, turn)
def test_a_vote_on_other_content_counts_for_nothing(cast: list[Ballot], in_: frozenset[str], k: int, now: int) -> None:
    here = [b for b in cast if b.content == "1"]
    assert decide(cast, ITEMS, now, in_, k) is decide(here, ITEMS, now, in_, k)


@given(ballots, reviewers, quorum, turn)
def test_who_handed_in_no_review_does_not_count(cast: list[Ballot], in_: frozenset[str], k: int, now: int) -> None:
    theirs = [b for b in cast if b.person in in_]
    assert decide(cast, ITEMS, now, in_, k) is decide(theirs, ITEMS, now, in_, k)


@given(ballots, reviewers, quorum, turn)
def test_nothing_is_decided_before_the_quorum(cast: list[Ballot], in_: frozenset[str], k: int, now: int) -> None:
    assert (decide(cast, ITEMS, now, in_, k) is Outcome.open) == (len(in_) < k)


@given(ballots, reviewers, quorum, turn, ballot)
def test_one_more_request_for_changes_never_approves(
    cast: list[Ballot], in_: frozenset[str], k: int, now: int, more: Ballot
) -> None:
    no = Ballot(more.path, more.content, more.person, 3, Vote.request_changes)
    with_no = [b for b in cast if (b.path, b.person, b.turn) != (no.path, no.person, no.turn)] + [no]
    if decide(with_no, ITEMS, 3, in_, k) is Outcome.approved:
        assert no.person not in in_ or no.content == "2"


@given(ballots, quorum)
def test_raising_the_quorum_never_approves_more(cast: list[Ballot], k: int) -> None:
    in_ = frozenset(PEOPLE)
    if decide(cast, ITEMS, 3, in_, k + 1) is Outcome.approved:
        assert decide(cast, ITEMS, 3, in_, k) is Outcome.approved


def test_a_request_without_files_is_never_approved() -> None:
    assert decide([], [], 1, frozenset(PEOPLE), 2) is Outcome.undecided


def test_an_unchanged_file_keeps_its_votes_in_the_next_turn_and_a_changed_one_loses_them() -> None:
    cast = [Ballot(path, "1", person, 1, Vote.approve) for path in ("a", "b") for person in ("chloe", "dan")]
    changed = [Item("a", "1"), Item("b", "2")]
    assert unvoted(cast, changed, 2, "chloe") == ("b",)
    assert decide_file(cast, changed[0], 2, frozenset({"chloe", "dan"}), 2) is FileDecision.approved
    assert decide_file(cast, changed[1], 2, frozenset({"chloe", "dan"}), 2) is FileDecision.incomplete


def test_mixed_votes_are_conflicted() -> None:
    cast = [Ballot("a", "1", "chloe", 1, Vote.approve), Ballot("a", "1", "dan", 1, Vote.request_changes)]
    assert decide_file(cast, ITEMS[0], 1, frozenset({"chloe", "dan"}), 2) is FileDecision.conflicted
