"""What a file really is: its first bytes, libmagic and its name must agree, and the kind must be on the allow-list.

Kinds that carry data by design (archives, pickles, databases, columnar files, office files) are stopped whatever they
are called. A kind that is allowed but that the checks cannot read completely is `unparsed`: a human must look.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from tre_orchestrator.airlock.checks.model import Collector, Finding, Rules, Verdict

NAME, VERSION = "type-and-size", 1


class Kind(StrEnum):
    """The kinds that may leave, by media type."""

    csv = "text/csv"
    tsv = "text/tab-separated-values"
    json = "application/json"
    text = "text/plain"
    png = "image/png"
    jpeg = "image/jpeg"
    svg = "image/svg+xml"
    html = "text/html"
    pdf = "application/pdf"
    notebook = "application/x-ipynb+json"
    code = "text/x-code"
    unknown = "application/octet-stream"


TABLES = frozenset({Kind.csv, Kind.tsv})
PARSED = TABLES | {Kind.json, Kind.text}
"""The kinds that the checks read completely."""

EXTENSIONS: dict[str, Kind] = {
    "csv": Kind.csv,
    "tsv": Kind.tsv,
    "json": Kind.json,
    "txt": Kind.text,
    "md": Kind.text,
    "log": Kind.text,
    "png": Kind.png,
    "jpg": Kind.jpeg,
    "jpeg": Kind.jpeg,
    "svg": Kind.svg,
    "html": Kind.html,
    "pdf": Kind.pdf,
    "ipynb": Kind.notebook,
    "py": Kind.code,
    "r": Kind.code,
    "sql": Kind.code,
    "do": Kind.code,
}
_TEXTUAL = PARSED | {Kind.svg, Kind.html, Kind.notebook, Kind.code}

_CARRIERS: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("an archive or an office file (zip)", lambda data: data[:4] in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")),
    ("a gzip file", lambda data: data[:2] == b"\x1f\x8b"),
    ("a bzip2 file", lambda data: data[:3] == b"BZh"),
    ("an xz file", lambda data: data[:6] == b"\xfd7zXZ\x00"),
    ("a zstandard file", lambda data: data[:4] == b"\x28\xb5\x2f\xfd"),
    ("a 7z archive", lambda data: data[:6] == b"7z\xbc\xaf\x27\x1c"),
    ("a rar archive", lambda data: data[:4] == b"Rar!"),
    ("a tar archive", lambda data: data[257:262] == b"ustar"),
    ("an old office file (OLE)", lambda data: data[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ("a Parquet file", lambda data: data[:4] == b"PAR1" or data[-4:] == b"PAR1"),
    ("a Feather or Arrow file", lambda data: data[:6] == b"ARROW1" or data[:4] == b"FEA1"),
    ("an HDF5 file", lambda data: data[:8] == b"\x89HDF\r\n\x1a\n"),
    ("a SQLite database", lambda data: data[:16] == b"SQLite format 3\x00"),
    ("a DuckDB database", lambda data: data[8:12] == b"DUCK"),
    ("a NumPy file", lambda data: data[:6] == b"\x93NUMPY"),
    ("an R data file", lambda data: data[:5] in (b"RDX2\n", b"RDX3\n", b"RDA2\n", b"RDA3\n") or data[:2] == b"X\n"),
    ("a Stata file", lambda data: data[:11] == b"<stata_dta>"),
    ("an SPSS file", lambda data: data[:4] in (b"$FL2", b"$FL3")),
    ("a program", lambda data: data[:4] == b"\x7fELF" or data[:2] == b"MZ"),
    ("a pickle", lambda data: is_pickle(data)),
)
_SIGNATURES: dict[Kind, Callable[[bytes], bool]] = {
    Kind.png: lambda data: data[:8] == b"\x89PNG\r\n\x1a\n",
    Kind.jpeg: lambda data: data[:3] == b"\xff\xd8\xff",
    Kind.pdf: lambda data: data[:5] == b"%PDF-",
    Kind.svg: lambda data: b"<svg" in data[:4096].lower(),
    Kind.html: lambda data: b"<" in data[:4096],
    Kind.notebook: lambda data: data.lstrip()[:1] == b"{",
}
_MAGIC_OTHER: dict[Kind, frozenset[str]] = {
    Kind.svg: frozenset({"image/svg+xml", "text/xml", "application/xml"}),
    Kind.notebook: frozenset({"application/json"}),
}
_TEXT_MAGIC = frozenset(
    {"application/json", "application/csv", "application/x-ndjson", "application/javascript", "inode/x-empty"}
)


@dataclass(frozen=True, slots=True)
class Typed:
    """What a file is, and what is to be said about that. `agreed` is False where name and content differ."""

    kind: Kind
    agreed: bool
    findings: tuple[Finding, ...]


def kind_of(path: str, data: bytes, magic: Callable[[bytes], str], rules: Rules) -> Typed:
    """Decide the kind of the file. `magic` gives libmagic's media type for bytes."""
    found = Collector(NAME)
    if len(data) > rules.max_bytes:
        found.add("too-big", Verdict.block, f"The file is larger than the {rules.max_bytes >> 20} MiB allowed.")
    carrier = next((name for name, matches in _CARRIERS if matches(data)), None)
    declared = EXTENSIONS.get(path.rpartition("/")[2].rpartition(".")[2].lower(), Kind.unknown)
    if carrier:
        found.add("not-allowed", Verdict.block, f"This is {carrier}: it can carry data that nobody sees.")
        return Typed(Kind.unknown, False, found.findings())
    if declared is Kind.unknown:
        found.add("not-allowed", Verdict.block, "Files of this name's type are not allowed to leave.")
        return Typed(Kind.unknown, False, found.findings())
    if not data:
        found.add("empty", Verdict.review, "The file is empty.")
        return Typed(declared, False, found.findings())
    agreed = _agrees(declared, data, magic(data))
    if not agreed:
        found.add("type-differs", Verdict.review, "What the file holds is not what its name says.")
    return Typed(declared, agreed, found.findings())


def is_pickle(data: bytes) -> bool:
    """Whether the bytes start with a pickle program of protocol 2 or later, or are an old one to the end."""
    if data[:1] == b"\x80" and len(data) > 1 and 2 <= data[1] <= 5:
        return True
    if data[:1] not in (b"(", b"c", b"]", b"}", b"l", b"d") or not data.endswith(b"."):
        return False
    try:
        return sum(1 for _ in pickletools.genops(data)) > 2
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError):
        return False


def _agrees(declared: Kind, data: bytes, said: str) -> bool:
    if declared in _TEXTUAL and not (
        said.startswith("text/") or said in _TEXT_MAGIC | _MAGIC_OTHER.get(declared, set())
    ):
        return False
    if declared in PARSED and said in ("text/html", "text/xml", "image/svg+xml"):
        return False
    if declared not in _TEXTUAL and said != declared.value:
        return False
    signature = _SIGNATURES.get(declared)
    return signature is None or signature(data)
