"""Tables out of CSV, TSV and JSON: complete, or not at all.

`Table.complete` is True only if every byte of the file was understood: right encoding, one header, the same number of
cells in each row. What is left of a file that is not complete is still looked at, and its verdict is never pass (A3).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

CELL_MAX = 1 << 20
_DEPTH = 64
_LINE_END = re.compile(r"[\r\n]")
Keys = tuple[str, ...]


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
    loose: tuple[tuple[Keys, Any], ...]
    """For JSON: every value outside a table, after the keys that lead to it; a key itself comes with no keys."""
    incomplete: str | None


def decoded(data: bytes) -> str | None:
    """The text, or None when the bytes are not clean UTF-8 text, or were not when they were last converted."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text or "\ufffd" in text else text


def read_delimited(text: str, delimiter: str) -> Parsed:
    """A CSV or TSV file. A semicolon is taken as the delimiter when the header has no comma."""
    first = _LINE_END.split(text, maxsplit=1)[0]
    if delimiter == "," and "," not in first and ";" in first:
        delimiter = ";"
    csv.field_size_limit(CELL_MAX)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    incomplete = None
    line, blank = 1, 0
    try:
        for row in reader:
            if row:
                if blank and rows and incomplete is None:
                    incomplete = f"Line {blank} is empty, so there may be two tables in the file."
                rows.append(row)
                lines.append(line)
            else:
                blank = line
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
    loose: list[tuple[Keys, Any]] = []
    complete = all(_walk((), value, tables, loose))
    return Parsed(_joined(tables), tuple(loose), None if complete else "The file is nested too deeply.")


def _walk(keys: Keys, value: Any, tables: list[Table], loose: list[tuple[Keys, Any]]) -> Iterator[bool]:
    if len(keys) > _DEPTH:
        yield False
        return
    table, inner = _as_table(value)
    if table is not None:
        tables.append(table)
        for name, more in inner:
            yield from _walk((*keys, name), more, tables, loose)
    elif isinstance(value, dict):
        for name, more in value.items():
            loose.append(((), name))
            yield from _walk((*keys, name), more, tables, loose)
    elif isinstance(value, list):
        for more in value:
            yield from _walk((*keys, ""), more, tables, loose)
    else:
        loose.append((keys, value))
    yield True


def _joined(tables: list[Table]) -> tuple[Table, ...]:
    """Tables with the same columns are one: pieces of a table are seen as the whole."""
    joined: dict[tuple[str, ...], Table] = {}
    for table in tables:
        joined.setdefault(tuple(table.header), Table(table.header, [])).rows.extend(table.rows)
    return tuple(joined.values())


_Inner = list[tuple[str, Any]]


def _as_table(value: Any) -> tuple[Table | None, _Inner]:
    """A table, and what lies in its cells that is a table or a tree of its own.

    Known are records ([{...}, ...], nested ones too), rows ([[...], ...]), columns ({name: [...]}), rows or columns by
    key ({key: {key: ...}}), and the names of columns beside their rows ({"columns": [...], "data": [[...]]}).
    """
    if isinstance(value, list) and value:
        if all(isinstance(row, dict) for row in value):
            return _records([("", row) for row in value], numbered=False)
        if all(isinstance(row, list) and _flat(row) for row in value):
            return _rows([f"column {index + 1}" for index in range(max(map(len, value)))], value), []
    if isinstance(value, dict) and value:
        names: Any = value.get("columns")
        data: Any = value.get("data")
        if _is_rows(data) and isinstance(names, list) and _flat(names):
            rest = {key: more for key, more in value.items() if key not in ("columns", "data", "index")}
            index = value.get("index")
            if not isinstance(index, list) or len(index) != len(data) or not _flat(index):
                return _rows(list(map(cell_of, names)), data), [*rest.items(), ("index", index)]
            rows = [[key, *row] for key, row in zip(index, data, strict=True)]
            return _rows(["", *map(cell_of, names)], rows), list(rest.items())
        inner = list(value.values())
        if all(isinstance(column, list) and column and _flat(column) for column in inner):
            return _columns(list(value), [list(map(cell_of, column)) for column in inner]), []
        if all(isinstance(part, dict) and part and _flat(part.values()) for part in inner):
            keys = list(dict.fromkeys(key for part in inner for key in part))
            if len(inner) > len(keys):
                return _records(list(value.items()), numbered=True)
            return _columns(["", *value], [keys, *([cell_of(part.get(key)) for key in keys] for part in inner)]), []
    return None, []


def _records(records: list[tuple[str, dict[str, Any]]], *, numbered: bool) -> tuple[Table, _Inner]:
    inner: _Inner = []
    flat: list[dict[str, Any]] = []
    for key, record in records:
        cells: dict[str, Any] = {"": key} if numbered else {}
        _flatten("", record, cells, inner, 0)
        flat.append(cells)
    header = list(dict.fromkeys(name for cells in flat for name in cells))
    return Table(header, [[cell_of(cells.get(name)) for name in header] for cells in flat]), inner


def _flatten(prefix: str, record: dict[str, Any], cells: dict[str, Any], inner: _Inner, depth: int) -> None:
    for name, value in record.items():
        if isinstance(value, dict) and depth < _DEPTH:
            _flatten(f"{prefix}{name}.", value, cells, inner, depth + 1)
        elif isinstance(value, dict | list):
            inner.append((f"{prefix}{name}", value))
        else:
            cells[f"{prefix}{name}"] = value


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, list) and _flat(row) for row in value)


def _rows(names: list[str], rows: list[list[Any]]) -> Table:
    width = max(len(names), *map(len, rows))
    header = [*names, *(f"column {index + 1}" for index in range(len(names), width))]
    return Table(header, [[*map(cell_of, row), *[""] * (width - len(row))] for row in rows])


def _columns(header: list[str], columns: list[list[str]]) -> Table:
    return Table(header, [list(row) for row in zip_longest(*columns, fillvalue="")])


def _flat(values: Any) -> bool:
    return all(not isinstance(value, dict | list) for value in values)


def cell_of(value: Any) -> str:
    """A JSON value as the text of a cell."""
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
