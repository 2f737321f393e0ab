"""The checks of one claimed request: file by file, each result written once, then the request's own step.

A file's bytes are read from the store only as they were stored (hash checked), in the sandbox. When nothing can be
checked for long, the files go to the humans as `unparsed`; nothing ever passes because a check could not run (A3).
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from tre_orchestrator.airlock.access import move, subject
from tre_orchestrator.airlock.checks.kinds import Kind
from tre_orchestrator.airlock.checks.model import Report, Rules, Verdict, unparsed, worst
from tre_orchestrator.airlock.checks.scan import CHECKS, VERSIONS
from tre_orchestrator.airlock.leases import Claim, held, let_go
from tre_orchestrator.airlock.policy import Policy, from_stored
from tre_orchestrator.airlock.states import Guard, State, Who
from tre_orchestrator.airlock.store import Store, Stored
from tre_orchestrator.airlock.tables import FileRow, FindingRow, RequestRow
from tre_orchestrator.airlock.tally import files_of
from tre_orchestrator.errors import Unavailable
from tre_orchestrator.ledger.append import append, software
from tre_orchestrator.ledger.canonical import Json
from tre_orchestrator.ledger.database import Database


class FileScanner(Protocol):
    """Whatever gives the report on one file; `runner.Scanner` is the real one."""

    def scan(self, path: str, chunks: Iterator[bytes], rules: Rules) -> Report:
        """The report on the file at `path` whose bytes `chunks` gives; raises `Unavailable` when it cannot run."""


ATTEMPTS = 5
"""After so many failures in a row the unchecked files are left to the humans."""


def check_files(db: Database, store: Store, scanner: FileScanner, claim: Claim, now: dt.datetime, *, most: int) -> bool:
    """Check up to `most` unchecked files of the claimed request; True when that finished it.

    Raises what kept a file from being checked, unless that went on for too long.
    """
    with db.read() as session:
        row = session.get_one(RequestRow, claim.id)
        policy, wrapped = from_stored(row.policy), row.wrapped_key
        waiting = [(file.id, file.path, _stored(file)) for file in files_of(session, row) if not file.verdict]
    if policy is None:
        raise Unavailable("no-policy", "The request has no policy to be checked under. Withdraw it and submit again.")
    for file_id, path, stored in waiting[:most]:
        try:
            content = store.read(claim.id, store.unwrap(claim.id, wrapped), stored)
            report = scanner.scan(path, content, _rules(policy))
        except (Unavailable, OSError):
            if claim.attempts < ATTEMPTS:
                raise
            report = Report(Kind.unknown.value, (unparsed("This file could not be checked: see the log for ops."),))
        with db.write() as session:
            if held(session, claim) is None:
                return False
            _record(session, file_id, report, policy)
    with db.write() as session:
        if len(waiting) > most:
            let_go(session, claim, now)
            return False
        held_row = held(session, claim)
        if held_row is None:
            return False
        _conclude(session, held_row, now)
    return True


def _record(session: Session, file_id: int, report: Report, policy: Policy) -> None:
    """Write one file's result; a file that has one keeps it."""
    file = session.get_one(FileRow, file_id)
    if file.verdict:
        return
    file.kind, file.verdict = report.kind, report.verdict.value
    file.checks = [{"name": name, "version": version} for name, version in CHECKS]
    session.add_all(
        FindingRow(
            file_id=file.id,
            check=finding.check,
            check_version=VERSIONS[finding.check],
            rule=finding.rule,
            verdict=finding.verdict.value,
            sentence=finding.sentence,
            row=finding.row,
            column=finding.column,
            line=finding.line,
            sample=finding.sample,
            count=finding.count,
            policy=policy.digest,
        )
        for finding in report.findings
    )


def _conclude(session: Session, row: RequestRow, now: dt.datetime) -> None:
    query = select(FileRow.verdict, FileRow.supporting).where(
        FileRow.request_id == row.id, FileRow.turn == row.files_turn
    )
    verdicts = [(Verdict(verdict), supporting) for verdict, supporting in session.execute(query)]
    blocked = worst(verdict for verdict, supporting in verdicts if not supporting) is Verdict.block
    target, guard = (State.blocked, Guard.some_block) if blocked else (State.awaiting_review, Guard.no_block)
    move(row, target, Who.system, now, frozenset({guard}))
    row.problem, row.retry_at, row.attempts = "", None, 0
    counts = Counter(verdict.value for verdict, _ in verdicts)
    facts: dict[str, Json] = {
        "turn": row.files_turn,
        "files_digest": row.files_digest,
        "verdicts": dict(sorted(counts.items())),
        "checks": [{"name": name, "version": version} for name, version in CHECKS],
    }
    append(session, "request.checked", software("airlock"), subject(row), facts, now=now)


def _stored(file: FileRow) -> Stored:
    return Stored(file.blob, file.size, file.sha256)


def _rules(policy: Policy) -> Rules:
    return Rules(policy.small_count, policy.max_rows, policy.max_file_mib << 20)
