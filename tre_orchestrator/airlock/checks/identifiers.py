"""Direct identifiers: NHS numbers, national insurance numbers, postcodes, e-mail addresses, phone numbers, dates of
birth that are labelled as such, and columns named after them.

Patterns run in linear time (RE2) over the text in its plainest form, so that no file can make them slow and no other
script, invisible character or separator hides a number. Ten random digits pass the NHS check digit once in eleven: a
file is stopped when more pass than chance explains, and shown to a human otherwise. A file with more places than are
looked at is `unparsed`.
"""

from __future__ import annotations

import math

import re2

from tre_orchestrator.airlock.checks.model import Collector, Finding, Verdict, unparsed
from tre_orchestrator.airlock.checks.places import Hit, Part, nhs_like
from tre_orchestrator.airlock.checks.plain import plain
from tre_orchestrator.airlock.checks.tables import Parsed, Table, cell_of

NAME, VERSION = "identifiers", 2

SEVERAL = 3
"""From so many places on, a pattern that chance can produce is taken for what it looks like."""
_SURE = 1e-3
_CHANCE = 1 / 11
_EXACT = 500
"""Up to so many numbers the chance is summed exactly, beyond by the normal curve."""
_EXPECTED = 6
"""Columns with fewer numbers are judged together, so that a number each in many columns is no way around."""

_NINO = re2.compile(rb"(?i)\b([A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ .-]?\d{2}[ .-]?\d{2}[ .-]?\d{2}[ .-]?[A-D])\b")
_NINO_UNUSED = frozenset({"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"})
_POSTCODE = re2.compile(rb"(?i)\b([A-Z]{1,2}\d[A-Z\d]?[ .-]{0,3}\d[ABD-HJLNP-UW-Z]{2})\b")
_AREA_NAMES = (
    "AB AL B BA BB BD BH BL BN BR BS BT CA CB CF CH CM CO CR CT CV CW DA DD DE DG DH DL DN DT DY E EC EH EN EX "
    "FK FY G GL GU GY HA HD HG HP HR HS HU HX IG IM IP IV JE KA KT KW KY L LA LD LE LL LN LS LU M ME MK ML N "
    "NE NG NN NP NR NW OL OX PA PE PH PL PO PR RG RH RM S SA SE SG SK SL SM SN SO SP SR SS ST SW SY TA TD TF "
    "TN TQ TR TS TW UB W WA WC WD WF WN WR WS WV YO ZE "
    "NX "  # does not exist: the demo's data are from there, and are found as real ones would be
)
_AREAS = frozenset(_AREA_NAMES.split())
_EMAIL = re2.compile(rb"([A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.[A-Za-z]{2,24})")
_PHONE = re2.compile(rb"((?:\+44 ?\(?0?\)?|\b0)(?:7\d{3}|1\d{2,4}|2\d)[ -]?\d{3,4}[ -]?\d{3,4})\b")
_BIRTH = re2.compile(
    rb"(?i)\b(?:dob|d\.o\.b\.?|date of birth|birth ?date|born(?: on)?)\b\W{0,10}(\d{1,4}[-/. ]\d{1,2}[-/. ]\d{1,4})\b"
)
_BIRTH_HEADER = re2.compile(
    r"(?i)(?:^|[^a-z])d[._ -]?o[._ -]?b(?:[^a-z]|$)|birth.{0,3}(?:date|day|dt)|date.{0,6}birth"
    r"|^\s*(?:birth|born(?:.on)?)\s*$"
    r"|geb(?:urts)?.{0,3}(?:datum|dat|tag)|naissance|nacimiento|nascimento|nascita|f(?:ø|oe|o)dselsda|födelseda|geboorte"
)
_BIRTH_CAMEL = re2.compile(r"[a-z]D[Oo][Bb](?:[^a-z]|$)")
_DATE = re2.compile(
    r"(?i)^\s*(?:\d{1,4}[-/. ]\d{1,2}[-/. ]\d{1,4}|(?:19|20)\d{6}\b|\d{8}\b"
    r"|\d{1,2}(?:st|nd|rd|th)?[ .-]*[a-zäéû]{3,10}[ .,-]*\d{2,4}"
    r"|[a-z]{3,10}[ .]+\d{1,2},? +\d{4})"
)
_NAMED = re2.compile(
    r"(?i)^\s*(?:nhs[ _.-]?(?:number|no|num)?|chi(?:[ _.-]?number)?|nino|mrn|hospital[ _.-]?(?:number|no)"
    r"|patient[ _.-]?(?:id|name|number)|person[ _.-]?id|(?:first|last|full|given|family)[ _.-]?name|forename|surname"
    r"|address(?:[ _.-]?line.*)?|postcode|post[ _.-]code|e-?mail|(?:tele)?phone(?:[ _.-]?number)?|mobile)\s*$"
)


def in_lines(text: str) -> tuple[Finding, ...]:
    """Findings for a file by its lines."""
    parts = [Part(text)]
    return (*_found(parts).findings(), *_beyond(parts))


def in_cells(parsed: Parsed) -> tuple[Finding, ...]:
    """Findings for a file by the cells of its tables and by what stands outside of them."""
    parts = [_column(table, index) for table in parsed.tables for index in range(len(table.header))]
    if parsed.loose:
        parts.append(Part("\n".join(cell_of(value).replace("\n", " ") for _, value in parsed.loose), placed=False))
    found = _found(parts)
    for table in parsed.tables:
        _headers(table, found)
    for keys, value in parsed.loose:
        if isinstance(value, str | int) and any(map(_is_birth, keys)) and _DATE.match(plain(str(value))):
            found.add("date-of-birth", Verdict.block, "A date that is labelled as a date of birth.")
    return (*found.findings(), *_beyond(parts))


def _beyond(parts: list[Part]) -> list[Finding]:
    capped = any(part.capped for part in parts)
    return [unparsed("More places look like identifiers than are looked at.")] if capped else []


def _found(parts: list[Part]) -> Collector:
    found = Collector(NAME)
    _nhs_numbers(parts, found)
    for rule, pattern, real, sentence, alone in _PATTERNS:
        hits = [hit for part in parts for hit in part.hits(pattern) if real(hit.value)]
        different = {hit.value.upper() for hit in hits}
        verdict = alone if len(different) < SEVERAL else Verdict.block
        for hit in hits:
            found.add(rule, verdict, sentence, row=hit.row, column=hit.column, line=hit.line, value=hit.value)
    return found


def passes_nhs_check(digits: str) -> bool:
    """Whether ten digits carry a valid check digit (NHS Data Dictionary, modulus 11)."""
    if len(digits) != 10 or not digits.isascii() or not digits.isdigit() or len(set(digits)) == 1:
        return False
    check = 11 - sum(int(digit) * weight for digit, weight in zip(digits, range(10, 1, -1), strict=False)) % 11
    return check != 10 and check % 11 == int(digits[9])


def _column(table: Table, index: int) -> Part:
    cells = (cell.replace("\n", " ") for cell in [table.header[index], *table.column(index)])
    return Part("\n".join(cells), column=index + 1)


def _nhs_numbers(parts: list[Part], found: Collector) -> None:
    seen = [
        (candidates, [hit for hit in candidates if passes_nhs_check(hit.digits)]) for candidates in map(nhs_like, parts)
    ]
    few = [pair for pair in seen if len(pair[0]) < _EXPECTED]
    few_sure = _sure([pair[0] for pair in few], [pair[1] for pair in few])
    for candidates, valid in seen:
        sure = (few_sure and len(candidates) < _EXPECTED) or _sure([candidates], [valid])
        verdict = Verdict.block if sure else Verdict.review
        sentence = "This has the form and check digit of an NHS number."
        for hit in valid:
            found.add("nhs-number", verdict, sentence, row=hit.row, column=hit.column, line=hit.line, value=hit.value)


def _sure(candidates: list[list[Hit]], valid: list[list[Hit]]) -> bool:
    """Whether more of the different candidates pass than chance explains."""
    of, passed = ({hit.digits for hits in part for hit in hits} for part in (candidates, valid))
    return _chance_of(len(passed), len(of)) < _SURE


def _chance_of(valid: int, of: int) -> float:
    """How likely it is that at least `valid` of `of` random ten-digit numbers pass the check digit."""
    if of > _EXACT:
        mean, deviation = of * _CHANCE, math.sqrt(of * _CHANCE * (1 - _CHANCE))
        return math.erfc((valid - 0.5 - mean) / deviation / math.sqrt(2)) / 2
    return sum(math.comb(of, hits) * _CHANCE**hits * (1 - _CHANCE) ** (of - hits) for hits in range(valid, of + 1))


def _is_birth(name: str) -> bool:
    return _BIRTH_HEADER.search(plain(name)) is not None or _BIRTH_CAMEL.search(name) is not None


def _headers(table: Table, found: Collector) -> None:
    for index, name in enumerate(table.header):
        if _NAMED.match(plain(name).strip()):
            sentence = "A column is named like a direct identifier."
            found.add("identifier-column", Verdict.review, sentence, row=1, column=index + 1)
        if _is_birth(name):
            dates = sum(_DATE.match(plain(cell)) is not None for cell in table.column(index))
            if dates:
                sentence = "A column holds dates of birth."
                found.add("date-of-birth", Verdict.block, sentence, row=1, column=index + 1, count=dates)


def _is_nino(value: str) -> bool:
    return value[:2].upper() not in _NINO_UNUSED


def _is_postcode(value: str) -> bool:
    return _area(value.upper()) in _AREAS


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
