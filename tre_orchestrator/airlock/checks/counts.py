"""Small counts: a number of people from 1 to below the policy's threshold (the rule of most TREs; SDAP handbook).

A column is one of counts when its header says so, a row when its label does; there a small whole number breaks the
policy. The same number anywhere else needs a human, unless most of its column is decimal numbers: then it measures.
`n (%)` cells are read; masks such as `<5`, `*`, `c` and `[REDACTED]` are known as what they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import re2

from tre_orchestrator.airlock.checks.model import Collector, Finding, Rules, Verdict
from tre_orchestrator.airlock.checks.tables import Table

NAME, VERSION = "small-counts", 1

_DIGITS = 18
"""A number with more digits counts nobody."""
_HEADER, _CELL = 200, 60
"""Longer texts are no name of a column and no number; no pattern below sees them."""
# Per cell the standard library's `re` is ten times faster than RE2 from Python; the patterns for cells are anchored and
# have no nested repeats, so they are linear too.

_COUNT_WORDS = (
    "n|num|number|count|counts|freq|frequency|frequencies|total|totals|events?|cases|deaths|died|patients?|people|"
    "persons|participants?|subjects?|admissions?|attendances?|episodes?|obs|observations?|records?|numerator|"
    "denominator|nobs|at[ _]risk"
)
_COUNT_HEADER = re2.compile(
    rf"(?i)^\s*(?:(?:{_COUNT_WORDS})|(?:n|no|num|number|count|total)[ _.-](?:of[ _.-])?.*"
    rf"|.*[ _.-](?:n|count|counts|freq|total)|.*\((?:n|n, ?%|n \(%\)|count)\)|n ?\(%\)|#.*)\s*$"
)
_WHOLE = re.compile(r"^\s*(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.0+)?\s*$")
_DECIMAL = re.compile(r"^\s*[-+]?(?:\d+\.\d*|\.\d+|\d+(?:\.\d+)?[eE][-+]?\d+)\s*$")
_WITH_PERCENT = re.compile(r"^\s*((?:\d{1,3}(?:,\d{3})+|\d+))\s*\(\s*<?\d+(?:\.\d+)?\s*%?\s*\)\s*$")
_MASK = re.compile(
    r"(?i)|[<≤]\s?=?\s?\d+|\*+|c|x|-+|–|\.\.?|:|\[?redacted\]?|\[?suppressed\]?|masked|na|n/a|nan|null|none"
)
_IN_TEXT = re2.compile(r"(?i)\b(?:n|count|total|freq)\s*[=:]\s*(\d{1,6})\b")


@lru_cache(maxsize=4096)
def is_count_header(text: str) -> bool:
    """Whether a column of this name holds counts of people or events."""
    return len(text) <= _HEADER and _COUNT_HEADER.match(text) is not None


def is_mask(cell: str) -> bool:
    """Whether a cell is empty or stands for a value that was taken out."""
    return len(cell) <= _CELL and _MASK.fullmatch(cell.strip()) is not None


def whole(cell: str) -> int | None:
    """The whole number in a cell, or None."""
    if cell.isascii() and cell.isdigit():
        return int(cell) if len(cell) <= _DIGITS else None
    if len(cell) > _CELL or _WHOLE.match(cell) is None:
        return None
    digits = cell.strip().replace(",", "").partition(".")[0]
    return int(digits) if len(digits) <= _DIGITS else None


def is_decimal(cell: str) -> bool:
    """Whether a cell holds a number that is not whole: its column then measures and does not count."""
    return len(cell) <= _CELL and _DECIMAL.match(cell) is not None and whole(cell) is None


def is_sequence(cells: list[str]) -> bool:
    """Whether a column counts the rows from 0 or 1, as the index of a data frame does."""
    numbers = [whole(cell) for cell in cells]
    present = [number for number in numbers if number is not None]
    if not present or len(present) != len(cells):
        return False
    return all(after - before == 1 for before, after in pairwise(present)) and present[0] <= 1


def mostly(test: Callable[[str], bool], cells: list[str]) -> bool:
    """Whether a test holds for more than half of the cells that are no masks."""
    known = [cell for cell in cells if not is_mask(cell)]
    return bool(known) and sum(map(test, known)) > len(known) / 2


def small_counts(table: Table, rules: Rules) -> tuple[Finding, ...]:
    """Findings for one table."""
    found = Collector(NAME)
    labels = [is_count_header(label) for label in table.column(0)]
    for index, name in enumerate(table.header):
        cells = table.column(index)
        of_counts = is_count_header(name)
        silent = mostly(is_decimal, cells) or (index == 0 and is_sequence(cells))
        for row, cell in enumerate(cells):
            number, shared = whole(cell), _WITH_PERCENT.match(cell) if len(cell) <= _CELL else None
            value = int(shared.group(1).replace(",", "")) if shared else number
            if value is None or not 1 <= value < rules.small_count:
                continue
            place = {"row": table.row_number(row), "column": index + 1}
            if of_counts or shared or (labels[row] and index):
                sentence = f"A count from 1 to {rules.small_count - 1}."
                found.add("small-count", Verdict.block, sentence, value=cell, **place)
            elif not silent:
                found.add("maybe-small-count", Verdict.review, _doubt(rules), value=cell, **place)
    return found.findings()


def small_loose_counts(loose: tuple[tuple[str, Any], ...], rules: Rules) -> tuple[Finding, ...]:
    """Findings for the values of a JSON document that stand outside its tables."""
    found = Collector(NAME)
    for key, value in loose:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < rules.small_count:
            continue
        if is_count_header(key):
            found.add("small-count", Verdict.block, f"A count from 1 to {rules.small_count - 1}.", value=str(value))
        else:
            found.add("maybe-small-count", Verdict.review, _doubt(rules), value=str(value))
    return found.findings()


def small_counts_in_text(lines: list[str], rules: Rules) -> tuple[Finding, ...]:
    """Findings for `n = 3` and the like in running text."""
    found = Collector(NAME)
    for number, line in enumerate(lines, 1):
        for match in _IN_TEXT.finditer(line):
            if 1 <= int(match.group(1)) < rules.small_count:
                sentence = f"A count from 1 to {rules.small_count - 1} in the text."
                found.add("small-count", Verdict.block, sentence, line=number, value=match.group(1))
    return found.findings()


def _doubt(rules: Rules) -> str:
    return f"A whole number from 1 to {rules.small_count - 1}: is it a number of people?"
