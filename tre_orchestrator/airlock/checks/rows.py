"""Row-level shape: a table that looks like records about single people rather than results. A human must look.

Signs: more rows than the policy allows; a column that names or numbers every row; the same combination of categories
in many rows (in a result each combination stands once); a column of full dates. Long tables of regression results
exist, so none of these is a breach by itself.
"""

from __future__ import annotations

import re
from collections import Counter

from tre_orchestrator.airlock.checks.counts import is_count_header, is_decimal, is_sequence, mostly, whole
from tre_orchestrator.airlock.checks.model import Collector, Finding, Rules, Verdict
from tre_orchestrator.airlock.checks.tables import Table

NAME, VERSION = "row-level", 1

ENOUGH_ROWS = 20
"""Below this a table is too short to tell its shape."""
_REPEATED = 0.1
_FEW = 20
"""A column of whole numbers with more different ones measures something; with fewer it may be a category."""
_DATE = re.compile(r"^\s*(?:\d{4}-\d{2}-\d{2}(?:[T ][\d:.+Z-]+)?|\d{1,2}[/.-]\d{1,2}[/.-]\d{4})\s*$")
_ID_HEADER = re.compile(r"(?i)^\s*(?:.*[ _.-])?(?:id|uuid|guid|key|identifier|pseudo(?:nym)?|hash|record|row)\s*$")


def row_level(table: Table, rules: Rules) -> tuple[Finding, ...]:
    """Findings for one table."""
    found = Collector(NAME)
    size = len(table.rows)
    if size > rules.max_rows:
        found.add("many-rows", Verdict.review, f"The table has {size} rows; a result has up to {rules.max_rows}.")
    if size < ENOUGH_ROWS:
        return found.findings()
    for index, name in enumerate(table.header):
        cells = [cell.strip() for cell in table.column(index)]
        different = len(set(cells))
        if different == size and (_ID_HEADER.match(name) or is_sequence(cells)):
            found.add("numbered-rows", Verdict.review, "A column numbers or names every single row.", column=index + 1)
        dates = sum(_DATE.match(cell) is not None for cell in cells)
        if dates > size / 2 and different > size / 2:
            found.add("dates-per-row", Verdict.review, "A column holds full dates, one per row.", column=index + 1)
    _combinations(table, found)
    return found.findings()


def _combinations(table: Table, found: Collector) -> None:
    """What identifies a row of a result are its categories. Without counts, many different numbers are no category."""
    has_counts = any(map(is_count_header, table.header))
    categories, labelled = [], False
    for index, name in enumerate(table.header):
        cells = table.column(index)
        if is_count_header(name) or mostly(is_decimal, cells):
            continue
        numbers = mostly(_is_whole, cells)
        labelled = labelled or not numbers
        if has_counts or not numbers or len(set(cells)) <= _FEW:
            categories.append(index)
    if not has_counts and not labelled:
        sentence = "Numbers only, and nothing says what each row stands for: it may be one person."
        found.add("unlabelled-rows", Verdict.review, sentence, count=len(table.rows))
    repeated = _repeated(table, categories) if categories else 0
    if repeated > len(table.rows) * _REPEATED:
        sentence = "Rows repeat a combination of categories: in a table of results each stands once."
        found.add("repeated-combinations", Verdict.review, sentence, count=repeated)


def _is_whole(cell: str) -> bool:
    return whole(cell) is not None


def _repeated(table: Table, categories: list[int]) -> int:
    combinations = Counter(tuple(row[index] if index < len(row) else "" for index in categories) for row in table.rows)
    return sum(count - 1 for count in combinations.values())
