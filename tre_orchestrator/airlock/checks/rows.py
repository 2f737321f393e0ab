"""Row-level shape: a table that looks like records about single people rather than results. A human must look.

Signs: more rows than the policy allows; a column that names or numbers every row; the same combination of categories
in many rows (in a result each combination stands once); many categories and few of their combinations, without counts
(in a result they fill a grid); a column of full dates. A table with many columns is looked at with rows and columns
exchanged too. Long tables of regression results exist, so none of these is a breach by itself.
"""

from __future__ import annotations

import re
from collections import Counter
from math import prod

import re2

from tre_orchestrator.airlock.checks.counts import is_count_header
from tre_orchestrator.airlock.checks.figures import is_decimal, is_sequence, mostly, whole
from tre_orchestrator.airlock.checks.model import Collector, Finding, Rules, Verdict
from tre_orchestrator.airlock.checks.tables import Table

NAME, VERSION = "row-level", 2

ENOUGH_ROWS = 20
"""Below this a table is too short to tell its shape; names and dates per row tell from a few rows on."""
_A_FEW = 3
_REPEATED = 0.1
_FEW = 20
"""A column of whole numbers with more different ones measures something; with fewer it may be a category."""
_DATE = re.compile(r"^\s*(?:\d{4}-\d{2}-\d{2}(?:[T ][\d:.+Z-]+)?|\d{1,2}[/.-]\d{1,2}[/.-]\d{4})\s*$")
_ID_HEADER = re2.compile(
    r"(?i)^\s*(?:.*[ _.-])?(?:id|uuid|guid|key|identifier|pseudo(?:nym)?|hash|record|row"
    r"|nhs[ _.-]?(?:number|no)|mrn)\s*$"
)
_CROSSED = 3
"""From so many categories on, a grid is expected; with twice as many cells as rows it is none."""
_CELLS_PER_ROW = 2


def row_level(table: Table, rules: Rules) -> tuple[Finding, ...]:
    """Findings for one table."""
    found = Collector(NAME)
    size = len(table.rows)
    if size > rules.max_rows:
        found.add("many-rows", Verdict.review, f"The table has {size} rows; a result has up to {rules.max_rows}.")
    if len(table.header) > rules.max_rows:
        sentence = f"The table has {len(table.header)} columns; a result has up to {rules.max_rows}."
        found.add("many-columns", Verdict.review, sentence)
    elif len(table.header) > max(size, ENOUGH_ROWS) and _is_exchanged(table):
        sentence = "There are more columns than rows, and each column looks like a record about one person."
        found.add("columns-as-rows", Verdict.review, sentence, count=len(table.header) - 1)
    _shape(table, found)
    return found.findings()


def is_date(cell: str) -> bool:
    """Whether a cell holds a full date."""
    return _DATE.match(cell) is not None


def _shape(table: Table, found: Collector) -> None:
    size = len(table.rows)
    if size < _A_FEW:
        return
    for index, name in enumerate(table.header):
        cells = [cell.strip() for cell in table.column(index)]
        different = len(set(cells))
        numbered = bool(_ID_HEADER.match(name)) or (size >= ENOUGH_ROWS and is_sequence(cells))
        if different > size * (1 - _REPEATED) and numbered:
            found.add("numbered-rows", Verdict.review, "A column numbers or names every single row.", column=index + 1)
        dates = sum(map(is_date, cells))
        if dates > size / 2 and different > size / 2:
            found.add("dates-per-row", Verdict.review, "A column holds full dates, one per row.", column=index + 1)
    if size >= ENOUGH_ROWS:
        _combinations(table, found)


def _is_exchanged(table: Table) -> bool:
    """Whether the table with rows and columns exchanged has the shape of records."""
    found = Collector(NAME)
    names, width = table.column(0), range(1, len(table.header))
    _shape(Table(names, [[row[index] if index < len(row) else "" for row in table.rows] for index in width]), found)
    return bool(found.findings())


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
    levels = [len({row[index] if index < len(row) else "" for row in table.rows}) for index in categories]
    crossed = [count for count in levels if 1 < count <= len(table.rows) / 2]
    if not has_counts and len(crossed) >= _CROSSED and prod(crossed) > _CELLS_PER_ROW * len(table.rows):
        sentence = "Many categories, few of their combinations and no counts: each row may be one person."
        found.add("sparse-combinations", Verdict.review, sentence, count=len(table.rows))


def _is_whole(cell: str) -> bool:
    return whole(cell) is not None


def _repeated(table: Table, categories: list[int]) -> int:
    combinations = Counter(tuple(row[index] if index < len(row) else "" for index in categories) for row in table.rows)
    return sum(count - 1 for count in combinations.values())
