"""Releasing: the bundle is built from the approved bytes, kept, fetched by the author, revoked, and expires.

Before anything is built and again in the transaction that releases, the request must be exactly what the quorum
approved (A1). Each fetch is in the ledger before its first byte leaves (A7); revoking says what had been fetched.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tre_orchestrator.airlock.access import (
    find_request,
    move,
    no_such_request,
    refuse_if_stale,
    standing,
    subject,
    why_not_author,
)
from tre_orchestrator.airlock.approval import approved_entry, why_not_as_approved
from tre_orchestrator.airlock.bundle import Approved, LedgerProof, ReleasedFile, bundle
from tre_orchestrator.airlock.comments import reason_in_words
from tre_orchestrator.airlock.forms import DraftForm, FileContext
from tre_orchestrator.airlock.reading import situation_of, view
from tre_orchestrator.airlock.rules import why_not_revoke
from tre_orchestrator.airlock.states import TIMEOUTS, Guard, State, Who
from tre_orchestrator.airlock.store import ContentKey, Store, Stored
from tre_orchestrator.airlock.tables import DownloadRow, FileRow, ReleaseRow, RequestRow
from tre_orchestrator.airlock.tally import ALL, files_of
from tre_orchestrator.airlock.views import RequestView
from tre_orchestrator.errors import Refusal, Refused, Unavailable, refuse_if
from tre_orchestrator.governance.load import load_project
from tre_orchestrator.governance.people import membership
from tre_orchestrator.ledger.append import append, software
from tre_orchestrator.ledger.append import person as actor
from tre_orchestrator.ledger.canonical import Json
from tre_orchestrator.ledger.checkpoints import inclusion_proof, make_checkpoint
from tre_orchestrator.ledger.database import Database
from tre_orchestrator.ledger.keys import Signer
from tre_orchestrator.ledger.read import EntryView, entries
from tre_orchestrator.ledger.tables import LedgerEntry

LIFE = TIMEOUTS[State.released].after
"""How long a bundle can be fetched."""


@dataclass(frozen=True)
class Opened:
    """A bundle on its way out: its file name, size, digest and bytes. The fetch is recorded already."""

    name: str
    size: int
    sha256: str
    chunks: Iterator[bytes]


def pack(db: Database, store: Store, signer: Signer, project: str, request_id: int, now: dt.datetime) -> Stored:
    """Build the bundle of an approved request into the store. Raises `Refused` when it is not as approved."""
    with db.read() as session:
        row = find_request(session, project, request_id)
        refuse_if(why_not_as_approved(session, row, now))
        entry = approved_entry(session, row)
        assert entry is not None  # why_not_as_approved would have said so
        approved = _approved(session, row, entry, store)
        key = store.unwrap(row.id, row.wrapped_key)
    with db.write() as session:
        proof = _proof(session, signer, entry.seq, now)
    return store.put(request_id, key, bundle(approved, proof, signer))


def finish(session: Session, row: RequestRow, stored: Stored, now: dt.datetime) -> None:
    """Release: the bundle can be fetched from the commit of this transaction on."""
    refuse_if(why_not_as_approved(session, row, now))
    move(row, State.released, Who.system, now, frozenset({Guard.bundle_stored}))
    row.problem, row.retry_at = "", None
    session.add(
        ReleaseRow(
            request_id=row.id, blob=stored.name, size=stored.size, sha256=stored.sha256, at=now, expires_at=now + LIFE
        )
    )
    facts: dict[str, Json] = {"bundle": stored.sha256, "bytes": stored.size, "files_digest": row.files_digest}
    append(session, "release.made", software("airlock"), subject(row), facts, now=now)


def open_release(db: Database, store: Store, project: str, request_id: int, person: str, now: dt.datetime) -> Opened:
    """The bundle, for its author only, while it has not expired and was not revoked.

    The fetch is committed to the ledger before this returns. Raises `NotFound`, `Refused`.
    """
    with db.write() as session:
        row = find_request(session, project, request_id, lock=True)
        who = standing(session, row, person, now)
        if who.side is None:
            raise no_such_request(request_id)
        refuse_if(why_not_author(who))
        if membership(load_project(session, row.project), person) is None:
            raise Refused([Refusal("not-member", "You are no member of this project any more. Ask those who are.")])
        release = session.get(ReleaseRow, row.id)
        refuse_if(_why_not_fetch(row, release, now))
        assert release is not None
        key = store.unwrap(row.id, row.wrapped_key)
        session.add(DownloadRow(request_id=row.id, person=person, at=now))
        session.flush()
        facts: dict[str, Json] = {"bundle": release.sha256, "fetch": _fetches(session, row)}
        append(session, "release.fetched", actor(person), subject(row), facts, now=now)
        stored = Stored(release.blob, release.size, release.sha256)
    chunks = store.read(request_id, key, stored)
    return Opened(f"{project}-request-{request_id}.zip", stored.size, stored.sha256, chunks)


def revoke(
    session: Session, project: str, request_id: int, person: str, reason: str, now: dt.datetime, *, version: int
) -> RequestView:
    """End a release, made or about to be. The view and the ledger say how often the bundle had been fetched."""
    row = find_request(session, project, request_id, lock=True)
    who = standing(session, row, person, now)
    if who.side is None:
        raise no_such_request(request_id)
    refuse_if(why_not_revoke(situation_of(session, row, who)))
    refuse_if_stale(row, version)
    words = reason_in_words(reason, needed=True, why="Whoever relied on the release must learn why.")
    as_ = Who.controller if who.is_controller and not who.is_checker else Who.checker
    move(row, State.revoked, as_, now, frozenset({Guard.reason_given}))
    row.problem = words
    release = session.get(ReleaseRow, row.id)
    if release:
        release.revoked_at, release.revoked_by, release.revoke_reason = now, person, words
    facts: dict[str, Json] = {"fetched": _fetches(session, row)}
    append(session, "release.revoked", actor(person), subject(row), facts, body={"why": words}, now=now)
    return view(session, project, request_id, person, now)


def expire(session: Session, row: RequestRow, now: dt.datetime) -> None:
    """End a release whose time is up."""
    move(row, State.expired, Who.system, now, frozenset({Guard.timed_out}))
    facts: dict[str, Json] = {"fetched": _fetches(session, row)}
    append(session, "release.expired", software("airlock"), subject(row), facts, now=now)


def _why_not_fetch(row: RequestRow, release: ReleaseRow | None, now: dt.datetime) -> Refusal | None:
    if release is None or (release.revoked_at is None and State(row.state) is not State.released):
        return Refusal("not-released", f"There is nothing to fetch: the request is '{State(row.state).label}'.")
    if release.revoked_at is not None:
        return Refusal("revoked", f"The release was revoked: {release.revoke_reason}")
    if now >= release.expires_at:
        return Refusal("expired", "The time to fetch this bundle is over. Submit a new request if it is needed again.")
    return None


def _fetches(session: Session, row: RequestRow) -> int:
    query = select(func.count()).select_from(DownloadRow).where(DownloadRow.request_id == row.id)
    return session.scalar(query) or 0


def _proof(session: Session, signer: Signer, seq: int, now: dt.datetime) -> LedgerProof:
    checkpoint = make_checkpoint(session, signer, now)
    entry = session.get(LedgerEntry, seq)
    if entry is None:
        raise Unavailable("no-entry", "The approval's ledger entry cannot be read. Tell ops.")
    steps = inclusion_proof(session, seq, checkpoint.size)
    return LedgerProof(entry.entry, seq, checkpoint.size, tuple(steps), checkpoint.text)


def _approved(session: Session, row: RequestRow, entry: EntryView, store: Store) -> Approved:
    project = load_project(session, row.project)
    form = DraftForm.model_validate(row.form)
    key = store.unwrap(row.id, row.wrapped_key)
    files = [file for file in files_of(session, row) if not file.supporting]
    checks = {(check["name"], check["version"]) for file in files for check in file.checks}
    return Approved(
        request=row.id,
        project=row.project,
        project_title=project.spec.title,
        title=form.title,
        purpose=form.purpose,
        tier=project.spec.tier,
        policy=dict(entry.facts["policy"]),
        destination=entry.facts["destination"],
        requested_by=row.author,
        approvals=dict(entry.facts["approvals"]),
        datasets=_mounted(session, row),
        checks=tuple({"name": name, "version": version} for name, version in sorted(checks)),
        approved_at=entry.at,
        files=tuple(_released(file, store, row.id, key) for file in files),
    )


def _mounted(session: Session, row: RequestRow) -> tuple[dict[str, Json], ...]:
    """Every dataset version that a workspace of the project had mounted before the files were copied, by the ledger.

    Not those that the project names today: files may be older, and a colleague's may have come by the shared folder.
    """
    starts = entries(session, subject=f"project/{row.project}", kind="workspace.start.intended", limit=ALL)
    found = {
        (str(one["name"]), str(one["version"])): dict(one)
        for start in starts
        if row.submitted_at is None or dt.datetime.fromisoformat(start.at) <= row.submitted_at
        for one in start.facts["datasets"]
    }
    return tuple(found[key] for key in sorted(found))


def _released(file: FileRow, store: Store, request_id: int, key: ContentKey) -> ReleasedFile:
    context = FileContext.model_validate(file.context)
    stored = Stored(file.blob, file.size, file.sha256)
    return ReleasedFile(
        path=file.path,
        sha256=file.sha256,
        size=file.size,
        kind=file.kind,
        statistic=context.statistic.label if context.statistic else "",
        content=partial(store.read, request_id, key, stored),
    )
