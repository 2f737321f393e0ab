"""Who sees what when: the whole matrix (A5)."""

from __future__ import annotations

import itertools

from tre_orchestrator.airlock.states import State
from tre_orchestrator.airlock.visibility import Item, Kind, Phase, Side, Viewer, phase_of, visible


def test_A5_no_vote_is_seen_by_anybody_else_in_the_blind_phase() -> None:
    for side, opened, turn in itertools.product(Side, (False, True), (1, 2)):
        item = Item(Kind.vote, "chloe", turn, opened=opened)
        assert not visible(item, Viewer("dan", side), turn, Phase.blind)


def test_A5_a_turn_that_ended_unopened_stays_closed_for_good() -> None:
    for kind, side, phase in itertools.product((Kind.vote, Kind.private_comment, Kind.decision), Side, Phase):
        assert not visible(Item(kind, "chloe", 1, opened=False), Viewer("dan", side), 2, phase)


def test_everybody_sees_their_own() -> None:
    for kind, side, phase in itertools.product(Kind, Side, Phase):
        assert visible(Item(kind, "chloe", 1), Viewer("chloe", side), 1, phase)


def test_checkers_see_opened_votes_and_authors_never_do() -> None:
    item = Item(Kind.vote, "chloe", 1, opened=True)
    for phase in (Phase.revealed, Phase.ended):
        assert visible(item, Viewer("dan", Side.checker), 1, phase)
        assert not visible(item, Viewer("ana", Side.author), 1, phase)
        assert not visible(item, Viewer("ben", Side.member), 1, phase)


def test_a_public_comment_reaches_the_author_when_the_turn_ends() -> None:
    item = Item(Kind.public_comment, "chloe", 1, opened=True)
    seen = {phase: visible(item, Viewer("ana", Side.author), 1, phase) for phase in Phase}
    assert seen == {Phase.blind: False, Phase.revealed: False, Phase.ended: True}
    assert visible(item, Viewer("ana", Side.author), 2, Phase.blind)


def test_a_private_comment_never_reaches_the_author_or_the_project() -> None:
    for opened, phase, side in itertools.product((True, False), Phase, (Side.author, Side.member)):
        assert not visible(Item(Kind.private_comment, "chloe", 1, opened=opened), Viewer("ana", side), 2, phase)


def test_an_authors_words_are_seen_by_all_who_see_the_request() -> None:
    for side, phase in itertools.product(Side, Phase):
        item = Item(Kind.public_comment, "ana", 1, by_checker=False)
        assert visible(item, Viewer("someone", side), 1, phase)


def test_the_number_of_reviews_is_for_checkers_only() -> None:
    item = Item(Kind.review_count, "", 1)
    assert visible(item, Viewer("dan", Side.checker), 1, Phase.blind)
    assert not visible(item, Viewer("ana", Side.author), 1, Phase.blind)


def test_nothing_of_a_later_turn_is_seen() -> None:
    for kind, side, phase in itertools.product(Kind, Side, Phase):
        assert not visible(Item(kind, "chloe", 3, opened=True), Viewer("chloe", side), 2, phase)


def test_every_state_before_the_quorum_is_blind() -> None:
    blind = {state for state in State if phase_of(state) is Phase.blind}
    assert {State.awaiting_review, State.in_review} <= blind
    assert State.consolidating not in blind
