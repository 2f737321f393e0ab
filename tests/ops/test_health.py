"""What `tre status` tells of the supervisor, in the same words wherever it is asked."""

from __future__ import annotations

import datetime as dt

from tre_orchestrator.ledger.append import append, software
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ops.health import SupervisorFigures, health, supervisor_figures, supervisor_health
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces.tables import ProofRow


def test_a_supervisor_that_is_gone_is_told_in_one_way(settings: Settings) -> None:
    alone = supervisor_health(settings)
    assert (alone.ok, alone.detail) == (False, "does not answer. `tre down` and `tre up` start it again.")
    assert health(settings)[-1] == alone


def test_figures_of_the_supervisor(db: Database, now: dt.datetime) -> None:
    with db.read() as session:
        assert supervisor_figures(session, now) == SupervisorFigures(0, 0, None)
    with db.write() as session:
        for kind in ("workspace.start.intended", "workspace.started", "workspace.started", "workspace.ended"):
            append(session, kind, software("controller"), "workspace/x", now=now)
        for hours, passed in ((5, True), (3, True), (1, False)):
            at = now - dt.timedelta(hours=hours)
            session.add(ProofRow(lock_digest="ab", at=at, node="here", passed=passed, record={}))
    with db.read() as session:
        assert supervisor_figures(session, now) == SupervisorFigures(0, 2, 3 * 3600.0)
