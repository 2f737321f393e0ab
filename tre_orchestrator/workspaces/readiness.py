"""Everything that must hold before a workspace starts, each with a sentence for the person when it does not.

Folders are made here; the lock's proof is looked up here, and made when there is none for the lock as it is now (N2).
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.errors import Refusal, Refused, refuse_if
from tre_orchestrator.governance.mountable import why_closed, why_touched
from tre_orchestrator.ledger.append import append, software
from tre_orchestrator.ledger.canonical import Json
from tre_orchestrator.workspaces.proof import record_data
from tre_orchestrator.workspaces.tables import ProofRow

if TYPE_CHECKING:
    from pathlib import Path

    from tre_orchestrator.catalogue.names import ProjectName, WorkspaceId
    from tre_orchestrator.governance.decision import Decision
    from tre_orchestrator.ledger.database import Database
    from tre_orchestrator.settings import Settings
    from tre_orchestrator.workspaces.backend import Backend
    from tre_orchestrator.workspaces.plan import WorkspacePlan

NEEDED_MIB = 256
"""Free space without which a workspace would fail at its first file."""

PROOF_AGE = dt.timedelta(hours=24)
"""A proof that is older is made again at the next start."""

_log = structlog.get_logger()


def why_datasets_closed(session: Session, settings: Settings, decision: Decision) -> list[Refusal]:
    """Every reason in the database why a decided dataset may not be mounted."""
    found = (why_closed(session, settings, dataset.name, dataset.version) for dataset in decision.datasets)
    return [refusal for refusal in found if refusal]


def why_datasets_touched(db: Database, settings: Settings, decision: Decision) -> list[Refusal]:
    """Every reason why a decided dataset's files are not what was approved (inode, size, times; D1)."""
    found = (why_touched(db, settings, dataset.name, dataset.version) for dataset in decision.datasets)
    return [refusal for refusal in found if refusal]


def why_no_room(free_bytes: int, needed_mib: int = NEEDED_MIB) -> Refusal | None:
    """Why the disk has no room for a workspace, or None."""
    if free_bytes >= needed_mib * 1024 * 1024:
        return None
    sentence = (
        f"The disk is nearly full: {free_bytes // 1024 // 1024} MiB are free and a workspace needs {needed_mib} MiB. "
        "Nothing was started; ask the people who run this TRE to make room."
    )
    return Refusal("disk-full", sentence)


def check_room(settings: Settings) -> None:
    """Refuse when the disk under the workspaces is nearly full."""
    refuse_if(why_no_room(shutil.disk_usage(settings.workspaces_dir).free))


def make_folders(settings: Settings, workspace: WorkspaceId, project: ProjectName) -> None:
    """The workspace's own folders and the project's shared one; what is there stays as it is."""
    own = settings.workspaces_dir / workspace
    own.mkdir(mode=0o700, exist_ok=True)
    for name, mode in (("home", 0o700), ("outputs", 0o700), ("imports", 0o755), ("outcomes", 0o755)):
        _make_folder(own / name, mode)
    _make_folder(settings.shared_dir / project, 0o2770)


def write_plan(settings: Settings, plan: WorkspacePlan) -> None:
    """Put the plan where the backend reads it; the old one is replaced whole."""
    path = settings.workspaces_dir / plan.workspace / "plan.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(plan.to_json(), encoding="utf-8")
    fresh.chmod(0o600)
    fresh.replace(path)


def latest_proof(session: Session, lock_digest: str) -> ProofRow | None:
    """The last try of exactly this lock."""
    query = select(ProofRow).where(ProofRow.lock_digest == lock_digest).order_by(ProofRow.id.desc()).limit(1)
    return session.scalar(query)


def ensure_proven(
    db: Database,
    backend: Backend,
    plan: WorkspacePlan,
    moment: Callable[[], dt.datetime],
    on_proving: Callable[[], None],
) -> str:
    """The digest of the lock as it is now, proven; raises `Refused` when it did not hold (N2).

    `on_proving` is called when there is no proof yet, before the seconds that making one takes.
    """
    digest = backend.status().lock_digest
    with db.read() as session:
        row = latest_proof(session, digest)
        is_proven = row is not None and row.passed and moment() - row.at < PROOF_AGE
    if not is_proven:
        on_proving()
        refuse_if(prove(db, backend, plan, digest, moment))
    return digest


def prove(
    db: Database, backend: Backend, plan: WorkspacePlan, digest: str, moment: Callable[[], dt.datetime]
) -> Refusal | None:
    """Try the lock and record what happened, in the proofs and in the ledger; returns why it did not hold, or None."""
    record = backend.prove(plan)
    now = moment()
    if record.policy_hash != digest:
        sentence = "The network lock changed while it was being tried, so the proof says nothing. Start again."
        return Refusal("lock-changed", sentence)
    with db.write() as session:
        session.add(
            ProofRow(lock_digest=digest, at=now, node=record.node, passed=record.passed, record=record_data(record))
        )
        facts: Mapping[str, Json] = {
            "lock": digest,
            "node": record.node,
            "tried": len(record.results),
            "passed": record.passed,
        }
        append(session, "lock.proven" if record.passed else "lock.broken", software("prover"), "lock", facts, now=now)
    if record.passed:
        return None
    _log.error("lock.broken", targets=[result.target for result in record.results if not result.held])
    sentence = f"{record.sentence} No workspace starts until it does; tell the people who run this TRE."
    return Refusal("lock-not-proven", sentence)


def refuse_any(refusals: list[Refusal]) -> None:
    """Raise `Refused` with every reason there is."""
    if refusals:
        raise Refused(refusals)


def _make_folder(path: Path, mode: int) -> None:
    try:
        path.mkdir(mode=mode)
    except FileExistsError:
        return
    path.chmod(mode)  # whatever the umask is
