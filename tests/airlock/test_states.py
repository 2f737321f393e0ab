"""The transition table against a second, hand-written one, over every from × to × who × guard."""

from __future__ import annotations

import itertools

import pytest

from tre_orchestrator.airlock.states import FINAL, TIMEOUTS, TRANSITIONS, Guard, Overdue, State, Who, why_not_move

ALLOWED = """
author: draft>submitted draft>withdrawn submitted>withdrawn checking>withdrawn blocked>submitted
author: blocked>awaiting-review blocked>withdrawn awaiting-review>withdrawn in-review>withdrawn returned>submitted
author: returned>withdrawn release-failed>withdrawn
checker: awaiting-review>in-review consolidating>returned consolidating>rejected approved>revoked releasing>revoked
checker: release-failed>revoked released>revoked release-failed>checking
controller: approved>revoked releasing>revoked release-failed>revoked released>revoked
system: draft>withdrawn submitted>checking submitted>draft checking>blocked checking>awaiting-review
system: blocked>withdrawn awaiting-review>checking in-review>consolidating in-review>checking
system: consolidating>approved returned>withdrawn approved>releasing releasing>released
system: releasing>release-failed release-failed>releasing release-failed>withdrawn released>expired
"""
EXPECTED = {
    (State(source), State(target), Who(who))
    for line in ALLOWED.split("\n")
    if line
    for who, moves in [line.split(": ")]
    for source, target in [move.split(">") for move in moves.split()]
}
EVERY_GUARD = frozenset(Guard)


@pytest.mark.parametrize("source", State)
def test_exactly_the_listed_moves_are_possible(source: State) -> None:
    for target, who in itertools.product(State, Who):
        refusal = why_not_move(source, target, who, EVERY_GUARD)
        assert (refusal is None) == ((source, target, who) in EXPECTED), (source, target, who, refusal)
        assert refusal is None or refusal.sentence


def test_every_guard_is_needed_where_it_stands() -> None:
    for row in TRANSITIONS:
        if row.guard is Guard.none:
            assert why_not_move(row.source, row.target, row.who, frozenset()) is None
            continue
        refusal = why_not_move(row.source, row.target, row.who, EVERY_GUARD - {row.guard})
        assert refusal is not None
        assert refusal.code == row.guard.value


def test_A4_every_state_has_an_exit_for_a_human_and_a_timeout() -> None:
    for state in State:
        out = [row for row in TRANSITIONS if row.source is state]
        if state in FINAL:
            assert not out
            assert state not in TIMEOUTS
        else:
            assert any(row.who is not Who.system for row in out), state
            assert state in TIMEOUTS


def test_a_timeout_that_moves_a_request_has_its_row() -> None:
    target = {Overdue.withdraw: State.withdrawn, Overdue.expire: State.expired}
    for state, timeout in TIMEOUTS.items():
        if timeout.then in target:
            assert why_not_move(state, target[timeout.then], Who.system, frozenset({Guard.timed_out})) is None


def test_P2_software_alone_never_decides() -> None:
    by_software = {row.target: row.guard for row in TRANSITIONS if row.who is Who.system}
    assert by_software[State.approved] is Guard.all_approved
    assert State.rejected not in by_software
    assert State.returned not in by_software
    assert {row.source for row in TRANSITIONS if row.target is State.approved} == {State.consolidating}
    assert {row.source for row in TRANSITIONS if row.target is State.released} == {State.releasing}


def test_every_state_can_be_reached() -> None:
    reached, grown = {State.draft}, True
    while grown:
        fresh = {row.target for row in TRANSITIONS if row.source in reached} - reached
        reached, grown = reached | fresh, bool(fresh)
    assert reached == set(State)
