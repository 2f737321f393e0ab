"""A flood of guesses costs two argon2 at a time, and leaves room for people from elsewhere."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.errors import Unavailable
from tre_orchestrator.hub.checks import AT_ONCE, PER_ADDRESS, WAITING_MAX, PasswordChecks

ANA = PersonId("ana-silva")


async def test_two_checks_run_at_once_and_one_address_waits_with_a_few_only() -> None:
    checks, guard, go_on = PasswordChecks(), threading.Lock(), threading.Event()
    running = most = 0

    def check() -> PersonId:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
        go_on.wait(10)
        with guard:
            running -= 1
        return ANA

    asked = [asyncio.create_task(checks.run("203.0.113.9", check)) for _ in range(20)]
    await asyncio.sleep(0)
    elsewhere = asyncio.create_task(checks.run("198.51.100.7", check))
    await asyncio.sleep(0)
    refused = [task for task in asked if task.done()]
    assert len(refused) == 20 - PER_ADDRESS
    assert all(isinstance(task.exception(), Unavailable) for task in refused)
    go_on.set()
    assert await elsewhere == ANA
    await asyncio.gather(*asked, return_exceptions=True)
    assert most <= AT_ONCE
    assert await checks.run("203.0.113.9", check) == ANA, "what ended counts no more"


async def test_all_addresses_together_wait_with_so_many_only() -> None:
    checks, go_on = PasswordChecks(), threading.Event()

    def check() -> PersonId:
        go_on.wait(10)
        return ANA

    asked = [asyncio.create_task(checks.run(f"203.0.113.{number}", check)) for number in range(WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="Try again"):
        await checks.run("198.51.100.7", check)
    go_on.set()
    assert await asyncio.gather(*asked) == [ANA] * WAITING_MAX
