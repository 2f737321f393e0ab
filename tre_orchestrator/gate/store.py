"""Everything the gate asks of the database, always in threads: a slow disk delays its own answer and no other.

The rights watcher and the meter have a thread of their own, so that requests waiting for a lock cannot hold up a
revocation. Every method raises `TreError`; one that cannot reach the database raises `Unavailable`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sqlalchemy import or_, select, update

from tre_orchestrator.catalogue.names import PersonId, ProjectName, WorkspaceId
from tre_orchestrator.errors import NotFound, Refusal, Refused
from tre_orchestrator.gate import tickets
from tre_orchestrator.gate.meter import Meter, MeterKey, read_bytes, write_bytes
from tre_orchestrator.gate.reading import read_rights
from tre_orchestrator.gate.rights import Right
from tre_orchestrator.gate.tickets import Frame
from tre_orchestrator.governance import credentials
from tre_orchestrator.governance.credentials import SEEN_EVERY, WebSession
from tre_orchestrator.governance.facts import decide_now
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces.lifecycle import why_not_usable, workspace_of
from tre_orchestrator.workspaces.tables import WorkspaceRow

T = TypeVar("T")
ACTIVITY_EVERY = dt.timedelta(seconds=10)
THREADS = 8


@dataclass(frozen=True, slots=True)
class MeterView:
    """What the banner shows. Sizes in bytes."""

    bytes_today: int
    soft: int
    hard: int
    ends_at: dt.datetime | None
    warning: str


class Store:
    """The gate's view of the database."""

    def __init__(self, db: Database, settings: Settings, clock: Callable[[], dt.datetime], meter: Meter) -> None:
        self._db = db
        self._settings = settings
        self._clock = clock
        self._meter = meter
        self._requests = ThreadPoolExecutor(THREADS, "gate-request")
        self._watcher = ThreadPoolExecutor(1, "gate-watch")
        self._writer = ThreadPoolExecutor(1, "gate-meter")
        self._busy: dict[tuple[WorkspaceId, str], Frame] = {}
        self._present: set[str] = set()
        self._activity_written = clock()

    def close(self) -> None:
        """Let the threads end."""
        self._requests.shutdown(wait=True, cancel_futures=True)
        self._watcher.shutdown(wait=True, cancel_futures=True)
        self._writer.shutdown(wait=True, cancel_futures=True)

    async def ping(self) -> None:
        """Raises `Unavailable` when the database does not answer."""

        def ask() -> None:
            with self._db.read() as session:
                session.execute(select(1))

        await self._run(ask)

    async def session(self, cookie: str, *, used: bool) -> WebSession | None:
        """The live session of a cookie. `used` by a person, not by a page that asks on its own: only that keeps it."""
        return await self._run(lambda: self._session(cookie, used=used))

    async def token_holder(self, token: str) -> PersonId | None:
        """Whose API token this is."""

        def find() -> PersonId | None:
            with self._db.read() as session:
                return credentials.person_of_token(session, token, self._clock())

        return await self._run(find)

    async def sign_in(self, person: PersonId, *, mfa: bool) -> str:
        """Open a session; the cookie's value."""

        def open_it() -> str:
            with self._db.write() as session:
                return credentials.open_session(session, person, mfa=mfa, now=self._clock())

        return await self._run(open_it)

    async def sign_out(self, session_id: str) -> None:
        """Close a session and every frame it opened."""

        def close_it() -> None:
            with self._db.write() as session:
                credentials.close_session(session, session_id, self._clock())
                tickets.close_frames(session, session_id)

        await self._run(close_it)

    async def ticket(self, who: WebSession, project: ProjectName) -> tuple[WorkspaceId, str]:
        """A ticket for the person's own running workspace in a project; raises with the reason when there is none."""
        return await self._run(lambda: self._ticket(who, project))

    async def enter(self, token: str, workspace: WorkspaceId) -> tuple[str, Frame]:
        """Spend a ticket at a workspace's host; the frame's cookie and the frame."""

        def spend() -> tuple[str, Frame] | None:
            with self._db.write() as session:
                return tickets.redeem(session, token, workspace, self._clock())

        opened = await self._run(spend)
        if opened is None:
            raise Refused([Refusal("ticket-elsewhere", "This way in was for another workspace. Open it again.")])
        return opened

    async def frame(self, cookie: str) -> Frame | None:
        """The frame of a cookie."""

        def find() -> Frame | None:
            with self._db.read() as session:
                return tickets.frame_of(session, cookie, self._clock())

        return await self._run(find)

    async def meter_view(self, person: PersonId, project: ProjectName) -> MeterView:
        """What the banner of this person's workspace shows."""

        def find() -> MeterView:
            now = self._clock()
            with self._db.read() as session:
                view = workspace_of(session, person, project)
                if view is None:
                    raise NotFound("workspace", "You have no workspace in this project.")
                browser = decide_now(session, self._settings, project, person, now, mfa=None).tier_policy.browser
                stored = read_bytes(session, MeterKey(person, project), now.date())
            mib = 1024 * 1024
            return MeterView(stored, browser.soft_mib * mib, browser.hard_mib * mib, view.ends_at, view.warning)

        return await self._run(find)

    async def rights(self, asked: list[tuple[Frame, Right | None]]) -> list[Right | Refusal]:
        """Read rights anew, each on its own; the meter learns the totals of new ones."""
        watching = any(known for _frame, known in asked)
        answers, totals = await self._run(lambda: self._rights(asked, self._meter.day), watcher=watching)
        self._meter.confirm({}, totals)
        return answers

    def note_busy(self, frame: Frame) -> None:
        """Something happens in this workspace; written at most every 10 seconds."""
        self._busy[(frame.workspace, frame.nonce)] = frame

    def note_person(self, frame: Frame) -> None:
        """The browser said something: its person is there, so the session goes on, and the workspace is busy."""
        self.note_busy(frame)
        self._present.add(frame.session_id)

    async def flush(self, *, at_end: bool = False) -> None:
        """Write metered bytes, and now and then activity and what has run out."""
        now = self._clock()
        due = at_end or now - self._activity_written >= ACTIVITY_EVERY
        busy = list(self._busy.values()) if due else []
        present = set(self._present) if due else set()
        pending = self._meter.take_pending()
        if due:
            self._busy, self._present, self._activity_written = {}, set(), now
        if pending or due:
            keys = {key for key, _day in pending}
            day = self._meter.day
            flush = partial(self._flush, pending, keys, day, busy, present, now, tidy=due)
            totals = await asyncio.get_running_loop().run_in_executor(self._writer, flush)
            self._meter.confirm(pending, totals)

    async def _run(self, work: Callable[[], T], *, watcher: bool = False) -> T:
        executor = self._watcher if watcher else self._requests
        return await asyncio.get_running_loop().run_in_executor(executor, work)

    def _session(self, cookie: str, *, used: bool) -> WebSession | None:
        now = self._clock()
        with self._db.read() as session:
            found = credentials.session_of(session, cookie, now)
        if found is not None and used and now - found.seen_at >= SEEN_EVERY:
            with self._db.write() as session:
                credentials.touch_session(session, found.id, now)
        return found

    def _ticket(self, who: WebSession, project: ProjectName) -> tuple[WorkspaceId, str]:
        now = self._clock()
        with self._db.write() as session:
            decision = decide_now(session, self._settings, project, who.person, now, mfa=who.mfa)
            view = workspace_of(session, who.person, project)
            if not decision.may_keep_running:
                raise Refused(decision.refusals)
            if view is None:
                raise NotFound("workspace", "You have no workspace in this project. Start it first.")
            if refusal := why_not_usable(session, self._settings, view.id, now):
                raise Refused([refusal])
            return view.id, tickets.issue(session, view.id, view.nonce, who.person, who.id, now)

    def _rights(
        self, asked: list[tuple[Frame, Right | None]], day: dt.date
    ) -> tuple[list[Right | Refusal], dict[MeterKey, int]]:
        now = self._clock()
        with self._db.read() as session:
            answers = read_rights(session, self._settings, asked, now)
            unread = {
                right.meter
                for (_frame, known), right in zip(asked, answers, strict=True)
                if isinstance(right, Right) and (known is None or not self._meter.knows(right.meter))
            }
            return answers, {key: read_bytes(session, key, day) for key in unread}

    def _flush(
        self,
        pending: dict[tuple[MeterKey, dt.date], int],
        keys: set[MeterKey],
        day: dt.date,
        busy: list[Frame],
        present: set[str],
        now: dt.datetime,
        *,
        tidy: bool,
    ) -> dict[MeterKey, int]:
        with self._db.write() as session:
            write_bytes(session, pending)
            for frame in busy:
                older = or_(WorkspaceRow.last_activity.is_(None), WorkspaceRow.last_activity < now)
                session.execute(
                    update(WorkspaceRow)
                    .where(WorkspaceRow.id == frame.workspace, WorkspaceRow.nonce == frame.nonce, older)
                    .values(last_activity=now)
                )
            for session_id in present:
                credentials.touch_session(session, session_id, now)
            if tidy:
                tickets.forget_expired(session, now)
            return {key: read_bytes(session, key, day) for key in keys}
