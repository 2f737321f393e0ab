"""One start of one workspace, by the process that claimed it: check, prove, intend, act, record.

Whatever fails, nothing of this start runs on, the row is stopped again with the reason, and the ledger has the
outcome of every intent. A claim that was taken away in the meantime (somebody ended the workspace) ends the start.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.names import PersonId, ProjectName, WorkspaceId
from tre_orchestrator.errors import Refused, TreError, Unavailable
from tre_orchestrator.governance.copies import record_use
from tre_orchestrator.governance.facts import decide_now
from tre_orchestrator.governance.load import load_project
from tre_orchestrator.governance.model import Decision
from tre_orchestrator.ledger.append import append, person
from tre_orchestrator.ledger.canonical import Json
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces import readiness, rows
from tre_orchestrator.workspaces.backend import Backend, Handle, Progress
from tre_orchestrator.workspaces.ending import subject_of
from tre_orchestrator.workspaces.environment import find_environment, inside_dir
from tre_orchestrator.workspaces.plan import WorkspacePlan, plan
from tre_orchestrator.workspaces.tables import WorkspaceRow, WorkspaceState

_BACKEND_FROM, _BACKEND_TO = 40, 95
_RENEW_EVERY = dt.timedelta(seconds=5)
_log = structlog.get_logger()


@dataclass(slots=True)
class Starter:
    """The only one who starts this workspace now; `moment` is the clock."""

    db: Database
    settings: Settings
    backend: Backend
    project: ProjectName
    who: PersonId
    workspace: WorkspaceId
    claim: str
    mfa: bool
    moment: Callable[[], dt.datetime]
    progress: Progress
    nonce: str = field(default_factory=rows.new_nonce)
    renewed: dt.datetime | None = None

    def run(self) -> Handle:
        """Start it; raises after everything was put back."""
        try:
            planned, decision, lock = self._prepare()
            handle = self.backend.start(planned, lock, self._pass_on)
            self._record(handle, decision)
        except BaseException as error:
            self._put_back(error)
            raise
        self.progress("Your workspace is ready", 100)
        return handle

    def _prepare(self) -> tuple[WorkspacePlan, Decision, str]:
        """All checks, the folders and the proof; the intent is the last thing recorded before the backend acts."""
        self.progress("Checking the disk and the environment", 5)
        readiness.check_room(self.settings)
        environment = find_environment(self.settings)
        readiness.make_folders(self.settings, self.workspace, self.project)
        with self.db.read() as session:
            planned, _ = self._plan(session, environment)
        self.progress("Looking for the proof of the network lock", 8)
        lock = readiness.ensure_proven(self.db, self.backend, planned, self.moment, self._on_proving)
        self._step("Comparing the datasets with what was approved", 34)
        with self.db.read() as session:
            _, compared = self._plan(session, environment)
        readiness.refuse_any(readiness.why_datasets_touched(self.db, self.settings, compared))
        self._step("Writing down what is about to start", 38)
        with self.db.write() as session:
            row = self._held(session)
            planned, decision = self._plan(session, environment)
            if decision.datasets != compared.datasets:
                raise Unavailable("start-changed", "What the project may use changed while it started. Start again.")
            datasets = [
                {"name": dataset.name, "version": dataset.version, "manifest": dataset.manifest}
                for dataset in decision.datasets
            ]
            rows.mark_intended(row, self.nonce, decision.digest, datasets)
            for dataset in decision.datasets:
                record_use(session, self.project, dataset.name, dataset.version, self.moment())
            facts: dict[str, Json] = {
                "workspace": self.workspace,
                "project_digest": decision.digest,
                "lock": lock,
                "datasets": datasets,
            }
            self._append(session, "workspace.start.intended", facts)
        readiness.write_plan(self.settings, planned)
        return planned, decision, lock

    def _plan(self, session: Session, environment: Path) -> tuple[WorkspacePlan, Decision]:
        """What the rights of this moment allow."""
        decision = decide_now(session, self.settings, self.project, self.who, self.moment(), mfa=self.mfa)
        if not decision.allowed:
            raise Refused(decision.refusals)
        readiness.refuse_any(readiness.why_datasets_closed(session, self.settings, decision))
        planned = plan(
            workspace=self.workspace,
            nonce=self.nonce,
            project=load_project(session, self.project),
            person=self.who,
            decision=decision,
            settings=self.settings,
            environment=environment,
            inside=inside_dir(),
        )
        return planned, decision

    def _record(self, handle: Handle, decision: Decision) -> None:
        """The outcome: it runs."""
        now = self.moment()
        longest = now + dt.timedelta(hours=decision.tier_policy.max_life_hours)
        until = decision.until + dt.timedelta(seconds=decision.grace_seconds) if decision.until else longest
        with self.db.write() as session:
            row = self._held(session)
            rows.mark_running(row, handle, longest, min(until, longest))
            self._append(session, "workspace.started", {"workspace": self.workspace})
        _log.info("workspace.started", workspace=self.workspace, project=self.project)

    def _put_back(self, error: BaseException) -> None:
        """The outcome: it does not run. A claim that is ours no more belongs to somebody who puts it back himself."""
        code, sentence = _told(error)
        _log.warning("workspace.start.failed", workspace=self.workspace, code=code, error=type(error).__name__)
        try:
            with self.db.read() as session:
                view = rows.by_id(session, self.workspace)
            is_ours = view is not None and view.claim == self.claim
            if is_ours or any(handle.nonce == self.nonce for handle in self.backend.running()):
                self.backend.stop(self.workspace)
            with self.db.write() as session:
                row = rows.locked(session, self.workspace)
                if row.claim != self.claim:
                    return
                if row.nonce:
                    self._append(session, "workspace.start.failed", {"workspace": self.workspace, "reason": code})
                rows.mark_stopped(row, code, sentence)
        except TreError as second:  # left `starting`; the controller settles it when the claim runs out
            _log.error("workspace.start.left_open", workspace=self.workspace, code=second.code)

    def _on_proving(self) -> None:
        self._step("Trying the network lock from inside", 12)

    def _pass_on(self, words: str, percent: int) -> None:
        """The backend's own progress, as a part of ours."""
        self._step(words, _BACKEND_FROM + percent * (_BACKEND_TO - _BACKEND_FROM) // 100)

    def _step(self, words: str, percent: int) -> None:
        """Tell the person, and tell the other processes that this start is alive."""
        self.progress(words, percent)
        now = self.moment()
        if self.renewed is not None and now < self.renewed + _RENEW_EVERY:
            return
        with self.db.write() as session:
            rows.renew_claim(self._held(session), now)
        self.renewed = now

    def _held(self, session: Session) -> WorkspaceRow:
        row = rows.locked(session, self.workspace)
        if row.claim != self.claim or row.state != WorkspaceState.starting:
            why = row.end_reason or "It took too long and was given up."
            raise Unavailable("start-overtaken", f"The workspace was stopped while it started. {why}")
        return row

    def _append(self, session: Session, kind: str, facts: Mapping[str, Json]) -> None:
        append(session, kind, person(self.who), subject_of(self.project), facts, now=self.moment())


def _told(error: BaseException) -> tuple[str, str]:
    """Code and sentence of a failure; one that was not foreseen shows nothing of its inside."""
    if isinstance(error, TreError):
        return error.code, error.sentence
    sentence = "The start failed inside the TRE; the log says where. Try again, and tell the people who run it."
    return "internal", sentence
