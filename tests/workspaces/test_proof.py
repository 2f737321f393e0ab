"""N2: what counts as a proof, as a pure rule."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from tre_orchestrator.workspaces.proof import (
    Attempt,
    ProofRecord,
    judge,
    lock_digest,
    record_data,
    record_from,
)

NAMES = st.sampled_from(["network", "dns", "metadata", "dataset", "keys"])
ATTEMPTS = st.lists(st.builds(Attempt, NAMES, st.booleans(), st.just("")), unique_by=lambda attempt: attempt.target)


def attempt(target: str, reached: bool) -> Attempt:
    return Attempt(target, reached, "")


def test_a_lock_is_proven_when_the_control_reached_and_the_workspace_did_not() -> None:
    passed, results = judge([attempt("network", True)], [attempt("network", False)], frozenset({"network"}))
    assert passed
    assert results[0].verdict == "held"


def test_N2_a_target_reached_from_inside_fails_the_proof() -> None:
    passed, results = judge([attempt("network", True)], [attempt("network", True)], frozenset())
    assert not passed
    assert results[0].verdict == "reached"


def test_N2_a_probe_that_fails_everywhere_proves_nothing() -> None:
    passed, results = judge([attempt("network", False)], [attempt("network", False)], frozenset({"network"}))
    assert not passed
    assert results[0].verdict == "not testable here"
    passed, _ = judge([attempt("vsock", False)], [attempt("vsock", False)], frozenset())
    assert passed, "a target that this machine does not have is no reason to refuse, when it is not essential"


def test_N2_what_was_not_reported_counts_against_the_lock() -> None:
    assert not judge([attempt("network", True)], [], frozenset())[0]
    assert not judge([], [], frozenset({"network"}))[0]
    assert not judge([], [], frozenset())[0]


@given(ATTEMPTS, ATTEMPTS, st.frozensets(NAMES))
def test_N2_no_proof_with_anything_reached_or_an_essential_target_untested(
    control: list[Attempt], locked: list[Attempt], essential: frozenset[str]
) -> None:
    passed, results = judge(control, locked, essential)
    reached = {attempt.target for attempt in locked if attempt.reached}
    tested = {attempt.target for attempt in control if attempt.reached}
    assert {result.target for result in results} >= reached | essential
    if passed:
        assert not reached
        assert essential <= tested


def test_the_record_says_it_in_a_sentence_and_survives_storage() -> None:
    passed, results = judge(
        [attempt("network", True), attempt("vsock", False)],
        [attempt("network", False), attempt("vsock", False)],
        frozenset(),
    )
    at = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    record = ProofRecord("0" * 64, at, "node", passed, results)
    assert record.sentence == "The lock held: 1 targets tried, none reached; 1 not testable here."
    assert record_from(record_data(record)) == record
    bound = ProofRecord("0" * 64, at, "node", passed, results, "machine", "6.1.0")
    assert record_from(record_data(bound)) == bound
    _, broken = judge([attempt("network", True)], [attempt("network", True)], frozenset())
    assert "network could be reached" in ProofRecord("0" * 64, at, "node", False, broken).sentence
    _, silent = judge([attempt("dns", False)], [attempt("dns", False)], frozenset({"dns"}))
    assert "did not reach dns" in ProofRecord("0" * 64, at, "node", False, silent).sentence


@given(st.dictionaries(st.text(), st.text()), st.dictionaries(st.text(), st.text()))
def test_the_digest_names_the_lock(one: dict[str, str], other: dict[str, str]) -> None:
    assert (lock_digest(one) == lock_digest(other)) == (one == other)
