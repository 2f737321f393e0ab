"""Words and characters that only a human can judge: sentences in a table, hidden characters, formulas, encoded blobs.

Running text is never `pass`: names and stories have no pattern.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import re2

from tre_orchestrator.airlock.checks.model import Collector, Finding, Verdict
from tre_orchestrator.airlock.checks.tables import Table

NAME, VERSION = "text", 1

_LONG = 120
_WORDS = 8
_FORMULA = re.compile(r"^\s*(?:[=@]|[+-]\s*[A-Za-z(@=])")
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
            if cell[:1] in "=@+- \t" and _FORMULA.match(cell):
                sentence = "A cell would be run as a formula by a spreadsheet."
                found.add("formula", Verdict.review, sentence, row=row, column=column, value=cell)
    return found.findings()


def loose_values(values: tuple[tuple[str, Any], ...]) -> tuple[Finding, ...]:
    """Long texts among the values and keys of a JSON document that stand outside its tables."""
    found = Collector(NAME)
    for _key, value in values:
        if isinstance(value, str) and (len(value) > _LONG or value.count(" ") >= _WORDS):
            found.add("free-text", Verdict.review, "The file holds a long text.", value=value)
    return found.findings()


def running_text(text: str) -> tuple[Finding, ...]:
    """The one finding of every text file."""
    found = Collector(NAME)
    found.add("free-text", Verdict.review, "Running text: only a human can judge it.", count=text.count("\n") + 1)
    return found.findings()


def _is_control(char: str) -> bool:
    return unicodedata.category(char) == "Cc" and char not in "\t\r\n"
