"""Bytes that go to a person's browser from a project, counted per day on every channel, with a cap that holds.

Counted in memory as they pass, added to the `meters` rows about every second, and read back from there, so several
gates share one cap. Over the hard cap nothing more passes until the next day (UTC); at the soft one the banner warns.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.names import PersonId, ProjectName
from tre_orchestrator.errors import Refusal
from tre_orchestrator.workspaces.tables import MeterRow

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class MeterKey:
    """Whose bytes, from where."""

    person: PersonId
    project: ProjectName


class Meter:
    """Today's bytes per person and project. `stored` is what the database last said, `pending` what it lacks."""

    def __init__(self, today: Callable[[], dt.date]) -> None:
        self._today = today
        self._day = today()
        self._stored: dict[MeterKey, int] = {}
        self._pending: dict[tuple[MeterKey, dt.date], int] = {}

    def add(self, key: MeterKey, count: int) -> int:
        """Count `count` bytes; returns the day's total."""
        self._turn_day()
        slot = (key, self._day)
        pending = self._pending.get(slot, 0) + count
        self._pending[slot] = pending
        return self._stored.get(key, 0) + pending

    def total(self, key: MeterKey) -> int:
        """Today's bytes."""
        return self.add(key, 0)

    def knows(self, key: MeterKey) -> bool:
        """Whether the database was asked about this key today."""
        self._turn_day()
        return key in self._stored

    def take_pending(self) -> dict[tuple[MeterKey, dt.date], int]:
        """What must be written; give it to `confirm` when it was."""
        return {slot: count for slot, count in self._pending.items() if count}

    def confirm(self, written: Mapping[tuple[MeterKey, dt.date], int], totals: Mapping[MeterKey, int]) -> None:
        """The database now holds `written`, and these totals for the keys of today."""
        for slot, count in written.items():
            self._pending[slot] = self._pending.get(slot, 0) - count
            if not self._pending[slot]:
                del self._pending[slot]
        self._turn_day()
        for key, total in totals.items():
            self._stored[key] = max(total, self._stored.get(key, 0))

    @property
    def day(self) -> dt.date:
        """The day that is being counted."""
        self._turn_day()
        return self._day

    def _turn_day(self) -> None:
        today = self._today()
        if today != self._day:
            self._day = today
            self._stored.clear()


def is_crossing(total: int, size: int, soft: int) -> bool:
    """Whether these last `size` bytes took the day's total over the soft limit."""
    return total - size < soft <= total


def why_capped(total: int, hard: int) -> Refusal | None:
    """Why no more bytes go to this browser today, or None. `hard` in bytes."""
    if total < hard:
        return None
    return Refusal(
        "meter-full",
        f"Today's limit of {hard // MIB} MiB from this project to your browser is used up. It starts again at "
        "midnight UTC; your workspace keeps running.",
    )


def write_bytes(session: Session, pending: Mapping[tuple[MeterKey, dt.date], int]) -> None:
    """Add pending bytes to their rows."""
    for (key, day), count in pending.items():
        mine = (MeterRow.person == key.person, MeterRow.project == key.project, MeterRow.day == day)
        adding = update(MeterRow).where(*mine).values(bytes=MeterRow.bytes + count).returning(MeterRow.person)
        if session.execute(adding).one_or_none() is not None:
            continue
        try:
            with session.begin_nested():
                session.add(MeterRow(person=key.person, project=key.project, day=day, bytes=count))
        except IntegrityError:  # another gate made the row a moment ago
            session.execute(adding)


def read_bytes(session: Session, key: MeterKey, day: dt.date) -> int:
    """The bytes of one day that the database knows of."""
    return (
        session.scalar(
            select(MeterRow.bytes).where(
                MeterRow.person == key.person, MeterRow.project == key.project, MeterRow.day == day
            )
        )
        or 0
    )
