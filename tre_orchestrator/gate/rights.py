"""The right to reach a workspace, asked anew every second while it is used; what cannot be asked is lost (P4).

`Rights.of` answers from memory only what the watcher confirmed a moment ago. The watcher reads every right in use
again, tells each open connection of a lost one at once, and loses those it could not read for `lease_seconds`. The
lease is for a database that says it is away. A watcher that hangs, fails or is gone proves nothing: without a finished
round for `STALE_SECONDS` every right is lost, by the watcher, by `guard` beside it, and by the next request.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from tre_orchestrator.errors import Refusal, Refused, TreError
from tre_orchestrator.gate.meter import MeterKey
from tre_orchestrator.gate.tickets import Frame

log = structlog.get_logger()

IDLE_SECONDS = 120.0
"""A right nobody used for this long is no longer watched; the next request asks anew."""

STALE_SECONDS = 5.0
"""How long a round of the watcher may be over before nothing that it said is believed."""
CONNECTIONS_MAX = 128
"""Connections that one frame may hold open at once; Lab needs one for each kernel and a few more."""
_GUARD_SECONDS = 0.5

LOST = Refusal("right-unknown", "Your right to this workspace cannot be confirmed now, so it is closed. Try again.")


@dataclass(frozen=True, slots=True)
class Right:
    """One browser's right to one start of one workspace, as of a moment ago. Sizes in bytes."""

    frame: Frame
    meter: MeterKey
    socket: Path
    soft: int
    hard: int
    scripts_in_output: bool
    ends_at: dt.datetime | None


@dataclass(slots=True)
class _Live:
    right: Right
    confirmed: float
    used: float
    closers: set[Callable[[Refusal], None]] = field(default_factory=set)


class Rights:
    """Every right in use. `read` asks the database, in a thread of its own, for a list of frames at once."""

    def __init__(
        self,
        read: Callable[[list[tuple[Frame, Right | None]]], Awaitable[list[Right | Refusal]]],
        *,
        lease_seconds: float,
        interval_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._lease = lease_seconds
        self._interval = interval_seconds
        self._monotonic = monotonic
        self._live: dict[str, _Live] = {}
        self._round_ended = monotonic()
        self.lost = 0
        """How many rights in use were lost since the gate started."""

    async def of(self, frame: Frame) -> Right:
        """The right of this frame, confirmed lately; raises `Refused`, or the reader's own error."""
        if self.round_age > STALE_SECONDS:
            self.expire()
            raise Refused([LOST])
        live = self._live.get(frame.key)
        now = self._monotonic()
        if live is None:
            (answer,) = await self._read([(frame, None)])
            if isinstance(answer, Refusal):
                raise Refused([answer])
            live = self._live.setdefault(frame.key, _Live(answer, now, now))
        elif now - live.confirmed > self._lease:
            self._lose(frame.key, LOST)
            raise Refused([LOST])
        live.used = now
        return live.right

    def known(self, key: str) -> Frame | None:
        """The frame of a cookie's key when its right is in use, so that a request needs no database."""
        live = self._live.get(key)
        return live.right.frame if live else None

    def attach(self, key: str, closer: Callable[[Refusal], None]) -> bool:
        """Have `closer` called once when this right is lost; False when it is lost already.

        Raises `Refused` when the frame holds too many connections open.
        """
        live = self._live.get(key)
        if live is None:
            return False
        if len(live.closers) >= CONNECTIONS_MAX:
            sentence = f"This page holds {CONNECTIONS_MAX} connections open already. Close notebooks and try again."
            raise Refused([Refusal("too-many-connections", sentence)])
        live.closers.add(closer)
        return True

    def detach(self, key: str, closer: Callable[[Refusal], None]) -> None:
        """The connection is over."""
        if live := self._live.get(key):
            live.closers.discard(closer)
            live.used = self._monotonic()

    def in_use(self) -> list[Right]:
        """The rights being watched."""
        return [live.right for live in self._live.values()]

    @property
    def age(self) -> float:
        """Seconds since the right confirmed longest ago was confirmed; 0 when none is in use."""
        return max((self._monotonic() - live.confirmed for live in self._live.values()), default=0.0)

    @property
    def round_age(self) -> float:
        """Seconds since the watcher last ended a round."""
        return self._monotonic() - self._round_ended

    @property
    def connections(self) -> int:
        """How many connections wait to be told."""
        return sum(len(live.closers) for live in self._live.values())

    async def watch(self) -> None:
        """Confirm every right in use each interval, until cancelled. A reader that hangs keeps nothing alive."""
        reading: asyncio.Task[None] | None = None
        self._round_ended = self._monotonic()
        while True:
            began = self._monotonic()
            if reading is None or reading.done():
                if reading is not None and (failure := reading.exception()):
                    log.error("gate.rights-failed", error=type(failure).__name__)
                reading = asyncio.create_task(self.confirm())
            await asyncio.wait([reading], timeout=self._interval)
            self.expire()
            rest = self._interval - (self._monotonic() - began)
            await asyncio.sleep(max(rest, 0.01))

    async def guard(self) -> None:
        """Lose what is not confirmed any more, apart from the watcher: it may have ended."""
        while True:
            await asyncio.sleep(_GUARD_SECONDS)
            self.expire()

    async def confirm(self) -> None:
        """Read every right in use once; close what was lost, stop watching what nobody uses."""
        now = self._monotonic()
        for key, live in list(self._live.items()):
            if not live.closers and now - live.used > IDLE_SECONDS:
                del self._live[key]
        asked = [(live.right.frame, live.right) for live in self._live.values()]
        if not asked:
            self._round_ended = now
            return
        try:
            answers = await self._read([*asked])
        except TreError as error:
            log.warning("gate.rights-unread", code=error.code, rights=len(asked))
            self._round_ended = self._monotonic()
            return
        self._round_ended = self._monotonic()
        for (frame, _known), answer in zip(asked, answers, strict=True):
            live_now = self._live.get(frame.key)
            if live_now is None:
                continue
            if isinstance(answer, Refusal):
                self._lose(frame.key, answer)
            else:
                live_now.right, live_now.confirmed = answer, now

    def expire(self) -> None:
        """Lose every right that could not be confirmed within the lease; all of them when the watcher is gone."""
        now = self._monotonic()
        is_stale = self.round_age > STALE_SECONDS
        for key, live in list(self._live.items()):
            if is_stale or now - live.confirmed > self._lease:
                self._lose(key, LOST)

    def drop_session(self, session_id: str) -> None:
        """The person signed this session out: its rights end now, not at the next reading."""
        signed_out = Refusal("signed-out", "You are signed out. Sign in again and open the workspace.")
        for key, live in list(self._live.items()):
            if live.right.frame.session_id == session_id:
                self._lose(key, signed_out)

    def _lose(self, key: str, why: Refusal) -> None:
        live = self._live.pop(key, None)
        if live is None:
            return
        self.lost += 1
        log.info("gate.right-lost", code=why.code, workspace=live.right.frame.workspace, open=len(live.closers))
        for closer in list(live.closers):
            closer(why)
