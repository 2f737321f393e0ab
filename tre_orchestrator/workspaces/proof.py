"""The record that a lock was tried and held (N2): what was tried, what the control reached, what the workspace reached.

A target counts only when the positive control reached it: a probe that fails everywhere proves nothing. `judge` is
pure. A proof passes when no target was reached from inside and every essential target was reached by the control.
Standard library only.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

NOT_TESTABLE = "not testable here"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one probe saw: whether it got through, and the errno or words that tell how."""

    target: str
    reached: bool
    detail: str


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One target: whether the control reached it, whether the locked workspace did, and what follows."""

    target: str
    control_reached: bool
    reached_from_lock: bool
    held: bool
    essential: bool = False
    control_detail: str = ""
    lock_detail: str = ""

    @property
    def verdict(self) -> str:
        """In words: held, reached, or not testable here."""
        if self.reached_from_lock:
            return "reached"
        return "held" if self.control_reached else NOT_TESTABLE


@dataclass(frozen=True, slots=True)
class ProofRecord:
    """One try of one lock on one machine. `policy_hash` is the lock digest that was tried.

    `machine` is a digest of the machine's id, `kernel` its release; both are parts of the lock digest too. They are
    empty where a backend has no single machine, and in records from before they were kept.
    """

    policy_hash: str
    at: dt.datetime
    node: str
    passed: bool
    results: tuple[ProbeResult, ...]
    machine: str = ""
    kernel: str = ""

    @property
    def sentence(self) -> str:
        """What a person needs to know of it."""
        reached = [result.target for result in self.results if result.reached_from_lock]
        if reached:
            return f"The lock does not hold: from inside, {', '.join(reached)} could be reached."
        silent = [result.target for result in self.results if result.essential and not result.control_reached]
        if silent:
            return f"The lock could not be proven: the control itself did not reach {', '.join(silent)}."
        tested = sum(result.control_reached for result in self.results)
        return f"The lock held: {tested} targets tried, none reached; {len(self.results) - tested} not testable here."


def judge(
    control: Sequence[Attempt], locked: Sequence[Attempt], essential: frozenset[str]
) -> tuple[bool, tuple[ProbeResult, ...]]:
    """Compare what the control and the locked workspace reached; returns whether the lock is proven, and why.

    A target that one side did not report counts as reached from the lock and not reached by the control.
    """
    outside = {attempt.target: attempt for attempt in control}
    inside = {attempt.target: attempt for attempt in locked}
    results = []
    for target in sorted(outside.keys() | inside.keys() | essential):
        tried = outside.get(target, Attempt(target, False, "the control did not report it"))
        seen = inside.get(target, Attempt(target, True, "the workspace did not report it"))
        held = not seen.reached and (tried.reached or target not in essential)
        results.append(
            ProbeResult(target, tried.reached, seen.reached, held, target in essential, tried.detail, seen.detail)
        )
    return bool(results) and all(result.held for result in results), tuple(results)


def lock_digest(parts: Mapping[str, Any]) -> str:
    """SHA-256 over everything that makes the lock: another filter, argument, mode, kernel or probe is another lock."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def record_from(data: Mapping[str, Any]) -> ProofRecord:
    """A record as the supervisor sent it, or as it was stored."""
    return ProofRecord(
        policy_hash=data["policy_hash"],
        at=dt.datetime.fromisoformat(data["at"]),
        node=data["node"],
        passed=data["passed"],
        results=tuple(ProbeResult(**result) for result in data["results"]),
        machine=data.get("machine", ""),
        kernel=data.get("kernel", ""),
    )


def record_data(record: ProofRecord) -> dict[str, Any]:
    """The record as JSON data."""
    return {**asdict(record), "at": record.at.isoformat()}
