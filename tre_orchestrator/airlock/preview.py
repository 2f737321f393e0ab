"""What a checker looks at: a file parsed into plain values, so that researcher content is never served as it is (A6).

Tables become rows of text, text becomes lines, both cut to a size a page can show; everything else shows its kind only.
`read_file` gives the exact bytes that would leave, for people who may see the request, and records nothing: looking is
a checker's job.
"""

from __future__ import annotations

import codecs
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.airlock.access import find_request, no_such_request, standing
from tre_orchestrator.airlock.checks.kinds import EXTENSIONS, PARSED, TABLES, Kind
from tre_orchestrator.airlock.checks.tables import read_delimited
from tre_orchestrator.airlock.store import Store, Stored
from tre_orchestrator.airlock.tables import FileRow, RequestRow
from tre_orchestrator.airlock.visibility import Side
from tre_orchestrator.errors import NotFound

BYTES = 2 << 20
ROWS, COLUMNS, LINES, LINE_CHARS, CELL_CHARS = 1000, 100, 2000, 2000, 500
_IMAGES = frozenset({Kind.png, Kind.jpeg})
_SHOWN_AS_TEXT = PARSED | {Kind.code, Kind.svg, Kind.html, Kind.notebook}


@dataclass(frozen=True, slots=True)
class Preview:
    """A file in plain values. `kind` is the media type; `shows` says which field is filled: table, text or nothing.

    `rows` has the header first, so that row numbers are those of the findings. `cut` says that there is more.
    """

    path: str
    kind: str
    shows: str
    rows: tuple[tuple[str, ...], ...] = ()
    lines: tuple[str, ...] = ()
    cut: bool = False
    image: str = ""
    """The media type of a raster image that can be shown as one, from `read_file`; empty for everything else."""


def read_file(
    session: Session, store: Store, project: str, request_id: int, path: str, viewer: str, now: dt.datetime
) -> Iterator[bytes]:
    """The exact bytes of a file in the request, verified; raises `NotFound` for who may not see the request (P3)."""
    row, file = _find(session, project, request_id, path, viewer, now)
    key = store.unwrap(row.id, row.wrapped_key)
    return store.read(row.id, key, Stored(file.blob, file.size, file.sha256))


def preview(
    session: Session, store: Store, project: str, request_id: int, path: str, viewer: str, now: dt.datetime
) -> Preview:
    """The file at `path` as plain values. Raises `NotFound` as `read_file` does."""
    row, file = _find(session, project, request_id, path, viewer, now)
    kind = _kind(file)
    if kind in _IMAGES:
        return Preview(path, kind.value, "image", image=kind.value)
    if kind not in _SHOWN_AS_TEXT:
        return Preview(path, kind.value, "nothing")
    key = store.unwrap(row.id, row.wrapped_key)
    data, cut = _start(store.read(row.id, key, Stored(file.blob, file.size, file.sha256)))
    text = _decoded(data, cut)
    if text is None:
        return Preview(path, kind.value, "nothing")
    return _table(path, kind, text, cut) if kind in TABLES else _text(path, kind, text, cut)


def _find(
    session: Session, project: str, request_id: int, path: str, viewer: str, now: dt.datetime
) -> tuple[RequestRow, FileRow]:
    row = find_request(session, project, request_id)
    who = standing(session, row, viewer, now)
    if who.side not in (Side.author, Side.checker) or who.invalid:
        raise no_such_request(request_id)
    file = session.scalar(
        select(FileRow).where(FileRow.request_id == row.id, FileRow.turn == row.files_turn, FileRow.path == path)
    )
    if file is None:
        raise NotFound("no-file", "There is no such file in this request.")
    return row, file


def _kind(file: FileRow) -> Kind:
    """The kind that the checks found; a name alone is never believed for an image."""
    if file.kind:
        return Kind(file.kind)
    declared = EXTENSIONS.get(file.path.rpartition(".")[2].lower(), Kind.unknown)
    return declared if declared in PARSED else Kind.unknown


def _start(chunks: Iterator[bytes]) -> tuple[bytes, bool]:
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > BYTES:
            return bytes(data[:BYTES]), True
    return bytes(data), False


def _decoded(data: bytes, cut: bool) -> str | None:
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(data, final=not cut)
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text else text


def _table(path: str, kind: Kind, text: str, cut: bool) -> Preview:
    parsed = read_delimited(text, "\t" if kind is Kind.tsv else ",")
    if not parsed.tables:
        return _text(path, kind, text, cut)
    table = parsed.tables[0]
    every = [table.header, *table.rows]
    rows = tuple(tuple(cell[:CELL_CHARS] for cell in row[:COLUMNS]) for row in islice(every, ROWS))
    return Preview(path, kind.value, "table", rows=rows, cut=cut or len(every) > ROWS or len(table.header) > COLUMNS)


def _text(path: str, kind: Kind, text: str, cut: bool) -> Preview:
    lines = text.splitlines()
    shown = tuple(line[:LINE_CHARS] for line in lines[:LINES])
    long = len(lines) > LINES or any(len(line) > LINE_CHARS for line in lines[:LINES])
    return Preview(path, kind.value, "text", lines=shown, cut=cut or long)
