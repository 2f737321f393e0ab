"""Taking a folder in: the courier's stream goes into the store while it is counted, then the file list is closed.

Promise: at most the policy's number of files and bytes are taken, every path is one that any system and any reader
shows as it is, and no two paths look alike. The courier guarantees that the bytes are those of regular files in that
folder of that workspace (A2); from here on nothing reads the workspace again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy.orm import Session

from tre_orchestrator.airlock.access import move, subject
from tre_orchestrator.airlock.checks.paths import folded, why_not_path
from tre_orchestrator.airlock.forms import DraftForm, FileContext
from tre_orchestrator.airlock.policy import Policy
from tre_orchestrator.airlock.states import Guard, State, Who
from tre_orchestrator.airlock.store import ContentKey, Store, Stored
from tre_orchestrator.airlock.tables import FileRow, RequestRow
from tre_orchestrator.catalogue.models import Project
from tre_orchestrator.catalogue.names import WorkspaceId
from tre_orchestrator.errors import Refusal, Refused, refuse_if
from tre_orchestrator.ledger import tre_verify
from tre_orchestrator.ledger.append import append, software
from tre_orchestrator.ledger.canonical import Json, digest

DRAFT_FILE = "request.yaml"
"""What the notebook helper writes beside the files: read as the form, never part of the request."""
REQUEST_BYTES = 2 << 30
"""All files of a request together: a bundle is a plain zip, whose sizes have 32 bits."""
_LEFT_OUT = ".ipynb_checkpoints"
"""Lab's own copies of older notebooks: nobody means to send them."""


class CollectedFile(Protocol):
    """One file of a frozen folder, streamed; `chunks` is read before the next file is asked for."""

    @property
    def path(self) -> str:
        """Relative to the folder, with '/'."""

    @property
    def size(self) -> int:
        """In bytes, as the courier saw it."""

    @property
    def chunks(self) -> Iterator[bytes]:
        """The content."""


class Courier(Protocol):
    """Whatever copies a folder out of a workspace; raises `Refused` on anything that is not a plain file."""

    def collect(self, workspace: WorkspaceId, folder: str) -> Iterator[Any]:
        """The files (each a `CollectedFile`) of a folder below /outputs, frozen while they are read."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that lies in the store now."""

    path: str
    stored: Stored

    @property
    def size(self) -> int:
        """In bytes."""
        return self.stored.size


def take_in(
    courier: Courier,
    workspace: WorkspaceId,
    folder: str,
    store: Store,
    request_id: int,
    key: ContentKey,
    policy: Policy,
) -> tuple[Taken, ...]:
    """Copy the folder into the store. Raises `Refused` with the reason; what was copied by then is an orphan."""
    taken: list[Taken] = []
    seen: dict[str, str] = {}
    for file in courier.collect(workspace, folder):
        if file.path == DRAFT_FILE or is_left_out(file.path):
            _drain(file.chunks)
            continue
        refuse_if(why_not_path(file.path))
        alike = seen.setdefault(folded(file.path), file.path)
        if len(seen) == len(taken):
            raise _refused("paths-alike", f"'{file.path}' and '{alike}' look the same. Rename one of them.")
        if len(taken) == policy.max_files:
            raise _refused(
                "too-many-files",
                f"The folder holds more than the {policy.max_files} files a request may have. Submit fewer at a time.",
            )
        taken.append(Taken(file.path, store.put(request_id, key, _capped(file, policy))))
        if sum(item.size for item in taken) > REQUEST_BYTES:
            raise _refused("request-too-big", "The folder holds more than 2 GiB. Submit fewer files at a time.")
    if not taken:
        raise _refused("no-files", f"There is no file in '{folder}'. Write one there, then submit again.")
    return tuple(sorted(taken, key=lambda file: file.path))


def close_files(
    session: Session,
    row: RequestRow,
    form: DraftForm,
    taken: tuple[Taken, ...],
    policy: Policy,
    project: Project,
    now: dt.datetime,
) -> None:
    """Close the list: from here on the request is exactly these bytes, contexts, destination and policy."""
    row.files_turn = row.turn
    row.listing = [{"path": file.path, "size": file.size} for file in taken]
    row.members = sorted({*row.members, *(member.person for member in project.spec.members)})
    row.submitted_at = now
    row.destination = form.destination.value
    row.policy = policy.stored()
    rows = [_file(row, file, form.context(file.path), policy) for file in taken]
    session.add_all(rows)
    row.files_digest = files_digest(rows)
    move(row, State.checking, Who.system, now, frozenset({Guard.files_closed}))
    facts: dict[str, Json] = {
        "turn": row.turn,
        "files": len(rows),
        "bytes": sum(file.size for file in taken),
        "files_digest": row.files_digest,
        "policy": policy.reference,
        "destination": row.destination,
    }
    append(session, "request.closed", software("airlock"), subject(row), facts, now=now)


def files_digest(files: list[FileRow]) -> str:
    """The digest of what would leave: path, SHA-256 and size of every file that is not supporting."""
    return tre_verify.files_digest((file.path, file.sha256, file.size) for file in files if not file.supporting)


def content_digest(path: str, sha256: str, context: FileContext, destination: str, policy: Policy) -> str:
    """The digest of all that a vote on a file is about; any difference makes the vote void."""
    return digest(
        {
            "path": path,
            "sha256": sha256,
            "context": context.model_dump(mode="json"),
            "destination": destination,
            "policy": policy.digest,
        }
    )


def _file(row: RequestRow, file: Taken, context: FileContext, policy: Policy) -> FileRow:
    return FileRow(
        request_id=row.id,
        turn=row.turn,
        path=file.path,
        size=file.size,
        sha256=file.stored.sha256,
        blob=file.stored.name,
        context=context.model_dump(mode="json"),
        content=content_digest(file.path, file.stored.sha256, context, row.destination, policy),
        supporting=context.supporting,
    )


def _capped(file: CollectedFile, policy: Policy) -> Iterator[bytes]:
    limit, given = policy.max_file_mib << 20, 0
    for chunk in file.chunks:
        given += len(chunk)
        if given > limit:
            raise _refused(
                "file-too-big", f"'{file.path}' is larger than the {policy.max_file_mib} MiB a file may have."
            )
        yield chunk


def is_left_out(path: str) -> bool:
    """Whether a file is one that nobody means to send."""
    return _LEFT_OUT in path.split("/")


def _drain(chunks: Iterator[bytes]) -> None:
    for _ in chunks:
        pass


def _refused(code: str, sentence: str) -> Refused:
    return Refused([Refusal(code, sentence)])
