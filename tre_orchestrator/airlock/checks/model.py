"""What a check says: findings, and the report on one file. Plain values that cross the sandbox's border as JSON.

A finding holds the rule, the place and a masked sample; never a value from the file (R3). A file's verdict is the
worst of its findings, and `pass` is reached only by a file that every check read completely (A3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

SAMPLE_MAX = 24
PER_RULE = 50
"""Findings kept per rule and file; the last one says how many more there are."""


class Verdict(StrEnum):
    """What follows from a finding: nothing, a human must look, or a rule of the policy is broken."""

    passed = "pass"
    review = "review"
    block = "block"


@dataclass(frozen=True, slots=True)
class Rules:
    """The thresholds of the policy that the checks apply."""

    small_count: int
    max_rows: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement about one place. Rows, columns and lines count from 1; a table's header is row 1."""

    check: str
    rule: str
    verdict: Verdict
    sentence: str
    row: int | None = None
    column: int | None = None
    line: int | None = None
    sample: str = ""
    count: int = 1
    more: bool = False
    """Whether this stands for further places of the same rule that are counted and not listed."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the checks say about one file."""

    kind: str
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings."""
        return worst(finding.verdict for finding in self.findings)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The gravest of `verdicts`; pass when there is none."""
    return max(verdicts, key=_GRAVITY.__getitem__, default=Verdict.passed)


_GRAVITY = {Verdict.passed: 0, Verdict.review: 1, Verdict.block: 2}


def masked(text: str) -> str:
    """The shape of a value, without the value: every digit is `#`, every letter `x`."""
    shape = "".join("#" if char.isdigit() else "x" if char.isalpha() else char for char in text[:SAMPLE_MAX])
    return "".join(char if char in "#x .,;:()%<>/+-_@" else "?" for char in shape)


class Collector:
    """Gathers one check's findings, a bounded number per rule."""

    def __init__(self, check: str) -> None:
        self._check = check
        self._listed = Listed()

    def add(
        self,
        rule: str,
        verdict: Verdict,
        sentence: str,
        *,
        row: int | None = None,
        column: int | None = None,
        line: int | None = None,
        value: str = "",
        count: int = 1,
    ) -> None:
        """Keep a finding; `value` is masked here, so that no check can forget it."""
        self._listed.add(Finding(self._check, rule, verdict, sentence, row, column, line, masked(value), count))

    def findings(self) -> tuple[Finding, ...]:
        """What was gathered, rule by rule."""
        return self._listed.findings()


class Listed:
    """Findings of any number of checks and tables, a bounded number per rule; the gravest verdict is never cut off."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], list[Finding]] = {}
        self._more: dict[tuple[str, str], Finding] = {}

    def add(self, *findings: Finding) -> None:
        """Keep the findings, or count them."""
        for finding in findings:
            rule = finding.check, finding.rule
            kept = self._kept.setdefault(rule, [])
            if len(kept) < PER_RULE and not finding.more:
                kept.append(finding)
                continue
            before = self._more.get(rule)
            count = finding.count + (before.count if before else 0)
            verdict = worst([finding.verdict, *([before.verdict] if before else [])])
            sentence = f"{count} more places break the same rule."
            self._more[rule] = Finding(finding.check, finding.rule, verdict, sentence, count=count, more=True)

    def findings(self) -> tuple[Finding, ...]:
        """What was gathered, rule by rule, and how much more there was."""
        return (*(finding for kept in self._kept.values() for finding in kept), *self._more.values())


def unparsed(sentence: str) -> Finding:
    """The finding of a file that was not read completely: the check `parse` says it."""
    return Finding("parse", "unparsed", Verdict.review, sentence)
