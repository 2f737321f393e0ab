"""The right to reach a workspace, asked anew every second while it is used; what cannot be asked is lost (P4).

`Rights.of` answers from memory only what the watcher confirmed a moment ago. The watcher reads every right in use
again, tells each open connection of a lost one at once, and loses those it could not read for `lease_seconds`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from tre_orchestrator.errors import Refusal, Refused, TreError
from tre_orchestrator.gate.meter import MIB, MeterKey
from tre_orchestrator.gate.tickets import Frame
from tre_orchestrator.governance.credentials import sessions_of_person
from tre_orchestrator.governance.facts import decide_now
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces.lifecycle import by_id, why_not_usable

log = structlog.get_logger()

IDLE_SECONDS = 120.0
"""A right nobody used for this long is no longer watched; the next request asks anew."""

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


def read_right(session: Session, settings: Settings, frame: Frame, now: dt.datetime, known: Right | None) -> Right:
    """The right as the database has it; raises `Refused` with the reason when there is none.

    `known` is the right as last read: the tier's controls are part of what was approved, so they are read once.
    """
    view = by_id(session, frame.workspace)
    refusal = why_not_usable(session, settings, frame.workspace, now)
    if refusal is None and (view is None or view.nonce != frame.nonce or view.person != frame.person):
        refusal = Refusal("workspace-restarted", "This workspace was started again. Open it again from its project.")
    if refusal is None and now >= frame.expires_at:
        refusal = Refusal("frame-over", "This page was open for very long. Open the workspace again from its project.")
    if refusal is None and not any(
        one.id == frame.session_id for one in sessions_of_person(session, frame.person, now)
    ):
        refusal = Refusal("signed-out", "You are signed out. Sign in again and open the workspace from its project.")
    if refusal is not None or view is None:
        raise Refused([refusal or LOST])
    if known is not None:
        return replace(known, ends_at=view.ends_at)
    policy = decide_now(session, settings, view.project, view.person, now, mfa=None).tier_policy
    return Right(
        frame=frame,
        meter=MeterKey(view.person, view.project),
        socket=Path(view.socket),
        soft=policy.browser.soft_mib * MIB,
        hard=policy.browser.hard_mib * MIB,
        scripts_in_output=policy.scripts_in_output,
        ends_at=view.ends_at,
    )


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
        self.lost = 0
        """How many rights in use were lost since the gate started."""

    async def of(self, frame: Frame) -> Right:
        """The right of this frame, confirmed lately; raises `Refused`, or the reader's own error."""
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
        """Have `closer` called once when this right is lost; False when it is lost already."""
        live = self._live.get(key)
        if live is None:
            return False
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
    def connections(self) -> int:
        """How many connections wait to be told."""
        return sum(len(live.closers) for live in self._live.values())

    async def watch(self) -> None:
        """Confirm every right in use each interval, until cancelled. A reader that hangs does not stop the lease."""
        reading: asyncio.Task[None] | None = None
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

    async def confirm(self) -> None:
        """Read every right in use once; close what was lost, stop watching what nobody uses."""
        now = self._monotonic()
        for key, live in list(self._live.items()):
            if not live.closers and now - live.used > IDLE_SECONDS:
                del self._live[key]
        asked = [(live.right.frame, live.right) for live in self._live.values()]
        if not asked:
            return
        try:
            answers = await self._read([*asked])
        except TreError as error:
            log.warning("gate.rights-unread", code=error.code, rights=len(asked))
            return
        for (frame, _known), answer in zip(asked, answers, strict=True):
            live_now = self._live.get(frame.key)
            if live_now is None:
                continue
            if isinstance(answer, Refusal):
                self._lose(frame.key, answer)
            else:
                live_now.right, live_now.confirmed = answer, now

    def expire(self) -> None:
        """Lose every right that could not be confirmed within the lease."""
        now = self._monotonic()
        for key, live in list(self._live.items()):
            if now - live.confirmed > self._lease:
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
