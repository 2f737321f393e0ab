"""Where patterns match in a text, and which runs of digits can be NHS numbers; a bounded number of places.

`Part.capped` says that there were more places than were given: then the text was not looked at to its end.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import re2

from tre_orchestrator.airlock.checks.plain import plain

HITS_MAX = 200_000
_NEWLINE = re2.compile(rb"\n")
_RUN = re2.compile(rb"(\d[\d \t./()-]{8,}\d)")
_GROUP = re.compile(rb"\d+")
_SCIENTIFIC = re2.compile(rb"(\d\.\d{9})[eE]\+?0*9\b")
_LENGTH = 10
_GROUPINGS = frozenset({(10,), (3, 3, 4), (3, 7), (6, 4), (5, 5), (2,) * 5, (1,) * 10})
"""How people write ten digits; a date beside an hour is not among them."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A match and its place."""

    value: str
    row: int | None
    column: int | None
    line: int | None

    @property
    def digits(self) -> str:
        """The digits alone."""
        return "".join(char for char in self.value if char.isdigit())


class Part:
    """A piece of text that patterns run over: a whole file by lines, or one column with a cell per line."""

    def __init__(self, text: str, *, column: int | None = None, placed: bool = True) -> None:
        self.text = plain(text).replace("_", " ").encode("utf-8", "surrogatepass")
        self.capped = False
        self._column, self._placed = column, placed
        self._starts = [0, *(match.end() for match in _NEWLINE.finditer(self.text))]

    def hits(self, pattern: Any) -> Iterator[Hit]:
        """Every match of the pattern's first group, with its place; a bounded number."""
        for number, match in enumerate(pattern.finditer(self.text)):
            if number == HITS_MAX:
                self.capped = True
                return
            start, end = match.span(1)
            if not self.inside_number(start, end):
                yield self.hit(start, end)

    def hit(self, start: int, end: int) -> Hit:
        """The text between two places."""
        at = bisect_right(self._starts, start)
        value = self.text[start:end].decode("utf-8", "replace")
        if not self._placed:
            return Hit(value, None, None, None)
        return Hit(value, at, self._column, None) if self._column else Hit(value, None, None, at)

    def inside_number(self, start: int, end: int) -> bool:
        """Whether the digits belong to a decimal number, so that they are no identifier."""
        text = self.text
        before = start >= 2 and text[start - 1 : start] == b"." and text[start - 2 : start - 1].isdigit()
        tail = text[end : end + 3]
        after = tail[:1] == b"." and tail[1:2].isdigit() and not (tail[1:2] == b"0" and not tail[2:3].isdigit())
        return before or after


def nhs_like(part: Part) -> list[Hit]:
    """Every ten digits that can be an NHS number by their form, with any separators between them."""
    found = list(part.hits(_SCIENTIFIC))
    for run in _RUN.finditer(part.text):
        groups = [(match.start() + run.start(), match.end() + run.start()) for match in _GROUP.finditer(run.group(1))]
        for first in range(len(groups)):
            if len(found) >= HITS_MAX:
                part.capped = True
                return found
            together = _together(part, groups, first)
            if together:
                found.append(part.hit(*together))
    return found


def _together(part: Part, groups: list[tuple[int, int]], first: int) -> tuple[int, int] | None:
    """The place of the ten digits that begin with a group, or None."""
    lengths: list[int] = []
    for start, end in groups[first : first + _LENGTH]:
        lengths.append(end - start)
        if sum(lengths) >= _LENGTH:
            break
    grouping = tuple(lengths)
    if grouping not in _GROUPINGS:
        return None
    start, end = groups[first][0], groups[first + len(lengths) - 1][1]
    if b"." in part.text[start:end] and grouping not in ((3, 3, 4), (1,) * 10):
        return None
    return None if part.inside_number(start, end) else (start, end)
