"""A file's parsed preview with the findings painted where they stand: pure.

Findings count rows and columns from 1, the header being row 1, and lines from 1; so does what comes out of here.
"""

from __future__ import annotations

from dataclasses import dataclass

from tre_orchestrator.airlock.preview import Preview
from tre_orchestrator.airlock.views import FindingView

ROWS_SHOWN, LINES_SHOWN = 300, 500
"""A page shows this many; the rest is behind 'more'."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell, and what was found in it."""

    text: str
    found: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A numbered row of a table or line of text; `found` is what concerns all of it."""

    number: int
    cells: tuple[Cell, ...]
    found: str = ""


@dataclass(frozen=True, slots=True)
class Painted:
    """What a page shows of a file. `shows` is table, text, image or nothing; `note` says what is left out."""

    shows: str
    header: tuple[Cell, ...] = ()
    rows: tuple[Row, ...] = ()
    note: str = ""


def painted(preview: Preview, findings: tuple[FindingView, ...]) -> Painted:
    """The preview with its findings."""
    if preview.shows == "table":
        return _table(preview, findings)
    if preview.shows == "text":
        found = {one.line: one.sentence for one in findings if one.line}
        rows = tuple(
            Row(number, (Cell(line),), found.get(number, ""))
            for number, line in enumerate(preview.lines[:LINES_SHOWN], 1)
        )
        more = preview.cut or len(preview.lines) > LINES_SHOWN
        return Painted("text", rows=rows, note=f"Shown are the first {len(rows)} lines." if more else "")
    if preview.shows == "image":
        return Painted("image")
    return Painted("nothing", note="This kind of file cannot be shown here: ask the author for one that can.")


def _table(preview: Preview, findings: tuple[FindingView, ...]) -> Painted:
    places = {(one.row, one.column): one.sentence for one in findings if one.row and one.column}
    rows = {one.row: one.sentence for one in findings if one.row and not one.column}
    columns = {one.column: one.sentence for one in findings if one.column and not one.row}
    lines = {one.line: one.sentence for one in findings if one.line and not one.row}

    def cells(number: int, values: tuple[str, ...]) -> tuple[Cell, ...]:
        return tuple(
            Cell(value, places.get((number, column), "") or (columns.get(column, "") if number == 1 else ""))
            for column, value in enumerate(values, 1)
        )

    body = tuple(
        Row(number, cells(number, values), rows.get(number, "") or lines.get(number, ""))
        for number, values in enumerate(preview.rows[1 : ROWS_SHOWN + 1], 2)
    )
    more = preview.cut or len(preview.rows) > ROWS_SHOWN + 1
    note = f"Shown are the first {len(body)} rows, and at most the first 100 columns." if more else ""
    return Painted("table", header=cells(1, preview.rows[0]), rows=body, note=note)
