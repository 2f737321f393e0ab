"""All checks over the bytes of one file. Pure: bytes and thresholds in, a report out; runs inside the sandbox.

A file that is not of a kind the checks read, or that they could not read to the end, gets the finding `unparsed`: it
needs a human, and is never `pass` (A3).
"""

from __future__ import annotations

from collections.abc import Callable

from tre_orchestrator.airlock.checks import counts, identifiers, kinds, rows, texts
from tre_orchestrator.airlock.checks.doubts import why_not_one_table
from tre_orchestrator.airlock.checks.kinds import PARSED, TABLES, Kind, kind_of
from tre_orchestrator.airlock.checks.model import Finding, Listed, Report, Rules, unparsed
from tre_orchestrator.airlock.checks.tables import decoded, read_delimited, read_json

NAME, VERSION = "parse", 2
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


def _content(kind: Kind, text: str, rules: Rules) -> tuple[Finding, ...]:
    found = Listed()
    found.add(*texts.hidden_characters(text), *texts.encoded_blobs(text))
    if kind is Kind.text:
        found.add(*texts.running_text(text))
        found.add(*counts.small_counts_in_text(text.split("\n"), rules))
        found.add(*identifiers.in_lines(text))
        return found.findings()
    parsed = read_json(text) if kind is Kind.json else read_delimited(text, "\t" if kind is Kind.tsv else ",")
    doubt = parsed.incomplete or next(
        filter(None, map(why_not_one_table, parsed.tables if kind in TABLES else ())), None
    )
    if doubt:
        found.add(unparsed(doubt), *identifiers.in_lines(text))
    for table in parsed.tables:
        found.add(*counts.small_counts(table, rules), *rows.row_level(table, rules), *texts.cells(table))
    found.add(*counts.small_loose_counts(parsed.loose, rules), *texts.loose_values(parsed.loose))
    found.add(*identifiers.in_cells(parsed))
    return found.findings()
