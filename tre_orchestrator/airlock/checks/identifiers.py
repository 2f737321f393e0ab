"""Direct identifiers: NHS numbers, national insurance numbers, postcodes, e-mail addresses, phone numbers, dates of
birth that are labelled as such, and columns named after them.

Patterns run in linear time (RE2) over the raw lines, so no file can make them slow. Ten random digits pass the NHS
check digit once in eleven: a file is stopped when more pass than chance explains, and shown to a human otherwise.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import re2

from tre_orchestrator.airlock.checks.model import Collector, Finding, Verdict
from tre_orchestrator.airlock.checks.tables import Table

NAME, VERSION = "identifiers", 1

SEVERAL = 3
"""From so many places on, a pattern that chance can produce is taken for what it looks like."""
_SURE = 1e-3
_CHANCE = 1 / 11
_EXACT = 500
"""Up to so many numbers the chance is summed exactly, beyond by the normal curve."""
_HITS_MAX = 200_000
_NEWLINE = re2.compile(rb"\n")

_NHS = re2.compile(rb"\b(\d{3}[ -]?\d{3}[ -]?\d{4})(?:\.0)?\b")
"""The `.0` is what a column with gaps gets when a data frame writes it as floating point."""
_NINO = re2.compile(rb"(?i)\b([A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D])\b")
_NINO_UNUSED = frozenset({"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"})
_POSTCODE = re2.compile(rb"\b([A-Z]{1,2}\d[A-Z\d]? ?\d[ABD-HJLNP-UW-Z]{2})\b")
_AREA_NAMES = (
    "AB AL B BA BB BD BH BL BN BR BS BT CA CB CF CH CM CO CR CT CV CW DA DD DE DG DH DL DN DT DY E EC EH EN EX "
    "FK FY G GL GU GY HA HD HG HP HR HS HU HX IG IM IP IV JE KA KT KW KY L LA LD LE LL LN LS LU M ME MK ML N "
    "NE NG NN NP NR NW OL OX PA PE PH PL PO PR RG RH RM S SA SE SG SK SL SM SN SO SP SR SS ST SW SY TA TD TF "
    "TN TQ TR TS TW UB W WA WC WD WF WN WR WS WV YO ZE "
)
_AREAS = frozenset(_AREA_NAMES.split())
_EMAIL = re2.compile(rb"([A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.[A-Za-z]{2,24})")
_PHONE = re2.compile(rb"((?:\+44 ?\(?0?\)?|\b0)(?:7\d{3}|1\d{2,4}|2\d)[ -]?\d{3,4}[ -]?\d{3,4})\b")
_BIRTH = re2.compile(
    rb"(?i)\b(?:dob|d\.o\.b\.?|date of birth|birth ?date|born(?: on)?)\b\W{0,10}(\d{1,4}[-/. ]\d{1,2}[-/. ]\d{1,4})\b"
)
_BIRTH_HEADER = re2.compile(
    r"(?i)^\s*(?:.*[ _.-])?(?:dob|date[ _.-]?of[ _.-]?birth|birth[ _.-]?date|date[ _.-]?birth)\s*$"
)
_DATE = re.compile(r"^\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")
_NAMED = re2.compile(
    r"(?i)^\s*(?:nhs[ _.-]?(?:number|no|num)?|chi(?:[ _.-]?number)?|nino|mrn|hospital[ _.-]?(?:number|no)"
    r"|patient[ _.-]?(?:id|name|number)|person[ _.-]?id|(?:first|last|full|given|family)[ _.-]?name|forename|surname"
    r"|address(?:[ _.-]?line.*)?|postcode|post[ _.-]code|e-?mail|(?:tele)?phone(?:[ _.-]?number)?|mobile)\s*$"
)


def identifiers(text: str, tables: tuple[Table, ...], *, by_cell: bool) -> tuple[Finding, ...]:
    """Findings for one file: by the cells of its tables if these are the whole file (`by_cell`), else by its lines."""
    found = Collector(NAME)
    parts = (
        [_column(table, index) for table in tables for index in range(len(table.header))] if by_cell else [_Part(text)]
    )
    _nhs_numbers(parts, found)
    for rule, pattern, real, sentence, alone in _PATTERNS:
        hits = [hit for part in parts for hit in part.hits(pattern) if real(hit.value)]
        different = {hit.value for hit in hits}
        verdict = alone if len(different) < SEVERAL else Verdict.block
        for hit in hits:
            found.add(rule, verdict, sentence, row=hit.row, column=hit.column, line=hit.line, value=hit.value)
    for table in tables:
        _headers(table, found)
    return found.findings()


def passes_nhs_check(digits: str) -> bool:
    """Whether ten digits carry a valid check digit (NHS Data Dictionary, modulus 11)."""
    if len(digits) != 10 or not digits.isascii() or not digits.isdigit() or len(set(digits)) == 1:
        return False
    check = 11 - sum(int(digit) * weight for digit, weight in zip(digits, range(10, 1, -1), strict=False)) % 11
    return check != 10 and check % 11 == int(digits[9])


@dataclass(frozen=True, slots=True)
class _Hit:
    value: str
    row: int | None
    column: int | None
    line: int | None


class _Part:
    """A piece of text that patterns run over: a whole file by lines, or one column with a cell per line."""

    def __init__(self, text: str, *, column: int | None = None) -> None:
        self._bytes = text.encode("utf-8", "surrogatepass")
        self._column = column
        self._starts = [0, *(match.end() for match in _NEWLINE.finditer(self._bytes))]

    def hits(self, pattern: Any) -> Iterator[_Hit]:
        """Every match of the pattern's first group, with its place; a bounded number."""
        for match in islice(pattern.finditer(self._bytes), _HITS_MAX):
            start, end = match.span(1)
            if self._inside_number(start, end):
                continue
            at = bisect_right(self._starts, start)
            value = match.group(1).decode("utf-8", "replace")
            yield _Hit(value, at, self._column, None) if self._column else _Hit(value, None, None, at)

    def _inside_number(self, start: int, end: int) -> bool:
        """Whether the digits belong to a decimal number, so that they are no identifier."""
        text = self._bytes
        before = start >= 2 and text[start - 1 : start] == b"." and text[start - 2 : start - 1].isdigit()
        tail = text[end : end + 3]
        after = tail[:1] == b"." and tail[1:2].isdigit() and not (tail[1:2] == b"0" and not tail[2:3].isdigit())
        return before or after


def _column(table: Table, index: int) -> _Part:
    cells = (cell.replace("\n", " ") for cell in [table.header[index], *table.column(index)])
    return _Part("\n".join(cells), column=index + 1)


def _nhs_numbers(parts: list[_Part], found: Collector) -> None:
    for part in parts:
        candidates = list(part.hits(_NHS))
        valid = [hit for hit in candidates if passes_nhs_check(hit.value.replace(" ", "").replace("-", ""))]
        sure = _chance_of(len(valid), len(candidates)) < _SURE
        verdict = Verdict.block if sure else Verdict.review
        sentence = "This has the form and check digit of an NHS number."
        for hit in valid:
            found.add("nhs-number", verdict, sentence, row=hit.row, column=hit.column, line=hit.line, value=hit.value)


def _chance_of(valid: int, of: int) -> float:
    """How likely it is that at least `valid` of `of` random ten-digit numbers pass the check digit."""
    if of > _EXACT:
        mean, deviation = of * _CHANCE, math.sqrt(of * _CHANCE * (1 - _CHANCE))
        return math.erfc((valid - 0.5 - mean) / deviation / math.sqrt(2)) / 2
    return sum(math.comb(of, hits) * _CHANCE**hits * (1 - _CHANCE) ** (of - hits) for hits in range(valid, of + 1))


def _headers(table: Table, found: Collector) -> None:
    for index, name in enumerate(table.header):
        if _NAMED.match(name):
            sentence = "A column is named like a direct identifier."
            found.add("identifier-column", Verdict.review, sentence, row=1, column=index + 1)
        if _BIRTH_HEADER.match(name):
            dates = sum(_DATE.match(cell) is not None for cell in table.column(index))
            if dates:
                sentence = "A column holds dates of birth."
                found.add("date-of-birth", Verdict.block, sentence, row=1, column=index + 1, count=dates)


def _is_nino(value: str) -> bool:
    return value[:2].upper() not in _NINO_UNUSED


def _is_postcode(value: str) -> bool:
    return _area(value) in _AREAS


def _area(value: str) -> str:
    return value[:2] if value[1:2].isalpha() else value[:1]


def _any(_value: str) -> bool:
    return True


_PATTERNS = (
    ("national-insurance", _NINO, _is_nino, "This has the form of a national insurance number.", Verdict.block),
    ("postcode", _POSTCODE, _is_postcode, "This has the form of a full postcode.", Verdict.review),
    ("e-mail", _EMAIL, _any, "This has the form of an e-mail address.", Verdict.review),
    ("phone", _PHONE, _any, "This has the form of a phone number.", Verdict.review),
    ("date-of-birth", _BIRTH, _any, "A date that is labelled as a date of birth.", Verdict.block),
)
