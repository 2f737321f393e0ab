"""What number a cell gives, in whatever dress: a whole number, a count beside its share, a mask, a decimal number.

`3*`, `3e0`, `３`, `(3)` and `="3"` are 3; `n=3`, `3 (2.5%)`, `3/120` and `2.5% (3)` are counts wherever they stand;
`<5`, `*`, `c` and `[REDACTED]` are masks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise

import re2

from tre_orchestrator.airlock.checks.plain import plain

_DIGITS = 18
"""A number with more digits counts nobody."""
_CELL = 60
"""Longer texts are no number; no pattern of the standard library sees them."""
# Per cell the standard library's `re` is ten times faster than RE2 from Python; its patterns here are anchored and have
# no nested repeats, so they are linear too.

_BEFORE, _AFTER = " \t\r\n'\"=~≈+*†‡§¶#^([{_|:", " \t\r\n'\"*†‡§¶#^)]}_|.:;,!?"
_NUMBER = r"(\d{1,3}(?:[, ']\d{3})+|\d{1,18})"
_WHOLE = re.compile(rf"{_NUMBER}(?:[.,]0*)?")
_NOTED = re.compile(rf"{_NUMBER}\s?[a-d]")
_SCIENTIFIC = re.compile(r"\d{1,18}(?:\.\d{0,18})?[eE][-+]?\d{1,2}")
_DECIMAL = re.compile(r"\s*[-+]?(?:\d+\.\d*|\.\d+|\d+(?:\.\d+)?[eE][-+]?\d+)\s*")
_MASK = re.compile(
    r"(?i)(?:[<≤]\s?=?|less than|fewer than|under)\s?\d+|\*+|c|x|-+|–|\.\.?|:|\[?redacted\]?|\[?suppressed\]?|masked"
    r"|na|n/a|nan|null|none"
)
_BELOW = re.compile(r"(?i)(<\s?=|≤|<|less than|fewer than|under|up to)\s?(\d{1,6})")
_LEADING = re.compile(r"[^\d<≤.-]{0,8}(\d{1,18})(?![\d.,])")
_PERCENT = r"[<≤~]?\s?\d+(?:[.,]\d+)?"
_SHARED = re2.compile(
    rf"^{_NUMBER}\s*[(\[]\s*{_PERCENT}\s*%?\s*[)\]]$"
    rf"|^{_NUMBER}\s*[;,/|]?\s+{_PERCENT}\s*%$|^{_NUMBER}[;,/|]{_PERCENT}\s*%$"
    rf"|^{_PERCENT}\s*%\s*[(\[]\s*(?:(?i:n)\s*=\s*)?{_NUMBER}\s*(?:/\s*\d+\s*)?[)\]]$"
    rf"|^{_NUMBER}\s*(?:/|of|out of|from)\s*{_NUMBER}\s*(?:[(\[;,]?\s*{_PERCENT}\s*%?\s*[)\]]?)?$"
)
_MONTH = re.compile(r"\d{1,2}\s?/\s?(?:19|20)\d\d")
_LABELLED = re2.compile(
    r"(?i)(?:^|[^a-z0-9])(?:n|count|total|freq|frequency|number)\s*[=:]\s*(\d{1,18})(?:[^0-9.]|\.?$|\.[^0-9])"
)
_IN_TEXT = re2.compile(
    rf"(?i)(?:^|[^\d.,/-])(\d{{1,6}})\s?(?:[(\[]\s?{_PERCENT}\s?%\s?[)\]]|(?:of|out of)\s\d|/\s?\d+(?:[^\d/]|$))"
)


@lru_cache(maxsize=1 << 16)
def whole(cell: str) -> int | None:
    """The whole number in a cell, or None; marks, quotes and brackets around it do not hide it."""
    if cell.isascii() and cell.isdigit():
        return int(cell) if len(cell) <= _DIGITS else None
    text = _bare(cell)
    if text is None:
        return None
    match = _WHOLE.fullmatch(text) or _NOTED.fullmatch(text)
    if match:
        digits = re.sub("[, ']", "", match.group(1))
        return int(digits) if len(digits) <= _DIGITS else None
    if _SCIENTIFIC.fullmatch(text):
        value = Decimal(text)
        return int(value) if value == value.to_integral_value() else None
    return None


def is_decimal(cell: str) -> bool:
    """Whether a cell holds a number that is not whole: its column then measures and does not count."""
    return len(cell) <= _CELL and _DECIMAL.fullmatch(cell) is not None and whole(cell) is None


def is_mask(cell: str) -> bool:
    """Whether a cell is empty or stands for a value that was taken out."""
    return len(cell) <= _CELL and (not cell.strip() or _MASK.fullmatch(cell.strip()) is not None)


def said_counts(cell: str) -> list[int]:
    """The counts in a cell that says itself that they are counts: `n=3`, `3 (2.5%)`, `3/120`."""
    text = plain(cell).strip()
    found = [int(match.group(1)) for match in _LABELLED.finditer(text)]
    short = text.strip("'\"*†‡§ ")
    if len(short) <= _CELL and not short.isdigit() and _MONTH.fullmatch(short) is None:
        match = _SHARED.match(short)
        found += [int(re.sub("[, ']", "", group)) for group in (match.groups() if match else ()) if group]
    return found


def counts_in_line(line: str) -> list[int]:
    """The counts in a line of running text."""
    text = plain(line)
    return [int(match.group(1)) for pattern in (_LABELLED, _IN_TEXT) for match in pattern.finditer(text)]


def leading(cell: str) -> int | None:
    """The number that a cell of a column of counts begins with, such as 3 in `3 people` or 1 in `1-4`."""
    text = plain(cell).strip()[:_CELL]
    match = _LEADING.match(text)
    return int(match.group(1)) if match else None


def mask_below(cell: str) -> int | None:
    """The number that a mask says the true one is below: 5 for `<5` and for `≤4`; None for every other cell."""
    match = _BELOW.fullmatch(" ".join(cell.split())) if len(cell) <= _CELL else None
    if match is None:
        return None
    inclusive = match.group(1).endswith("=") or match.group(1).lower() in ("≤", "up to")
    return int(match.group(2)) + inclusive


def is_sequence(cells: list[str]) -> bool:
    """Whether a column counts the rows from 0 or 1, as the index of a data frame does."""
    numbers = [whole(cell) for cell in cells]
    present = [number for number in numbers if number is not None]
    if not present or len(present) != len(cells):
        return False
    return all(after - before == 1 for before, after in pairwise(present)) and present[0] <= 1


def mostly(test: Callable[[str], bool], cells: list[str]) -> bool:
    """Whether a test holds for more than half of the cells that are no masks."""
    known = [cell for cell in cells if not is_mask(cell)]
    return bool(known) and sum(map(test, known)) > len(known) / 2


def _bare(cell: str) -> str | None:
    text = plain(cell).rstrip(_AFTER).lstrip(_BEFORE).rstrip(_AFTER)
    return text if 0 < len(text) <= _CELL else None
