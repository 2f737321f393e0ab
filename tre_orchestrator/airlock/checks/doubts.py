"""Whether a table was split as its author meant it: one header, one delimiter, one table in the file.

A table that may have been split wrongly was not checked, whatever the checks found in it: its file is `unparsed` (A3).
"""

from __future__ import annotations

import re
from itertools import islice

from tre_orchestrator.airlock.checks.counts import HEADER_MAX, is_count_header
from tre_orchestrator.airlock.checks.figures import is_decimal, is_mask, mask_below, mostly, whole
from tre_orchestrator.airlock.checks.rows import is_date
from tre_orchestrator.airlock.checks.tables import Table

_YEARS = range(1900, 2101)
_INSIDE = re.compile(r"[;|\t\r\n]")
_BETWEEN = re.compile(r"[;|\t\r\n,:^~\s]+")
_SECOND = 3
"""So many rows below the header can be a second one."""


def why_not_one_table(table: Table) -> str | None:
    """Why the table may not be what its author meant, or None."""
    if table.header[0].strip().lower().startswith("sep="):
        return "The first row tells a spreadsheet the delimiter, so it is not known what the columns are."
    if not has_header(table.header):
        return "The first row is no header, so it is not known what the columns are."
    if any(len(" ".join(name.split())) > HEADER_MAX for name in table.header):
        return f"The name of a column is longer than {HEADER_MAX} characters."
    if any(not name.strip() for name in table.header[1:]):
        return "A column has no name, so it is not known what it holds."
    if len({name.strip().lower() for name in table.header}) != len(table.header):
        return "Two columns have the same name: the header may take more than one row."
    if len(table.header) == 1 and _holds_several(table):
        return "There is one column with several values in each cell: the delimiter is another one."
    if any(map(_is_split, table.header)) or any(_is_split(cell) for row in table.rows for cell in row):
        return "A cell holds several values with a delimiter between them."
    if _has_second_header(table):
        return "The header may take more than one row, so it is not known what the columns are."
    return None


def has_header(header: list[str]) -> bool:
    """Whether a first row can be a header: it has names, and no value among them but years."""
    numbers = [whole(name) for name in header]
    if not any(name.strip() and number is None for name, number in zip(header, numbers, strict=True)):
        return False
    return not any(map(_is_value, header)) and all(number is None or number in _YEARS for number in numbers)


def _is_value(name: str) -> bool:
    if not name.strip() or name.strip().lower() in ("c", "x"):
        return False
    return is_decimal(name) or is_date(name) or is_mask(name) or mask_below(name) is not None


def _is_split(cell: str) -> bool:
    """Whether a cell has numbers between delimiters that are not the table's."""
    pieces = _INSIDE.split(cell)
    return len(pieces) > 1 and any(_is_number(piece) for piece in pieces)


def _holds_several(table: Table) -> bool:
    cells = [table.header[0], *table.column(0)]
    several = sum(
        len(_BETWEEN.split(cell.strip())) > 1 and any(map(_is_number, _BETWEEN.split(cell))) for cell in cells
    )
    return several > len(table.rows) / 2


def _is_number(text: str) -> bool:
    return whole(text) is not None or is_decimal(text)


def _has_second_header(table: Table) -> bool:
    for index in range(1, len(table.header)):
        cells = table.column(index)
        first = [cell for cell in islice(cells, _SECOND) if cell.strip()]
        if any(is_count_header(cell) for cell in first) and mostly(_is_number, cells[1:]):
            return True
    return False
