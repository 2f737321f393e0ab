"""The airlock's rows. What the rules promise is also held by the database where it can be.

The author of a request never votes on or reviews it (composite foreign key + check), nobody votes twice on a file of a
turn or reviews a turn twice (unique), and a vote, a review and a download are never changed or deleted (the triggers of
`immutability`, made with the tables).
"""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Connection,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    Table,
    UniqueConstraint,
    event,
)
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql.base import SchemaEventTarget

from tre_orchestrator.ledger.database import Base


class RequestRow(Base):
    """One request. `version` counts what people can see change; `lease` is the fencing token of who works on it."""

    __tablename__ = "airlock_requests"
    __table_args__ = (
        UniqueConstraint("id", "author"),
        Index("ix_airlock_requests_state", "state", "lease_until"),
        Index("ix_airlock_requests_project", "project", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(String(30))
    author: Mapped[str] = mapped_column(String(30))
    members: Mapped[list[Any]] = mapped_column(default=list)
    """Who was a member at any submission of it: none of them checks it, though they leave the project later."""
    state: Mapped[str] = mapped_column(String(20))
    state_since: Mapped[dt.datetime]
    turn: Mapped[int] = mapped_column(default=0)
    files_turn: Mapped[int] = mapped_column(default=0)
    """The turn whose file list is the latest closed one; 0 while there is none."""
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[dt.datetime]
    submitted_at: Mapped[dt.datetime | None]
    decided_at: Mapped[dt.datetime | None]
    form: Mapped[dict[str, Any]] = mapped_column(default=dict)
    listing: Mapped[list[Any]] = mapped_column(default=list)
    """Paths and sizes seen at the last copy, so that the form can ask for each file: [{"path", "size"}]."""
    destination: Mapped[str] = mapped_column(String(40))
    policy: Mapped[dict[str, Any]] = mapped_column(default=dict)
    files_digest: Mapped[str] = mapped_column(String(64), default="")
    wrapped_key: Mapped[bytes | None]
    opened_turns: Mapped[list[Any]] = mapped_column(default=list)
    claimed_by: Mapped[str] = mapped_column(String(30), default="")
    claim_until: Mapped[dt.datetime | None]
    lease: Mapped[str] = mapped_column(String(32), default="")
    lease_until: Mapped[dt.datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    retry_at: Mapped[dt.datetime | None]
    problem: Mapped[str] = mapped_column(default="")
    """Why the last step failed or what was asked for, a sentence for the person."""
    justification: Mapped[str] = mapped_column(default="")


class FileRow(Base):
    """One file of one turn. `content` is the digest of bytes, context, destination and policy: what is voted on."""

    __tablename__ = "airlock_files"
    __table_args__ = (UniqueConstraint("request_id", "turn", "path"), UniqueConstraint("id", "request_id", "turn"))

    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[int] = mapped_column(ForeignKey("airlock_requests.id"))
    turn: Mapped[int]
    path: Mapped[str] = mapped_column(String(1024))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    blob: Mapped[str] = mapped_column(String(64))
    context: Mapped[dict[str, Any]] = mapped_column(default=dict)
    content: Mapped[str] = mapped_column(String(64), default="")
    supporting: Mapped[bool] = mapped_column(default=False)
    kind: Mapped[str] = mapped_column(String(40), default="")
    verdict: Mapped[str] = mapped_column(String(10), default="")
    checks: Mapped[list[Any]] = mapped_column(default=list)
    """What was run: [{"name", "version"}]; empty while the file is unchecked."""


class FindingRow(Base):
    """What a check said about a place in a file: never the value itself, only a masked sample (R3)."""

    __tablename__ = "airlock_findings"

    id: Mapped[int] = mapped_column(primary_key=True)
    file_id: Mapped[int] = mapped_column(ForeignKey("airlock_files.id"), index=True)
    check: Mapped[str] = mapped_column("check_name", String(40))
    check_version: Mapped[int]
    rule: Mapped[str] = mapped_column(String(60))
    verdict: Mapped[str] = mapped_column(String(10))
    sentence: Mapped[str]
    row: Mapped[int | None] = mapped_column("at_row")
    column: Mapped[int | None] = mapped_column("at_column")
    line: Mapped[int | None] = mapped_column("at_line")
    sample: Mapped[str] = mapped_column(String(80), default="")
    count: Mapped[int] = mapped_column("hits", default=1)
    policy: Mapped[str] = mapped_column(String(64))


class VoteRow(Base):
    """One immutable vote on one file in one turn; only its commitment is in the ledger until it is opened."""

    __tablename__ = "airlock_votes"
    __table_args__ = (
        UniqueConstraint("file_id", "person"),
        ForeignKeyConstraint(["request_id", "author"], ["airlock_requests.id", "airlock_requests.author"]),
        ForeignKeyConstraint(
            ["file_id", "request_id", "turn"], ["airlock_files.id", "airlock_files.request_id", "airlock_files.turn"]
        ),
        CheckConstraint("person <> author", name="not_own_request"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[int] = mapped_column(index=True)
    author: Mapped[str] = mapped_column(String(30))
    file_id: Mapped[int]
    turn: Mapped[int]
    path: Mapped[str] = mapped_column(String(1024))
    content: Mapped[str] = mapped_column(String(64))
    person: Mapped[str] = mapped_column(String(30))
    vote: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(default="")
    commitment: Mapped[str] = mapped_column(String(64))
    salt: Mapped[str] = mapped_column(String(64))
    cast_at: Mapped[dt.datetime]


class ReviewRow(Base):
    """One checker's review of one turn, handed in: after it they cannot vote in that turn any more."""

    __tablename__ = "airlock_reviews"
    __table_args__ = (
        UniqueConstraint("request_id", "turn", "person"),
        ForeignKeyConstraint(["request_id", "author"], ["airlock_requests.id", "airlock_requests.author"]),
        CheckConstraint("person <> author", name="not_own_request"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[int] = mapped_column()
    author: Mapped[str] = mapped_column(String(30))
    turn: Mapped[int]
    person: Mapped[str] = mapped_column(String(30))
    submitted_at: Mapped[dt.datetime]


class CommentRow(Base):
    """A remark on a request or one of its files; private to checkers unless `public`."""

    __tablename__ = "airlock_comments"

    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[int] = mapped_column(ForeignKey("airlock_requests.id"), index=True)
    turn: Mapped[int]
    path: Mapped[str] = mapped_column(String(1024), default="")
    person: Mapped[str] = mapped_column(String(30))
    text: Mapped[str]
    by_checker: Mapped[bool] = mapped_column(default=False)
    public: Mapped[bool] = mapped_column(default=False)
    decision: Mapped[bool] = mapped_column(default=False)
    at: Mapped[dt.datetime]


class ReleaseRow(Base):
    """The bundle of a released request."""

    __tablename__ = "airlock_releases"

    request_id: Mapped[int] = mapped_column(ForeignKey("airlock_requests.id"), primary_key=True)
    blob: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    at: Mapped[dt.datetime]
    expires_at: Mapped[dt.datetime]
    revoked_at: Mapped[dt.datetime | None]
    revoked_by: Mapped[str] = mapped_column(String(30), default="")
    revoke_reason: Mapped[str] = mapped_column(default="")


class DownloadRow(Base):
    """One fetch of a bundle."""

    __tablename__ = "airlock_downloads"

    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[int] = mapped_column(ForeignKey("airlock_releases.request_id"), index=True)
    person: Mapped[str] = mapped_column(String(30))
    at: Mapped[dt.datetime]


_IMMUTABLE = ("airlock_votes", "airlock_reviews", "airlock_downloads")
_POSTGRES_FUNCTION = """CREATE OR REPLACE FUNCTION airlock_never_changed() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' rows are never changed', ERRCODE = '23514'; END $$"""


def immutability(table: str, dialect: str) -> list[str]:
    """The statements to run once after `table` was created, for dialect `sqlite` or `postgresql`."""
    if table not in _IMMUTABLE:
        return []
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} rows are never changed'); END"
            for act in ("UPDATE", "DELETE")
        ]
    return [
        _POSTGRES_FUNCTION,
        f"CREATE TRIGGER {table}_never_changed BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION airlock_never_changed()",
    ]


def _make_immutable(target: SchemaEventTarget, connection: Connection, **_: Any) -> None:
    for statement in immutability(cast("Table", target).name, connection.dialect.name):
        connection.exec_driver_sql(statement)


for _name in _IMMUTABLE:
    event.listen(Base.metadata.tables[_name], "after_create", _make_immutable)
