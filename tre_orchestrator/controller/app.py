"""The controller: every step it runs and how often, started and ended together.

Who may wake whom: nobody. Each step reads what is due from the database, so a crash at any instant leaves work that
the next start finds again, and no message can be lost.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tre_orchestrator.airlock import work
from tre_orchestrator.airlock.store import Store
from tre_orchestrator.catalogue.names import PersonId, ProjectName
from tre_orchestrator.controller import records
from tre_orchestrator.controller.hub import HubNotes
from tre_orchestrator.controller.metrics import Metrics
from tre_orchestrator.controller.rights import Watch
from tre_orchestrator.controller.server import Server
from tre_orchestrator.controller.steps import Clock, Runner, Step
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.keys import Signer
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces import lifecycle
from tre_orchestrator.workspaces.backend import Backend, Eraser
from tre_orchestrator.workspaces.tables import WorkspaceRow, WorkspaceState

SOCKET = "controller.sock"
RIGHTS_PAUSE = 2.0
"""A lease lasts a minute: whoever may go on must not lose it because a database was away for half of one."""

_END_SECONDS = 20.0
_LONG_WORK = 900.0
"""Patience for steps whose work takes minutes, or that wait for somebody else."""


@dataclass(frozen=True)
class Controller:
    """Everything the steps work with."""

    db: Database
    settings: Settings
    backend: Backend
    eraser: Eraser
    store: Store
    signer: Signer
    clock: Clock
    metrics: Metrics

    @contextmanager
    def running(self) -> Iterator[list[Runner]]:
        """Run every step, and the socket for health and metrics, until the block ends."""
        ending = threading.Event()
        hub = HubNotes(self.settings, self._is_open)
        watch = Watch(self.db, self.settings, self.backend, self.metrics, self.clock, hub.add)
        runners = [Runner(step, self.clock, ending, self.metrics) for step in self.steps(watch, hub)]
        path = self.settings.run_dir / SOCKET
        server = Server(path, self.metrics.registry, lambda: [late for one in runners if (late := one.why_late())])
        answering = threading.Thread(target=server.serve_forever, name="http", daemon=True)
        try:
            for thread in (*runners, answering):
                thread.start()
            yield runners
        finally:
            ending.set()
            for runner in runners:
                runner.join(_END_SECONDS)
            watch.close()
            server.shutdown()
            server.server_close()
            path.unlink(missing_ok=True)

    def _is_open(self, person: PersonId, project: ProjectName) -> bool:
        with self.db.read() as session:
            found = lifecycle.workspace_of(session, person, project)
        return found is not None and found.state in (WorkspaceState.starting, WorkspaceState.running)

    def steps(self, watch: Watch, hub: HubNotes) -> tuple[Step, ...]:
        """What is done, and every how many seconds."""
        db, settings, backend = self.db, self.settings, self.backend
        return (
            Step("rights", settings.right_interval_seconds, watch.look, longest_pause=RIGHTS_PAUSE),
            Step("reconcile", 1.0, partial(lifecycle.reconcile, db, settings, backend)),
            Step("airlock", 1.0, partial(work.advance, db, settings, self.store), patience=_LONG_WORK),
            Step("checkpoint", 10.0, partial(records.sign_ledger, db, self.signer, self.metrics)),
            Step("grants", 1.0, partial(records.expire_grants, db)),
            Step("copies", 10.0, partial(records.delete_copies, db, self.eraser), patience=_LONG_WORK),
            Step("outcomes", 5.0, partial(records.tell_outcomes, db, settings)),
            Step("hub", 1.0, lambda _now: hub.send(), patience=_LONG_WORK),
            Step("counts", 5.0, lambda _now: self._count()),
            Step("sweep", 3600.0, partial(work.sweep, db, self.store)),
        )

    def _count(self) -> None:
        with self.db.read() as session:
            found = _states(session)
        for state in WorkspaceState:
            self.metrics.workspaces.labels(state.value).set(found.get(state.value, 0))


def _states(session: Session) -> dict[str, int]:
    found = session.execute(select(WorkspaceRow.state, func.count()).group_by(WorkspaceRow.state))
    return {str(state): int(count) for state, count in found}
