"""Words and characters that only a human can judge: sentences in a table, hidden characters, formulas, encoded blobs.

Running text is never `pass`: names and stories have no pattern.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import re2

from tre_orchestrator.airlock.checks.model import Collector, Finding, Verdict
from tre_orchestrator.airlock.checks.plain import plain
from tre_orchestrator.airlock.checks.tables import Keys, Table

NAME, VERSION = "text", 2

_RUN = "A cell would be run as a formula by a spreadsheet."
_LONG = 120
_WORDS = 8
_NUMBER = r"[-+]?[<]?\s?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s?%?"
_SIGNED = re2.compile(
    rf"^{_NUMBER}(?:\s*[(\[]?\s*(?:{_NUMBER})\s*(?:,|;|to|-)?\s*(?:{_NUMBER})?\s*[)\]])?\**$|^[-+. ]+$"
)
"""A number with its interval, or a dash: the only cells that begin with a sign and are not run."""
_SPLIT = re.compile(r"[;|\t\r\n,]")
"""Where a spreadsheet with other settings divides a cell."""
_BLOB = re2.compile(r"[A-Za-z0-9+/_-]{200,}={0,2}|(?:[0-9A-Fa-f]{2}){64,}")
_HIDDEN = frozenset({"Cf", "Co", "Cn", "Zl", "Zp"})


def hidden_characters(text: str) -> tuple[Finding, ...]:
    """Characters that a reader does not see: they can carry data or turn text around."""
    found = Collector(NAME)
    if not text.isascii() or any(char in text for char in "\x0b\x0c\x1b\x7f\x08"):
        for number, line in enumerate(text.split("\n"), 1):
            odd = sum(1 for char in line if unicodedata.category(char) in _HIDDEN or _is_control(char))
            if odd:
                sentence = "Characters that nobody sees stand in this line."
                found.add("hidden-characters", Verdict.review, sentence, line=number, count=odd)
    return found.findings()


def encoded_blobs(text: str) -> tuple[Finding, ...]:
    """Long runs of base64 or hexadecimal digits."""
    found = Collector(NAME)
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) >= 128 and _BLOB.search(line):
            found.add("encoded-data", Verdict.review, "A long run of encoded data stands in this line.", line=number)
    return found.findings()


def cells(table: Table) -> tuple[Finding, ...]:
    """Sentences and formulas in the cells of a table, its header included."""
    found = Collector(NAME)
    for row, values in enumerate([table.header, *table.rows], 1):
        for column, cell in enumerate(values, 1):
            if len(cell) > _LONG or cell.count(" ") >= _WORDS:
                found.add("free-text", Verdict.review, "A cell holds a long text.", row=row, column=column, value=cell)
            if _is_formula(cell):
                found.add("formula", Verdict.review, _RUN, row=row, column=column, value=cell)
    return found.findings()


def _is_formula(cell: str) -> bool:
    """Whether a spreadsheet would run the cell: led by = or @, by a sign and no number, or by a tab or line end."""
    if cell[:1] in ("\t", "\r", "\n") and cell.strip():
        return True
    text = plain(cell).strip(" \t\r\n'\"")
    if text[:1] in ("+", "-") and _SIGNED.match(text) is None:
        return True
    if "=" not in text and "@" not in text:
        return False
    return any(part.strip(" '\"")[:1] in ("=", "@") for part in _SPLIT.split(text))


def loose_values(values: tuple[tuple[Keys, Any], ...]) -> tuple[Finding, ...]:
    """Long texts among the values and keys of a JSON document that stand outside its tables."""
    found = Collector(NAME)
    for _key, value in values:
        if isinstance(value, str) and (len(value) > _LONG or value.count(" ") >= _WORDS):
            found.add("free-text", Verdict.review, "The file holds a long text.", value=value)
        if isinstance(value, str) and _is_formula(value):
            found.add("formula", Verdict.review, _RUN, value=value)
    return found.findings()


def running_text(text: str) -> tuple[Finding, ...]:
    """The one finding of every text file."""
    found = Collector(NAME)
    found.add("free-text", Verdict.review, "Running text: only a human can judge it.", count=text.count("\n") + 1)
    return found.findings()


def _is_control(char: str) -> bool:
    return unicodedata.category(char) == "Cc" and char not in "\t\r\n"
