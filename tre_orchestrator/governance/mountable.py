"""May a dataset version's files be mounted: are they still those that were hashed (D1)?

A start compares inode, size and times of every file with what was hashed, so a file that was touched since then is not
mounted until it has been hashed again. That reads a whole folder tree, so no transaction is held meanwhile; what other
people can change in the database at the same time is asked in the transaction that records the start.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.names import DatasetName
from tre_orchestrator.errors import Refusal, Refused
from tre_orchestrator.governance.coherence import overlap
from tre_orchestrator.governance.datasets import load_manifest, place_of
from tre_orchestrator.governance.tables import ManifestFileRow, ManifestRow
from tre_orchestrator.governance.walk import Marks, marks_of, opened_folder, walk
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings


def why_closed(session: Session, settings: Settings, dataset: DatasetName, version: str) -> Refusal | None:
    """Why this version may not be mounted whatever its files look like, or None. Looks at the database only."""
    row = session.get(ManifestRow, (dataset, version))
    if row is None:
        return Refusal("dataset-not-added", f"Dataset '{dataset}' {version} has not been hashed yet. Ask ops.")
    if row.closed_at is not None:
        return Refusal(
            "dataset-not-verified",
            f"The files of '{dataset}' {version} were not those that were hashed when they were last verified, on "
            f"{row.closed_at:%-d %B %Y}. Ops must put them right, then run `tre dataset verify {dataset} {version}`.",
        )
    for other, its_folder in session.execute(
        select(ManifestRow.dataset, ManifestRow.folder).where(ManifestRow.dataset != dataset)
    ):
        if overlap(str(settings.state_dir / row.folder), str(settings.state_dir / its_folder)):
            sentence = f"Dataset '{dataset}' {version} and dataset '{other}' lie in one folder. Ops must part them."
            return Refusal("dataset-shared-folder", sentence)
    return None


def why_touched(db: Database, settings: Settings, dataset: DatasetName, version: str) -> Refusal | None:
    """Why the files on disk are not those that were hashed, or None. Compares marks only; raises `NotFound`."""
    with db.read() as session:
        declared = load_manifest(session, dataset, version).folder
        known = _known(session, dataset, version)
    try:
        root, folder = place_of(settings, declared)
        with opened_folder(root, folder) as opened:
            present = {f.path: marks_of(f.path, f.status) for f in walk(opened, str(folder)) if not f.is_folder}
    except Refused as error:
        return Refusal("dataset-touched", f"Dataset '{dataset}' {version} cannot be mounted. {error.sentence}")
    except OSError as error:
        reason = error.strerror or "it changes while it is read"
        return Refusal("dataset-touched", f"Dataset '{dataset}' {version} cannot be mounted: {reason}.")
    if present == known:
        return None
    touched = sorted(path for path in known.keys() | present.keys() if known.get(path) != present.get(path))
    return Refusal(
        "dataset-touched",
        f"{len(touched)} of the files of '{dataset}' {version} changed since they were hashed (first: {touched[0]}). "
        f"Ops must find out why, then run `tre dataset verify {dataset} {version}`.",
    )


def _known(session: Session, dataset: DatasetName, version: str) -> dict[str, Marks]:
    """The marks of every file when it was hashed, by path."""
    row = ManifestFileRow
    columns = select(row.path, row.size, row.inode, row.mtime_ns, row.ctime_ns)
    return {
        path: Marks(path, size, int(inode), mtime_ns, ctime_ns)
        for path, size, inode, mtime_ns, ctime_ns in session.execute(
            columns.where(row.dataset == dataset, row.version == version)
        )
    }
