"""Small counts: a number of people from 1 to below the policy's threshold (the rule of most TREs; SDAP handbook).

A column is one of counts when its header says so, a row when its label does; there a small whole number breaks the
policy, and so it does in a cell that says itself that it counts (`figures`). The same number anywhere else needs a
human, unless most of its column is decimal numbers: then it measures. A mask that is finer than the policy's needs a
human too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

from tre_orchestrator.airlock.checks.figures import (
    counts_in_line,
    is_decimal,
    is_sequence,
    leading,
    mask_below,
    mostly,
    said_counts,
    whole,
)
from tre_orchestrator.airlock.checks.model import Collector, Finding, Rules, Verdict
from tre_orchestrator.airlock.checks.plain import plain
from tre_orchestrator.airlock.checks.tables import Keys, Table, cell_of

NAME, VERSION = "small-counts", 2

HEADER_MAX = 200
"""A longer text is no name of a column."""
_COUNT_WORDS = (
    "n|nn|num|number|count|counts|cnt|freq|frequency|frequencies|total|totals|size|events?|cases|deaths|died|patients?|"
    "people|persons|participants?|subjects?|individuals|admissions?|attendances?|episodes?|obs|observations?|records?|"
    "numerator|denominator|nobs|at[ _]risk|anzahl|antal|nombre|effectif"
)
_COUNT_HEADER = re2.compile(
    rf"(?i)^\s*(?:(?:{_COUNT_WORDS})|(?:n|no|num|number|count|total)[ _.-](?:of[ _.-])?.*"
    rf"|.*[ _.-](?:n|count|counts|cnt|freq|total|number)|.*\((?:n|n, ?%|n \(%\)|count)\)|n ?\(%\)|#.*)\s*$"
)
_CAMEL = re2.compile(r"^\s*(?:n|num|count)[A-Z][A-Za-z]*\s*$|^.*[a-z](?:N|Count|Counts|Total)\s*$")
_NAMES_ROWS = re2.compile(
    r"(?i)^\s*(?:stat|stats|statistic|statistics|measure|metric|variable|name|type|indicator|key|term|what|quantity)\s*$"
)


@lru_cache(maxsize=4096)
def is_count_header(text: str) -> bool:
    """Whether a column of this name holds counts of people or events."""
    name = " ".join(plain(text).split())
    if len(name) > HEADER_MAX:
        return False
    return _COUNT_HEADER.match(name) is not None or _CAMEL.match(name) is not None


def small_counts(table: Table, rules: Rules) -> tuple[Finding, ...]:
    """Findings for one table."""
    found = Collector(NAME)
    labels = _labelled(table)
    for column, name in enumerate(table.header, 1):
        if any(_small(number, rules) for number in said_counts(name)):
            found.add("small-count", Verdict.block, _certain(rules), row=1, column=column, value=name)
    for index, name in enumerate(table.header):
        cells = table.column(index)
        of_counts = is_count_header(name)
        silent = mostly(is_decimal, cells) or (index == 0 and is_sequence(cells))
        for row, cell in enumerate(cells):
            labelled = labels[row] and bool(index)
            place = {"row": table.row_number(row), "column": index + 1}
            verdict = _verdict(cell, rules, of_counts=of_counts or labelled, first=index == 0)
            if verdict is Verdict.block:
                found.add("small-count", verdict, _certain(rules), value=cell, **place)
            elif verdict is Verdict.review and mask_below(cell) is not None:
                if of_counts or labelled or not silent:
                    found.add("narrow-mask", verdict, _mask(rules), value=cell, **place)
            elif verdict is Verdict.review and not silent:
                found.add("maybe-small-count", verdict, _doubt(rules), value=cell, **place)
    return found.findings()


def small_loose_counts(loose: tuple[tuple[Keys, Any], ...], rules: Rules) -> tuple[Finding, ...]:
    """Findings for the values of a JSON document that stand outside its tables."""
    found = Collector(NAME)
    for keys, value in loose:
        if isinstance(value, bool):
            continue
        cell = cell_of(value)
        verdict = _verdict(cell, rules, of_counts=any(map(is_count_header, filter(None, keys))), first=not keys)
        if verdict is Verdict.block:
            found.add("small-count", verdict, _certain(rules), value=cell)
        elif verdict is Verdict.review:
            mask = mask_below(cell) is not None
            rule, sentence = ("narrow-mask", _mask(rules)) if mask else ("maybe-small-count", _doubt(rules))
            found.add(rule, verdict, sentence, value=cell)
    return found.findings()


def small_counts_in_text(lines: list[str], rules: Rules) -> tuple[Finding, ...]:
    """Findings for `n = 3`, `3 (2.5%)` and the like in running text."""
    found = Collector(NAME)
    for number, line in enumerate(lines, 1):
        for count in counts_in_line(line):
            if _small(count, rules):
                found.add("small-count", Verdict.block, _certain(rules), line=number, value=str(count))
    return found.findings()


def _verdict(cell: str, rules: Rules, *, of_counts: bool, first: bool) -> Verdict:
    """What a cell is by itself: a breach, a doubt, or nothing."""
    if not cell or cell.isspace():
        return Verdict.passed
    if cell.isascii() and cell.isdigit():
        small = _small(whole(cell), rules)
        return (Verdict.block if of_counts else Verdict.review) if small else Verdict.passed
    below = mask_below(cell)
    if below is not None:
        return Verdict.review if below < rules.small_count and (of_counts or not first) else Verdict.passed
    if any(_small(number, rules) for number in said_counts(cell)):
        return Verdict.block
    number = whole(cell)
    if number is not None:
        small = _small(number, rules)
        return (Verdict.block if of_counts else Verdict.review) if small else Verdict.passed
    if of_counts and not said_counts(cell) and _small(leading(cell), rules):
        return Verdict.block
    return Verdict.passed


def _labelled(table: Table) -> list[bool]:
    """For each row whether its label says that it holds counts: its first cell, or that of a column of such names."""
    naming = {0, *(index for index, name in enumerate(table.header) if _NAMES_ROWS.match(plain(name)))}
    columns = [table.column(index) for index in naming]
    return [any(is_count_header(column[row]) for column in columns) for row in range(len(table.rows))]


def _small(number: int | None, rules: Rules) -> bool:
    return number is not None and 1 <= number < rules.small_count


def _certain(rules: Rules) -> str:
    return f"A count from 1 to {rules.small_count - 1}."


def _doubt(rules: Rules) -> str:
    return f"A whole number from 1 to {rules.small_count - 1}: is it a number of people?"


def _mask(rules: Rules) -> str:
    return f"This mask says more than one at {rules.small_count}, the smallest count that the policy allows."
