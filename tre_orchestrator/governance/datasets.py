"""A dataset version is a folder by reference plus a manifest: which files, how long, which SHA-256 (D1).

Once recorded a version never changes: other content is another version. Recording a manifest is a fact about the
machine, not a decision: it gives nobody access.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from tre_orchestrator.catalogue.canonical import sha256_of
from tre_orchestrator.catalogue.names import DatasetName, Sha256
from tre_orchestrator.errors import NotFound, Refusal, Refused, refuse_if
from tre_orchestrator.governance.load import load_dataset, lock_dataset
from tre_orchestrator.governance.readable import why_not_readable
from tre_orchestrator.governance.tables import ManifestFileRow, ManifestRow
from tre_orchestrator.governance.walk import Found, HashedFile, hash_file, opened_folder, walk
from tre_orchestrator.ledger.append import Actor, append
from tre_orchestrator.ledger.canonical import Json
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.settings import Settings

Progress = Callable[[str, int], None]
"""Told the path being hashed and the percentage of bytes done."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was recorded for a version."""

    dataset: DatasetName
    version: str
    folder: str
    digest: Sha256
    files: int
    bytes: int
    hashed_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of hashing a version again; `problems` are sentences, empty when every file is as recorded."""

    manifest: Manifest
    problems: tuple[str, ...]


def manifest_digest(files: list[HashedFile]) -> Sha256:
    """SHA-256 of the RFC 8785 list of {path, size, sha256}, sorted by path: what a grant binds to."""
    listed = [{"path": file.marks.path, "size": file.marks.size, "sha256": file.sha256} for file in files]
    return sha256_of(sorted(listed, key=lambda file: str(file["path"])))


def add_version(
    db: Database,
    settings: Settings,
    dataset: DatasetName,
    version: str,
    actor: Actor,
    now: dt.datetime,
    progress: Progress | None = None,
) -> Manifest:
    """Hash the declared folder of a version and record its manifest.

    Reads every byte before it takes the database's write lock. Recording the same content again renews the marks
    (after a restore, a `chmod`). Raises `Refused` for links, files a workspace could not read, a folder outside the
    data roots, and for content that differs from what was recorded.
    """
    with db.read() as session:
        declared = declared_folder(session, dataset, version)
    files = scan(settings, declared, progress)
    with db.write() as session:
        if declared_folder(session, dataset, version) != declared:
            raise Refused(
                [Refusal("dataset-moved", f"The folder of '{dataset}' {version} changed meanwhile. Try again.")]
            )
        return record_version(session, dataset, version, declared, files, actor, now)


def verify_version(
    db: Database,
    settings: Settings,
    dataset: DatasetName,
    version: str,
    actor: Actor,
    now: dt.datetime,
    progress: Progress | None = None,
) -> Verified:
    """Hash every file again and compare with the manifest; the result goes to the ledger. Content that is unchanged
    gets its marks renewed, so that starts work again; other content closes the version until it verifies. Raises
    `NotFound` when no manifest is recorded."""
    with db.read() as session:
        recorded = load_manifest(session, dataset, version)
        columns = select(ManifestFileRow.path, ManifestFileRow.size, ManifestFileRow.sha256)
        mine = (ManifestFileRow.dataset == dataset, ManifestFileRow.version == version)
        known = {path: (size, sha256) for path, size, sha256 in session.execute(columns.where(*mine))}
    files = scan(settings, recorded.folder, progress)
    found = {file.marks.path: (file.marks.size, str(file.sha256)) for file in files}
    problems = _differences(known, found)
    with db.write() as session:
        row = session.get_one(ManifestRow, (dataset, version))
        row.closed_at = now if problems else None
        if not problems:
            _renew_marks(session, dataset, version, files)
        facts: dict[str, Json] = {
            "version": version,
            "manifest": recorded.digest,
            "ok": not problems,
            "problems": len(problems),
        }
        append(session, "dataset.verified", actor, f"dataset/{dataset}", facts, now=now)
    return Verified(recorded, problems)


def scan(settings: Settings, folder: str, progress: Progress | None = None) -> list[HashedFile]:
    """Hash every file below a folder of the data roots, checking that workspaces will be able to read it."""
    root, absolute = place_of(settings, folder)
    with opened_folder(root, absolute) as opened:
        refuse_if(why_not_readable(settings, root, absolute, opened))
        total = sum(found.status.st_size for found in walk(opened, str(absolute)) if not found.is_folder)
        files: list[HashedFile] = []
        done = 0
        for found in walk(opened, str(absolute)):
            if not found.is_folder:
                files.append(hash_file(found, str(absolute), _told(progress, found, done, total)))
                done += found.status.st_size
    if not files:
        raise Refused([Refusal("dataset-empty", f"{absolute} holds no files. Put the data there first.")])
    return files


def place_of(settings: Settings, folder: str) -> tuple[Path, Path]:
    """The data root a folder lies below, and its absolute path; raises `Refused` when it lies below none."""
    absolute = Path(os.path.normpath(settings.state_dir / folder))
    for root in settings.all_data_roots:
        if absolute != root and absolute.is_relative_to(root):
            return root, absolute
    roots = ", ".join(str(root) for root in settings.all_data_roots)
    sentence = f"{absolute} does not lie below a data root ({roots}). Move it, or have ops add a root in settings.yaml."
    raise Refused([Refusal("outside-data-roots", sentence)])


def declared_folder(session: Session, dataset: DatasetName, version: str) -> str:
    """The folder that the catalogue declares for a version; raises `NotFound`."""
    declared = {one.version: one.folder for one in load_dataset(session, dataset).spec.versions}
    if version not in declared:
        raise NotFound("version-unknown", f"The catalogue has no version {version} of '{dataset}'. Apply it first.")
    return declared[version]


def load_manifest(session: Session, dataset: DatasetName, version: str) -> Manifest:
    """The recorded manifest of a version; raises `NotFound`."""
    row = session.get(ManifestRow, (dataset, version))
    if row is None:
        raise NotFound("dataset-not-added", f"'{dataset}' {version} has not been hashed yet: run `tre dataset add`.")
    return _view(row)


def manifests_of(session: Session, dataset: DatasetName) -> list[Manifest]:
    """The recorded manifests of a dataset, by version."""
    rows = session.scalars(select(ManifestRow).where(ManifestRow.dataset == dataset).order_by(ManifestRow.version))
    return [_view(row) for row in rows]


def record_version(
    session: Session,
    dataset: DatasetName,
    version: str,
    folder: str,
    files: list[HashedFile],
    actor: Actor,
    now: dt.datetime,
) -> Manifest:
    """Record freshly hashed files of a declared version's folder. Raises `Refused` for other content than before."""
    lock_dataset(session, dataset)
    digest = manifest_digest(files)
    row = session.get(ManifestRow, (dataset, version))
    if row is not None and row.digest != digest:
        sentence = f"'{dataset}' {version} was recorded with other content. A version never changes: declare a new one."
        raise Refused([Refusal("version-immutable", sentence)])
    fresh = row is None
    if row is None:
        row = ManifestRow(
            dataset=dataset,
            version=version,
            folder=folder,
            digest=digest,
            files=len(files),
            bytes=sum(file.marks.size for file in files),
        )
        session.add(row)
    row.hashed_at, row.closed_at = now, None
    session.flush()
    _renew_marks(session, dataset, version, files)
    facts: dict[str, Json] = {"version": version, "manifest": digest, "files": row.files, "bytes": row.bytes}
    append(session, "dataset.added" if fresh else "dataset.rehashed", actor, f"dataset/{dataset}", facts, now=now)
    return _view(row)


def _renew_marks(session: Session, dataset: DatasetName, version: str, files: list[HashedFile]) -> None:
    mine = (ManifestFileRow.dataset == dataset, ManifestFileRow.version == version)
    session.execute(delete(ManifestFileRow).where(*mine))
    session.execute(
        insert(ManifestFileRow),
        [
            {
                "dataset": dataset,
                "version": version,
                "path": file.marks.path,
                "size": file.marks.size,
                "sha256": file.sha256,
                "inode": str(file.marks.inode),
                "mtime_ns": file.marks.mtime_ns,
                "ctime_ns": file.marks.ctime_ns,
            }
            for file in files
        ],
    )


def _differences(known: dict[str, tuple[int, str]], found: dict[str, tuple[int, str]]) -> tuple[str, ...]:
    problems = []
    for path in sorted(known.keys() | found.keys()):
        if path not in found:
            problems.append(f"{path} is missing.")
        elif path not in known:
            problems.append(f"{path} is not in the manifest.")
        elif known[path] != found[path]:
            problems.append(f"{path} has other content than was hashed.")
    return tuple(problems)


def _told(progress: Progress | None, found: Found, before: int, total: int) -> Callable[[int], None]:
    def told(done: int) -> None:
        if progress is not None:
            progress(found.path, 100 * (before + done) // total if total else 100)

    return told


def _view(row: ManifestRow) -> Manifest:
    return Manifest(
        dataset=DatasetName(row.dataset),
        version=row.version,
        folder=row.folder,
        digest=Sha256(row.digest),
        files=row.files,
        bytes=row.bytes,
        hashed_at=row.hashed_at,
    )
