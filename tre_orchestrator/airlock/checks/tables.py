"""Tables out of CSV, TSV and JSON: complete, or not at all.

`Table.complete` is True only if every byte of the file was understood: right encoding, one header, the same number of
cells in each row. What is left of a file that is not complete is still looked at, and its verdict is never pass (A3).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

CELL_MAX = 1 << 20
_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Table:
    """A header and rows of text cells; `lines[i]` is the line on which row i begins, when the file has lines."""

    header: list[str]
    rows: list[list[str]]
    lines: list[int] = field(default_factory=list)

    def row_number(self, index: int) -> int:
        """How people count rows: the header is row 1."""
        return index + 2

    def column(self, index: int) -> list[str]:
        """The cells of a column; a row that is too short has an empty one."""
        return [row[index] if index < len(row) else "" for row in self.rows]


@dataclass(frozen=True, slots=True)
class Parsed:
    """What was read: the tables, loose text, and why the file could not be read completely (None: it could)."""

    tables: tuple[Table, ...]
    loose: tuple[tuple[str, Any], ...]
    """For JSON: (key, value) of every value outside a table."""
    incomplete: str | None


def decoded(data: bytes) -> str | None:
    """The text, or None when the bytes are not clean UTF-8 text."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text else text


def read_delimited(text: str, delimiter: str) -> Parsed:
    """A CSV or TSV file. A semicolon is taken as the delimiter when the header has no comma."""
    first = text.split("\n", 1)[0]
    if delimiter == "," and "," not in first and ";" in first:
        delimiter = ";"
    csv.field_size_limit(CELL_MAX)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    incomplete = None
    line = 1
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error:
        incomplete = f"The table cannot be read from line {line} on."
    if not rows:
        return Parsed((), (), incomplete or "There is no table in the file.")
    header, body = rows[0], rows[1:]
    ragged = next((index for index, row in enumerate(body) if len(row) != len(header)), None)
    if ragged is not None and incomplete is None:
        incomplete = f"Row {ragged + 2} has another number of cells than the header."
    return Parsed((Table(header, body, lines[1:]),), (), incomplete)


def read_json(text: str) -> Parsed:
    """A JSON document: every list of records, every set of columns, and whatever stands outside of them."""
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return Parsed((), (), "The file is not JSON that every reader understands the same way.")
    tables: list[Table] = []
    loose: list[tuple[str, Any]] = []
    complete = all(_walk("", value, tables, loose, 0))
    return Parsed(tuple(tables), tuple(loose), None if complete else "The file is nested too deeply.")


def _walk(key: str, value: Any, tables: list[Table], loose: list[tuple[str, Any]], depth: int) -> Iterator[bool]:
    if depth > _DEPTH:
        yield False
        return
    table = _as_table(value)
    if table is not None:
        tables.append(table)
    elif isinstance(value, dict):
        for name, inner in value.items():
            loose.append(("", name))
            yield from _walk(name, inner, tables, loose, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(key, inner, tables, loose, depth + 1)
    else:
        loose.append((key, value))
    yield True


def _as_table(value: Any) -> Table | None:
    """Records ([{...}, ...]), rows ([[...], ...]), columns ({name: [...]}), or nested columns ({name: {key: ...}})."""
    if isinstance(value, list) and value:
        if all(isinstance(row, dict) and _flat(row.values()) for row in value):
            header = list(dict.fromkeys(name for row in value for name in row))
            return Table(header, [[_cell(row.get(name)) for name in header] for row in value])
        if all(isinstance(row, list) and _flat(row) for row in value):
            width = max(len(row) for row in value)
            header = [f"column {index + 1}" for index in range(width)]
            return Table(header, [[_cell(cell) for cell in row] + [""] * (width - len(row)) for row in value])
    if isinstance(value, dict) and value:
        inner = list(value.values())
        if all(isinstance(column, list) and column and _flat(column) for column in inner):
            return _columns(list(value), [list(map(_cell, column)) for column in inner])
        if all(isinstance(column, dict) and column and _flat(column.values()) for column in inner):
            keys = list(inner[0])
            if all(list(column) == keys for column in inner):
                return _columns(["", *value], [keys, *([_cell(cell) for cell in column.values()] for column in inner)])
    return None


def _columns(header: list[str], columns: list[list[str]]) -> Table | None:
    if len({len(column) for column in columns}) != 1:
        return None
    return Table(header, [list(row) for row in zip(*columns, strict=True)])


def _flat(values: Any) -> bool:
    return all(not isinstance(value, dict | list) for value in values)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key that stands twice")
    return result


def _no_constant(text: str) -> Any:
    raise ValueError(text)
