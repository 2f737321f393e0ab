"""How many progress streams a person may hold open: more tabs than that look again by themselves instead."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.errors import TreError

STREAMS_MAX = 6


class Streams:
    """Counts the open streams by person."""

    def __init__(self) -> None:
        self._open: Counter[PersonId] = Counter()

    @contextlib.contextmanager
    def one(self, person: PersonId) -> Iterator[None]:
        """While a stream is open; raises `TreError` when the person holds too many."""
        if self._open[person] >= STREAMS_MAX:
            sentence = "This start is followed in many tabs already. This page looks again by itself."
            raise TreError("too-many-streams", sentence, status=429)
        self._open[person] += 1
        try:
            yield
        finally:
            self._open[person] -= 1
            if not self._open[person]:
                del self._open[person]
