"""Tables of governance: what is declared, who agreed to it, which data it is, and who is signed in.

Rows that record a decision are never updated into another decision: a grant is revoked by filling `revoked_at`, an
approval is answered by a later row. Tokens and passwords are stored as hashes only.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import BigInteger, Date, ForeignKeyConstraint, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tre_orchestrator.ledger.database import Base

_NAME = String(30)
_HASH = String(64)


class CatalogueRow(Base):
    """A declared object as it stands now: the fields that were set, in their JSON form."""

    __tablename__ = "catalogue"

    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    name: Mapped[str] = mapped_column(_NAME, primary_key=True)
    document: Mapped[dict[str, Any]]
    applied_at: Mapped[dt.datetime]
    applied_by: Mapped[str] = mapped_column(String(100))


class ApprovalRow(Base):
    """One person's answer in one role: to one version of a project, under one version of its tier's controls."""

    __tablename__ = "approvals"
    __table_args__ = (Index(None, "project", "digest"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(_NAME)
    digest: Mapped[str] = mapped_column(_HASH)
    policy: Mapped[str] = mapped_column(_HASH)
    role: Mapped[str] = mapped_column(String(20))
    person: Mapped[str] = mapped_column(_NAME)
    approved: Mapped[bool]
    reason: Mapped[str]
    document: Mapped[dict[str, Any]]
    controls: Mapped[dict[str, Any]]
    at: Mapped[dt.datetime]


class ManifestRow(Base):
    """What was hashed for a dataset version: the manifest's digest and the folder it was taken from.

    `closed_at` is when its files failed to verify; None while nothing is known against them.
    """

    __tablename__ = "manifests"

    dataset: Mapped[str] = mapped_column(_NAME, primary_key=True)
    version: Mapped[str] = mapped_column(_NAME, primary_key=True)
    folder: Mapped[str]
    digest: Mapped[str] = mapped_column(_HASH)
    files: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    hashed_at: Mapped[dt.datetime]
    closed_at: Mapped[dt.datetime | None]


class ManifestFileRow(Base):
    """One file of a dataset version: its content's hash, and the marks that tell whether it was touched since."""

    __tablename__ = "manifest_files"
    __table_args__ = (
        ForeignKeyConstraint(["dataset", "version"], ["manifests.dataset", "manifests.version"], ondelete="CASCADE"),
    )

    dataset: Mapped[str] = mapped_column(_NAME, primary_key=True)
    version: Mapped[str] = mapped_column(_NAME, primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(_HASH)
    inode: Mapped[str] = mapped_column(String(20))
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    ctime_ns: Mapped[int] = mapped_column(BigInteger)


class GrantRow(Base):
    """A controller's time-limited permission: this project, these files of this dataset version."""

    __tablename__ = "grants"
    __table_args__ = (Index(None, "project", "dataset"),)

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    dataset: Mapped[str] = mapped_column(_NAME)
    version: Mapped[str] = mapped_column(_NAME)
    manifest: Mapped[str] = mapped_column(_HASH)
    project: Mapped[str] = mapped_column(_NAME)
    project_digest: Mapped[str] = mapped_column(_HASH)
    organisation: Mapped[str] = mapped_column(_NAME)
    until: Mapped[dt.date] = mapped_column(Date)
    grace_seconds: Mapped[int]
    conditions: Mapped[str]
    granted_by: Mapped[str] = mapped_column(_NAME)
    granted_at: Mapped[dt.datetime]
    revoked_at: Mapped[dt.datetime | None]
    revoked_by: Mapped[str | None] = mapped_column(_NAME)
    revoke_reason: Mapped[str | None]
    replaced_by: Mapped[str | None] = mapped_column(String(16))
    expiry_recorded_at: Mapped[dt.datetime | None]


class DatasetUseRow(Base):
    """A project has had a workspace with this dataset version mounted: copies may lie in home and shared folders."""

    __tablename__ = "dataset_uses"

    project: Mapped[str] = mapped_column(_NAME, primary_key=True)
    dataset: Mapped[str] = mapped_column(_NAME, primary_key=True)
    version: Mapped[str] = mapped_column(_NAME, primary_key=True)
    first_at: Mapped[dt.datetime]


class CopyHoldRow(Base):
    """Copies of a dataset in a project's folders stay closed until its controller says what becomes of them."""

    __tablename__ = "copy_holds"
    __table_args__ = (Index(None, "project"),)

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    project: Mapped[str] = mapped_column(_NAME)
    dataset: Mapped[str] = mapped_column(_NAME)
    organisation: Mapped[str] = mapped_column(_NAME)
    grant: Mapped[str] = mapped_column(String(16))
    cause: Mapped[str] = mapped_column(String(20))
    since: Mapped[dt.datetime]
    running_until: Mapped[dt.datetime]
    decision: Mapped[str | None] = mapped_column(String(20))
    decided_by: Mapped[str | None] = mapped_column(_NAME)
    decided_at: Mapped[dt.datetime | None]
    ended_at: Mapped[dt.datetime | None]


class LoginLinkRow(Base):
    """A one-time login link, by the hash of its token."""

    __tablename__ = "login_links"

    token_hash: Mapped[str] = mapped_column(_HASH, primary_key=True)
    person: Mapped[str] = mapped_column(_NAME)
    expires_at: Mapped[dt.datetime]
    used_at: Mapped[dt.datetime | None]


class PasswordRow(Base):
    """A person's password, hashed by argon2id."""

    __tablename__ = "passwords"

    person: Mapped[str] = mapped_column(_NAME, primary_key=True)
    argon2: Mapped[str]
    set_at: Mapped[dt.datetime]


class LoginAttemptRow(Base):
    """How often a name was tried from an address; counted before the password is looked at.

    `key` is a hash of both: no address is stored.
    """

    __tablename__ = "login_attempts"

    key: Mapped[str] = mapped_column("person", _NAME, primary_key=True)
    last_at: Mapped[dt.datetime] = mapped_column("window_began")
    attempts: Mapped[int]


class SessionRow(Base):
    """A signed-in browser, by the hash of its cookie."""

    __tablename__ = "web_sessions"
    __table_args__ = (UniqueConstraint("token_hash"), Index(None, "person"))

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    token_hash: Mapped[str] = mapped_column(_HASH)
    person: Mapped[str] = mapped_column(_NAME)
    csrf: Mapped[str] = mapped_column(_HASH)
    mfa: Mapped[bool]
    opened_at: Mapped[dt.datetime]
    seen_at: Mapped[dt.datetime]
    expires_at: Mapped[dt.datetime]
    closed_at: Mapped[dt.datetime | None]


class ApiTokenRow(Base):
    """A person's short-lived API token, by its hash."""

    __tablename__ = "api_tokens"
    __table_args__ = (UniqueConstraint("token_hash"), Index(None, "person"))

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    token_hash: Mapped[str] = mapped_column(_HASH)
    person: Mapped[str] = mapped_column(_NAME)
    issued_at: Mapped[dt.datetime]
    expires_at: Mapped[dt.datetime]
    revoked_at: Mapped[dt.datetime | None]
