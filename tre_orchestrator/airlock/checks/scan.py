"""All checks over the bytes of one file. Pure: bytes and thresholds in, a report out; runs inside the sandbox.

A file that is not of a kind the checks read, or that they could not read to the end, gets the finding `unparsed`: it
needs a human, and is never `pass` (A3).
"""

from __future__ import annotations

from collections.abc import Callable

from tre_orchestrator.airlock.checks import counts, identifiers, kinds, rows, texts
from tre_orchestrator.airlock.checks.kinds import PARSED, TABLES, Kind, kind_of
from tre_orchestrator.airlock.checks.model import Finding, Report, Rules, Verdict
from tre_orchestrator.airlock.checks.tables import Parsed, decoded, read_delimited, read_json

NAME, VERSION = "parse", 1
CHECKS: tuple[tuple[str, int], ...] = (
    ("path", 1),
    (kinds.NAME, kinds.VERSION),
    (NAME, VERSION),
    (counts.NAME, counts.VERSION),
    (rows.NAME, rows.VERSION),
    (identifiers.NAME, identifiers.VERSION),
    (texts.NAME, texts.VERSION),
)
"""Every check and its version, in the order in which they run."""
VERSIONS = dict(CHECKS)
_YEARS = range(1900, 2101)


def scan(path: str, data: bytes, magic: Callable[[bytes], str], rules: Rules) -> Report:
    """What the checks say about the file; `magic` gives libmagic's media type for bytes."""
    typed = kind_of(path, data, magic, rules)
    findings = list(typed.findings)
    text = decoded(data) if typed.kind in PARSED and data else None
    if typed.kind not in PARSED:
        if typed.kind is not Kind.unknown:
            findings.append(unparsed("No check can read this kind of file: a human must look at all of it."))
    elif text is None:
        findings.append(unparsed("The file is not clean UTF-8 text, so it could not be read."))
    else:
        findings.extend(_content(typed.kind, text, rules))
    return Report(typed.kind.value, tuple(findings))


def unparsed(sentence: str) -> Finding:
    """The finding of a file that was not read completely."""
    return Finding(NAME, "unparsed", Verdict.review, sentence)


def _content(kind: Kind, text: str, rules: Rules) -> list[Finding]:
    findings = [*texts.hidden_characters(text), *texts.encoded_blobs(text)]
    if kind is Kind.text:
        findings.extend(texts.running_text(text))
        findings.extend(counts.small_counts_in_text(text.split("\n"), rules))
        findings.extend(identifiers.identifiers(text, (), by_cell=False))
        return findings
    parsed = _parse(kind, text)
    if parsed.incomplete:
        findings.append(unparsed(parsed.incomplete))
    for table in parsed.tables:
        findings.extend(counts.small_counts(table, rules))
        findings.extend(rows.row_level(table, rules))
        findings.extend(texts.cells(table))
        if kind in TABLES and not has_header(table.header):
            findings.append(unparsed("The first row is no header, so it is not known what the columns are."))
    if parsed.loose:
        findings.extend(counts.small_loose_counts(parsed.loose, rules))
        findings.extend(texts.loose_values(parsed.loose))
    by_cell = kind in TABLES and parsed.incomplete is None
    findings.extend(identifiers.identifiers(text, parsed.tables, by_cell=by_cell))
    return findings


def _parse(kind: Kind, text: str) -> Parsed:
    if kind is Kind.json:
        return read_json(text)
    return read_delimited(text, "\t" if kind is Kind.tsv else ",")


def has_header(header: list[str]) -> bool:
    """Whether a first row can be a header: it has names, and no number among them but years."""
    numbers = [counts.whole(name) for name in header]
    return any(name.strip() for name in header) and all(number is None or number in _YEARS for number in numbers)
