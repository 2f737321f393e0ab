"""One request with many files keeps no other one waiting."""

from __future__ import annotations

from tests.airlock.build import CLEAN, Airlock
from tre_orchestrator.airlock.states import State


def test_a_request_with_many_files_keeps_no_other_one_waiting(air: Airlock) -> None:
    large = air.submit(air.draft(), {f"f{n:03}.csv": CLEAN for n in range(90)})
    small = air.submit(air.draft(), {"a.csv": CLEAN})
    air.advance()
    assert air.view(large).state is State.checking
    assert air.view(small).state is State.awaiting_review
