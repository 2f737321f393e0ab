"""What one address may hold of the gate at once, so that nobody can hold all of it.

Behind a proxy every browser has the proxy's address: the limits are then those of the whole TRE, and the proxy should
have its own. They are far above what a full office of browsers needs.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from tre_orchestrator.errors import TreError

HEADS_BYTES = 8 * 1024 * 1024
"""Bytes of request heads, complete or not, that are held for one address."""
BODIES = 32
"""Requests of one address whose bodies are on their way."""


class Addresses:
    """Counts by address; an address that holds nothing is not kept."""

    def __init__(self) -> None:
        self._heads: Counter[str] = Counter()
        self._bodies: Counter[str] = Counter()

    def hold_head(self, address: str, size: int) -> bool:
        """Count bytes of a head; False when the address holds too many with them."""
        self._heads[address] += size
        return self._heads[address] <= HEADS_BYTES

    def drop_head(self, address: str, size: int) -> None:
        """The request is over, or its connection."""
        _take(self._heads, address, size)

    def heads(self, address: str) -> int:
        """Bytes of heads that are held for the address."""
        return self._heads[address]

    @contextlib.contextmanager
    def body(self, address: str) -> Iterator[None]:
        """While a body comes; raises `TreError` when too many come from this address already."""
        if self._bodies[address] >= BODIES:
            sentence = "Too many requests from your address are still on their way. Try again in a moment."
            raise TreError("address-busy", sentence, status=429)
        self._bodies[address] += 1
        try:
            yield
        finally:
            _take(self._bodies, address, 1)


def _take(counts: Counter[str], address: str, size: int) -> None:
    counts[address] -= size
    if counts[address] <= 0:
        del counts[address]
