"""Password checks at the hub, within bounds: argon2 takes 64 MiB and some 50 ms for each, whoever asks.

Two run at once, in threads of their own, so a flood of guesses holds up neither starts nor look-ups; of those that
wait, one address has a few at most.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.errors import Unavailable

AT_ONCE = 2
PER_ADDRESS = 4
WAITING_MAX = 64


class PasswordChecks:
    """The checks under way, by address."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, "password")
        self._waiting: Counter[str] = Counter()

    async def run(self, address: str, check: Callable[[], PersonId]) -> PersonId:
        """Run one; raises `Unavailable` when too many wait."""
        if self._waiting[address] >= PER_ADDRESS or self._waiting.total() >= WAITING_MAX:
            raise Unavailable("sign-in-busy", "Too many people are signing in at this moment. Try again in a moment.")
        self._waiting[address] += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, check)
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]
