"""The right to every running workspace, decided again each second (D2, P4).

A right that is lost ends the workspace at once, or when its grace is over with a warning until then. What is decided
to go on gets its lease renewed; when nothing can be decided nothing is renewed, and the supervisor ends the workspaces.
`judge` is the rule, pure; `Watch` applies it.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from tre_orchestrator.catalogue.names import PersonId, ProjectName, WorkspaceId
from tre_orchestrator.controller.metrics import Metrics
from tre_orchestrator.errors import NotFound, TreError
from tre_orchestrator.governance.facts import decide_now
from tre_orchestrator.governance.model import Decision
from tre_orchestrator.ledger.append import append, software
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces import lifecycle, rows
from tre_orchestrator.workspaces.backend import Backend
from tre_orchestrator.workspaces.lifecycle import EndReason, WorkspaceView
from tre_orchestrator.workspaces.tables import WorkspaceState

WARN_BEFORE = dt.timedelta(minutes=15)
_ENDS_AT_ONCE = 8
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a workspace: ended for `end`, or it goes on until `ends_at` with what the banner says."""

    end: EndReason | None
    ends_at: dt.datetime
    warning: str
    right_lost: bool


def judge(view: WorkspaceView, decision: Decision, now: dt.datetime) -> Verdict:
    """What the decision of this moment means for a workspace that runs."""
    longest = view.longest_until or view.ends_at or now
    if decision.allowed:
        until = decision.until + dt.timedelta(seconds=decision.grace_seconds) if decision.until else longest
        ends_at = min(longest, until)
        because = decision.ends_because if ends_at < longest else "it has run as long as its tier allows"
        over = EndReason("right-ended" if ends_at < longest else "max-life", f"It ended because {because}.")
    else:
        sentence = decision.refusals[0].sentence
        over = EndReason(decision.refusals[0].code, sentence)
        ends_at = min(longest, now + dt.timedelta(seconds=decision.grace_seconds))
        if view.right_lost_at is not None and view.ends_at is not None:
            ends_at = min(ends_at, view.ends_at)
        because = sentence.rstrip(".")
    if now >= ends_at:
        return Verdict(over, ends_at, "", not decision.allowed)
    warns = not decision.allowed or ends_at - now <= WARN_BEFORE
    warning = f"This workspace ends at {ends_at:%H:%M} UTC: {because}. Save your work." if warns else ""
    return Verdict(None, ends_at, warning, not decision.allowed)


class Watch:
    """Judges every running workspace, ends what must end, renews the lease of the rest."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        backend: Backend,
        metrics: Metrics,
        clock: Callable[[], dt.datetime],
        told_hub: Callable[[PersonId, ProjectName], None],
    ) -> None:
        self._db = db
        self._settings = settings
        self._backend = backend
        self._metrics = metrics
        self._clock = clock
        self._told_hub = told_hub
        self._enders = ThreadPoolExecutor(_ENDS_AT_ONCE, thread_name_prefix="end")
        self._ending: set[WorkspaceId] = set()
        self._guard = threading.Lock()

    def look(self, now: dt.datetime) -> None:
        """One round over all workspaces. One that cannot be judged keeps its lease as it is, is told, and is raised at
        the end: the others have theirs by then."""
        with self._db.read() as session:
            views = rows.in_state(session, WorkspaceState.running, WorkspaceState.starting)
        going_on: list[WorkspaceId] = []
        trouble: Exception | None = None
        for view in views:
            try:
                verdict = self._judge(view, now)
                if verdict.end is not None:
                    self._end(view, verdict.end)
                    continue
                if view.state is WorkspaceState.running:
                    self._note(view, verdict, now)
            except Exception as error:  # noqa: BLE001 - told below; one workspace's trouble must not end the others
                code = error.code if isinstance(error, TreError) else type(error).__name__
                _log.error("right.unknown", workspace=view.id, code=code)
                trouble = error
                continue
            going_on.append(view.id)
        if going_on:
            self._backend.lease(going_on, self._settings.lease_seconds)
        if trouble is not None:
            raise trouble

    def close(self) -> None:
        """Wait for the ends that are under way."""
        self._enders.shutdown(wait=True)

    def _judge(self, view: WorkspaceView, now: dt.datetime) -> Verdict:
        try:
            with self._db.read() as session:
                decision = decide_now(session, self._settings, view.project, view.person, now, mfa=None)
        except NotFound as error:  # the project is no longer in the catalogue: no right to it either
            return Verdict(EndReason(error.code, error.sentence), now, "", True)
        if view.state is WorkspaceState.running:
            return judge(view, decision, now)
        if decision.allowed:
            return Verdict(None, now, "", False)
        refusal = decision.refusals[0]
        return Verdict(EndReason(refusal.code, refusal.sentence), now, "", True)

    def _note(self, view: WorkspaceView, verdict: Verdict, now: dt.datetime) -> None:
        """Keep a changed end or warning where the gate and the pages read it; a lost right goes to the ledger."""
        was_lost = view.right_lost_at is not None
        if (view.ends_at, view.warning, was_lost) == (verdict.ends_at, verdict.warning, verdict.right_lost):
            return
        with self._db.write() as session:
            row = rows.locked(session, view.id)
            if row.state != WorkspaceState.running or row.nonce != view.nonce:
                return
            row.ends_at, row.warning = verdict.ends_at, verdict.warning
            if verdict.right_lost == was_lost:
                return
            row.right_lost_at = now if verdict.right_lost else None
            kind = "workspace.right.lost" if verdict.right_lost else "workspace.right.regained"
            facts = {"workspace": view.id, "ends_at": verdict.ends_at.isoformat(timespec="seconds")}
            append(session, kind, software("controller"), f"project/{view.project}", facts, now=now)

    def _end(self, view: WorkspaceView, reason: EndReason) -> None:
        """End it beside this round: one that hangs must not keep the others."""
        with self._guard:
            if view.id in self._ending:
                return
            self._ending.add(view.id)
        self._enders.submit(self._end_now, view, reason)

    def _end_now(self, view: WorkspaceView, reason: EndReason) -> None:
        began = time.monotonic()
        try:
            lifecycle.end(self._db, self._settings, self._backend, view.id, reason, self._clock())
        except TreError as error:  # reconciliation goes on with it
            _log.error("workspace.end.failed", workspace=view.id, code=error.code, reason=error.sentence)
        except Exception:  # noqa: BLE001 - told to nobody else: this is a thread of its own
            _log.exception("workspace.end.crashed", workspace=view.id)
        else:
            self._metrics.ended.labels(reason.code).inc()
            self._metrics.end_seconds.observe(time.monotonic() - began)
            self._told_hub(view.person, view.project)
        finally:
            with self._guard:
                self._ending.discard(view.id)
