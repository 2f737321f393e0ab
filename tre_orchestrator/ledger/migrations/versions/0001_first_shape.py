"""The first shape: catalogue, agreements, sessions, workspaces, airlock, ledger"""

import sqlalchemy as sa
from alembic import op

from tre_orchestrator.ledger.database import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

GUARDS = {
    "sqlite": [
        """CREATE TRIGGER ledger_entries_no_update BEFORE UPDATE ON ledger_entries BEGIN SELECT RAISE(ABORT, 'ledger_entries is append-only'); END""",
        """CREATE TRIGGER ledger_entries_no_delete BEFORE DELETE ON ledger_entries BEGIN SELECT RAISE(ABORT, 'ledger_entries is append-only'); END""",
        """CREATE TRIGGER ledger_entries_in_order BEFORE INSERT ON ledger_entries
WHEN NOT (
  (NEW.seq = 1 AND NEW.prev = x'0000000000000000000000000000000000000000000000000000000000000000')
  OR EXISTS (SELECT 1 FROM ledger_entries WHERE seq = NEW.seq - 1 AND leaf = NEW.prev)
)
BEGIN SELECT RAISE(ABORT, 'ledger_entries: not the next entry'); END""",
        """INSERT INTO ledger_head (id, seq, leaf) VALUES (1, 0, x'0000000000000000000000000000000000000000000000000000000000000000')""",
        """CREATE TRIGGER ledger_head_no_delete BEFORE DELETE ON ledger_head BEGIN SELECT RAISE(ABORT, 'ledger_head is append-only'); END""",
        """CREATE TRIGGER ledger_nodes_no_update BEFORE UPDATE ON ledger_nodes BEGIN SELECT RAISE(ABORT, 'ledger_nodes is append-only'); END""",
        """CREATE TRIGGER ledger_nodes_no_delete BEFORE DELETE ON ledger_nodes BEGIN SELECT RAISE(ABORT, 'ledger_nodes is append-only'); END""",
        """CREATE TRIGGER ledger_checkpoints_no_update BEFORE UPDATE ON ledger_checkpoints BEGIN SELECT RAISE(ABORT, 'ledger_checkpoints is append-only'); END""",
        """CREATE TRIGGER ledger_checkpoints_no_delete BEFORE DELETE ON ledger_checkpoints BEGIN SELECT RAISE(ABORT, 'ledger_checkpoints is append-only'); END""",
        """CREATE TRIGGER airlock_reviews_no_update BEFORE UPDATE ON airlock_reviews BEGIN SELECT RAISE(ABORT, 'airlock_reviews rows are never changed'); END""",
        """CREATE TRIGGER airlock_reviews_no_delete BEFORE DELETE ON airlock_reviews BEGIN SELECT RAISE(ABORT, 'airlock_reviews rows are never changed'); END""",
        """CREATE TRIGGER ledger_bodies_no_update BEFORE UPDATE ON ledger_bodies BEGIN SELECT RAISE(ABORT, 'ledger_bodies is append-only'); END""",
        """CREATE TRIGGER ledger_cosignatures_no_update BEFORE UPDATE ON ledger_cosignatures BEGIN SELECT RAISE(ABORT, 'ledger_cosignatures is append-only'); END""",
        """CREATE TRIGGER ledger_cosignatures_no_delete BEFORE DELETE ON ledger_cosignatures BEGIN SELECT RAISE(ABORT, 'ledger_cosignatures is append-only'); END""",
        """CREATE TRIGGER airlock_votes_no_update BEFORE UPDATE ON airlock_votes BEGIN SELECT RAISE(ABORT, 'airlock_votes rows are never changed'); END""",
        """CREATE TRIGGER airlock_votes_no_delete BEFORE DELETE ON airlock_votes BEGIN SELECT RAISE(ABORT, 'airlock_votes rows are never changed'); END""",
        """CREATE TRIGGER airlock_downloads_no_update BEFORE UPDATE ON airlock_downloads BEGIN SELECT RAISE(ABORT, 'airlock_downloads rows are never changed'); END""",
        """CREATE TRIGGER airlock_downloads_no_delete BEFORE DELETE ON airlock_downloads BEGIN SELECT RAISE(ABORT, 'airlock_downloads rows are never changed'); END""",
    ],
    "postgresql": [
        """CREATE OR REPLACE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING
    MESSAGE = TG_TABLE_NAME || ' is append-only', ERRCODE = 'integrity_constraint_violation';
END $$""",
        """CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE ON ledger_entries FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()""",
        """CREATE TRIGGER ledger_entries_no_truncate BEFORE TRUNCATE ON ledger_entries FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()""",
        """CREATE OR REPLACE FUNCTION ledger_next_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.leaf <> sha256('\\x00'::bytea || NEW.entry) OR NOT (
    (NEW.seq = 1 AND NEW.prev = '\\x0000000000000000000000000000000000000000000000000000000000000000'::bytea)
    OR EXISTS (SELECT 1 FROM ledger_entries WHERE seq = NEW.seq - 1 AND leaf = NEW.prev)
  ) THEN
    RAISE EXCEPTION 'ledger_entries: not the next entry' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$""",
        """CREATE TRIGGER ledger_entries_in_order BEFORE INSERT ON ledger_entries FOR EACH ROW EXECUTE FUNCTION ledger_next_only()""",
        """INSERT INTO ledger_head (id, seq, leaf) VALUES (1, 0, '\\x0000000000000000000000000000000000000000000000000000000000000000'::bytea)""",
        """CREATE TRIGGER ledger_head_append_only BEFORE DELETE ON ledger_head FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()""",
        """CREATE TRIGGER ledger_head_no_truncate BEFORE TRUNCATE ON ledger_head FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()""",
        """CREATE TRIGGER ledger_nodes_append_only BEFORE UPDATE OR DELETE ON ledger_nodes FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()""",
        """CREATE TRIGGER ledger_nodes_no_truncate BEFORE TRUNCATE ON ledger_nodes FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()""",
        """CREATE TRIGGER ledger_checkpoints_append_only BEFORE UPDATE OR DELETE ON ledger_checkpoints FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()""",
        """CREATE TRIGGER ledger_checkpoints_no_truncate BEFORE TRUNCATE ON ledger_checkpoints FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()""",
        """CREATE OR REPLACE FUNCTION airlock_never_changed() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' rows are never changed', ERRCODE = '23514'; END $$""",
        """CREATE TRIGGER airlock_reviews_never_changed BEFORE UPDATE OR DELETE ON airlock_reviews FOR EACH ROW EXECUTE FUNCTION airlock_never_changed()""",
        """CREATE TRIGGER ledger_bodies_append_only BEFORE UPDATE ON ledger_bodies FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()""",
        """CREATE TRIGGER ledger_bodies_no_truncate BEFORE TRUNCATE ON ledger_bodies FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()""",
        """CREATE TRIGGER ledger_cosignatures_append_only BEFORE UPDATE OR DELETE ON ledger_cosignatures FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()""",
        """CREATE TRIGGER ledger_cosignatures_no_truncate BEFORE TRUNCATE ON ledger_cosignatures FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()""",
        """CREATE TRIGGER airlock_votes_never_changed BEFORE UPDATE OR DELETE ON airlock_votes FOR EACH ROW EXECUTE FUNCTION airlock_never_changed()""",
        """CREATE TRIGGER airlock_downloads_never_changed BEFORE UPDATE OR DELETE ON airlock_downloads FOR EACH ROW EXECUTE FUNCTION airlock_never_changed()""",
    ],
}
"""What makes the database itself refuse to change the past, by dialect."""


def upgrade() -> None:
    op.create_table(
        "airlock_requests",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project", sa.String(length=30), nullable=False),
        sa.Column("author", sa.String(length=30), nullable=False),
        sa.Column("members", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("state_since", UtcDateTime(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("files_turn", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("submitted_at", UtcDateTime(), nullable=True),
        sa.Column("decided_at", UtcDateTime(), nullable=True),
        sa.Column("form", sa.JSON(), nullable=False),
        sa.Column("listing", sa.JSON(), nullable=False),
        sa.Column("destination", sa.String(length=40), nullable=False),
        sa.Column("policy", sa.JSON(), nullable=False),
        sa.Column("files_digest", sa.String(length=64), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=True),
        sa.Column("opened_turns", sa.JSON(), nullable=False),
        sa.Column("claimed_by", sa.String(length=30), nullable=False),
        sa.Column("claim_until", UtcDateTime(), nullable=True),
        sa.Column("lease", sa.String(length=32), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("retry_at", UtcDateTime(), nullable=True),
        sa.Column("problem", sa.String(), nullable=False),
        sa.Column("justification", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_airlock_requests")),
        sa.UniqueConstraint("id", "author", name=op.f("uq_airlock_requests_id_author")),
    )
    with op.batch_alter_table("airlock_requests", schema=None) as batch_op:
        batch_op.create_index("ix_airlock_requests_project", ["project", "id"], unique=False)
        batch_op.create_index("ix_airlock_requests_state", ["state", "lease_until"], unique=False)

    op.create_table(
        "api_tokens",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=30), nullable=False),
        sa.Column("issued_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_tokens_token_hash")),
    )
    with op.batch_alter_table("api_tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_tokens_person"), ["person"], unique=False)

    op.create_table(
        "approvals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project", sa.String(length=30), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("policy", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("person", sa.String(length=30), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("controls", sa.JSON(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
    )
    with op.batch_alter_table("approvals", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_approvals_project_digest"), ["project", "digest"], unique=False)

    op.create_table(
        "catalogue",
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=30), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("applied_at", UtcDateTime(), nullable=False),
        sa.Column("applied_by", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_catalogue")),
    )
    op.create_table(
        "copy_holds",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("project", sa.String(length=30), nullable=False),
        sa.Column("dataset", sa.String(length=30), nullable=False),
        sa.Column("organisation", sa.String(length=30), nullable=False),
        sa.Column("grant", sa.String(length=16), nullable=False),
        sa.Column("cause", sa.String(length=20), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("running_until", UtcDateTime(), nullable=False),
        sa.Column("decision", sa.String(length=20), nullable=True),
        sa.Column("decided_by", sa.String(length=30), nullable=True),
        sa.Column("decided_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_copy_holds")),
    )
    with op.batch_alter_table("copy_holds", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_copy_holds_project"), ["project"], unique=False)

    op.create_table(
        "dataset_uses",
        sa.Column("project", sa.String(length=30), nullable=False),
        sa.Column("dataset", sa.String(length=30), nullable=False),
        sa.Column("version", sa.String(length=30), nullable=False),
        sa.Column("first_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("project", "dataset", "version", name=op.f("pk_dataset_uses")),
    )
    op.create_table(
        "gate_frames",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("workspace", sa.String(length=16), nullable=False),
        sa.Column("nonce", sa.String(length=16), nullable=False),
        sa.Column("person", sa.String(length=30), nullable=False),
        sa.Column("session_id", sa.String(length=16), nullable=False),
        sa.Column("opened_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_gate_frames")),
    )
    with op.batch_alter_table("gate_frames", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_gate_frames_expires_at"), ["expires_at"], unique=False)

    op.create_table(
        "gate_tickets",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("workspace", sa.String(length=16), nullable=False),
        sa.Column("nonce", sa.String(length=16), nullable=False),
        sa.Column("person", sa.String(length=30), nullable=False),
        sa.Column("session_id", sa.String(length=16), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_gate_tickets")),
    )
    op.create_table(
        "grants",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("dataset", sa.String(length=30), nullable=False),
        sa.Column("version", sa.String(length=30), nullable=False),
        sa.Column("manifest", sa.String(length=64), nullable=False),
        sa.Column("project", sa.String(length=30), nullable=False),
        sa.Column("organisation", sa.String(length=30), nullable=False),
        sa.Column("until", sa.Date(), nullable=False),
        sa.Column("grace_seconds", sa.Integer(), nullable=False),
        sa.Column("conditions", sa.String(), nullable=False),
        sa.Column("granted_by", sa.String(length=30), nullable=False),
        sa.Column("granted_at", UtcDateTime(), nullable=False),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.Column("revoked_by", sa.String(length=30), nullable=True),
        sa.Column("revoke_reason", sa.String(), nullable=True),
        sa.Column("replaced_by", sa.String(length=16), nullable=True),
        sa.Column("expiry_recorded_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grants")),
    )
    with op.batch_alter_table("grants", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_grants_project_dataset"), ["project", "dataset"], unique=False)

    op.create_table(
        "ledger_checkpoints",
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_ledger_checkpoints")),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("prev", sa.LargeBinary(), nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_ledger_entries")),
    )
    with op.batch_alter_table("ledger_entries", schema=None) as batch_op:
        batch_op.create_index("ix_ledger_entries_kind", ["kind"], unique=False)
        batch_op.create_index("ix_ledger_entries_subject", ["subject"], unique=False)

    op.create_table(
        "ledger_head",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_ledger_head_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_head")),
    )
    op.create_table(
        "ledger_nodes",
        sa.Column("level", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "position", name=op.f("pk_ledger_nodes")),
    )
    op.create_table(
        "login_attempts",
        sa.Column("person", sa.String(length=30), nullable=False),
        sa.Column("window_began", UtcDateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("person", name=op.f("pk_login_attempts")),
    )
    op.create_table(
        "login_links",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=30), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_login_links")),
    )
    op.create_table(
        "manifests",
        sa.Column("dataset", sa.String(length=30), nullable=False),
        sa.Column("version", sa.String(length=30), nullable=False),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("hashed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "version", name=op.f("pk_manifests")),
    )
    op.create_table(
        "meters",
        sa.Column("person", sa.String(length=30), nullable=False),
        sa.Column("project", sa.String(length=30), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("person", "project", "day", name=op.f("pk_meters")),
    )
    op.create_table(
        "passwords",
        sa.Column("person", sa.String(length=30), nullable=False),
        sa.Column("argon2", sa.String(), nullable=False),
        sa.Column("set_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("person", name=op.f("pk_passwords")),
    )
    op.create_table(
        "proofs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("lock_digest", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("node", sa.String(length=100), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proofs")),
    )
    with op.batch_alter_table("proofs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_proofs_lock_digest"), ["lock_digest"], unique=False)

    op.create_table(
        "web_sessions",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=30), nullable=False),
        sa.Column("csrf", sa.String(length=64), nullable=False),
        sa.Column("mfa", sa.Boolean(), nullable=False),
        sa.Column("opened_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("closed_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_web_sessions")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_web_sessions_token_hash")),
    )
    with op.batch_alter_table("web_sessions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_web_sessions_person"), ["person"], unique=False)

    op.create_table(
        "workspaces",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("person", sa.String(length=30), nullable=False),
        sa.Column("project", sa.String(length=30), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("nonce", sa.String(length=16), nullable=False),
        sa.Column("socket", sa.String(length=200), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("claim", sa.String(length=16), nullable=False),
        sa.Column("claim_until", UtcDateTime(), nullable=True),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("ends_at", UtcDateTime(), nullable=True),
        sa.Column("longest_until", UtcDateTime(), nullable=True),
        sa.Column("right_lost_at", UtcDateTime(), nullable=True),
        sa.Column("warning", sa.String(), nullable=False),
        sa.Column("last_activity", UtcDateTime(), nullable=True),
        sa.Column("end_code", sa.String(length=40), nullable=False),
        sa.Column("end_reason", sa.String(), nullable=False),
        sa.Column("datasets", sa.JSON(), nullable=False),
        sa.Column("project_digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workspaces")),
        sa.UniqueConstraint("person", "project", name=op.f("uq_workspaces_person_project")),
    )
    with op.batch_alter_table("workspaces", schema=None) as batch_op:
        batch_op.create_index("ix_workspaces_state", ["state"], unique=False)

    op.create_table(
        "airlock_comments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Integer(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("person", sa.String(length=30), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("by_checker", sa.Boolean(), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.Column("decision", sa.Boolean(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["airlock_requests.id"], name=op.f("fk_airlock_comments_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_airlock_comments")),
    )
    with op.batch_alter_table("airlock_comments", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_airlock_comments_request_id"), ["request_id"], unique=False)

    op.create_table(
        "airlock_files",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Integer(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("blob", sa.String(length=64), nullable=False),
        sa.Column("context", sa.JSON(), nullable=False),
        sa.Column("content", sa.String(length=64), nullable=False),
        sa.Column("supporting", sa.Boolean(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("verdict", sa.String(length=10), nullable=False),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["airlock_requests.id"], name=op.f("fk_airlock_files_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_airlock_files")),
        sa.UniqueConstraint("id", "request_id", "turn", name=op.f("uq_airlock_files_id_request_id_turn")),
        sa.UniqueConstraint("request_id", "turn", "path", name=op.f("uq_airlock_files_request_id_turn_path")),
    )
    op.create_table(
        "airlock_releases",
        sa.Column("request_id", sa.Integer(), nullable=False),
        sa.Column("blob", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.Column("revoked_by", sa.String(length=30), nullable=False),
        sa.Column("revoke_reason", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["airlock_requests.id"], name=op.f("fk_airlock_releases_request_id")),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_airlock_releases")),
    )
    op.create_table(
        "airlock_reviews",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Integer(), nullable=False),
        sa.Column("author", sa.String(length=30), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("person", sa.String(length=30), nullable=False),
        sa.Column("submitted_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("person <> author", name=op.f("ck_airlock_reviews_not_own_request")),
        sa.ForeignKeyConstraint(
            ["request_id", "author"],
            ["airlock_requests.id", "airlock_requests.author"],
            name=op.f("fk_airlock_reviews_request_id_author"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_airlock_reviews")),
        sa.UniqueConstraint("request_id", "turn", "person", name=op.f("uq_airlock_reviews_request_id_turn_person")),
    )
    op.create_table(
        "ledger_bodies",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["seq"], ["ledger_entries.seq"], name=op.f("fk_ledger_bodies_seq")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_ledger_bodies")),
    )
    op.create_table(
        "ledger_cosignatures",
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("witness", sa.Text(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["size"], ["ledger_checkpoints.size"], name=op.f("fk_ledger_cosignatures_size")),
        sa.PrimaryKeyConstraint("size", "witness", name=op.f("pk_ledger_cosignatures")),
    )
    op.create_table(
        "manifest_files",
        sa.Column("dataset", sa.String(length=30), nullable=False),
        sa.Column("version", sa.String(length=30), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("inode", sa.String(length=20), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("ctime_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset", "version"],
            ["manifests.dataset", "manifests.version"],
            name=op.f("fk_manifest_files_dataset_version"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("dataset", "version", "path", name=op.f("pk_manifest_files")),
    )
    op.create_table(
        "airlock_downloads",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Integer(), nullable=False),
        sa.Column("person", sa.String(length=30), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["airlock_releases.request_id"], name=op.f("fk_airlock_downloads_request_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_airlock_downloads")),
    )
    with op.batch_alter_table("airlock_downloads", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_airlock_downloads_request_id"), ["request_id"], unique=False)

    op.create_table(
        "airlock_findings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("file_id", sa.Integer(), nullable=False),
        sa.Column("check_name", sa.String(length=40), nullable=False),
        sa.Column("check_version", sa.Integer(), nullable=False),
        sa.Column("rule", sa.String(length=60), nullable=False),
        sa.Column("verdict", sa.String(length=10), nullable=False),
        sa.Column("sentence", sa.String(), nullable=False),
        sa.Column("at_row", sa.Integer(), nullable=True),
        sa.Column("at_column", sa.Integer(), nullable=True),
        sa.Column("at_line", sa.Integer(), nullable=True),
        sa.Column("sample", sa.String(length=80), nullable=False),
        sa.Column("hits", sa.Integer(), nullable=False),
        sa.Column("policy", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["airlock_files.id"], name=op.f("fk_airlock_findings_file_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_airlock_findings")),
    )
    with op.batch_alter_table("airlock_findings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_airlock_findings_file_id"), ["file_id"], unique=False)

    op.create_table(
        "airlock_votes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Integer(), nullable=False),
        sa.Column("author", sa.String(length=30), nullable=False),
        sa.Column("file_id", sa.Integer(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("content", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=30), nullable=False),
        sa.Column("vote", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("commitment", sa.String(length=64), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("cast_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("person <> author", name=op.f("ck_airlock_votes_not_own_request")),
        sa.ForeignKeyConstraint(
            ["file_id", "request_id", "turn"],
            ["airlock_files.id", "airlock_files.request_id", "airlock_files.turn"],
            name=op.f("fk_airlock_votes_file_id_request_id_turn"),
        ),
        sa.ForeignKeyConstraint(
            ["request_id", "author"],
            ["airlock_requests.id", "airlock_requests.author"],
            name=op.f("fk_airlock_votes_request_id_author"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_airlock_votes")),
        sa.UniqueConstraint("file_id", "person", name=op.f("uq_airlock_votes_file_id_person")),
    )
    with op.batch_alter_table("airlock_votes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_airlock_votes_request_id"), ["request_id"], unique=False)

    connection = op.get_bind()
    for statement in GUARDS[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    with op.batch_alter_table("airlock_votes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_airlock_votes_request_id"))

    op.drop_table("airlock_votes")
    with op.batch_alter_table("airlock_findings", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_airlock_findings_file_id"))

    op.drop_table("airlock_findings")
    with op.batch_alter_table("airlock_downloads", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_airlock_downloads_request_id"))

    op.drop_table("airlock_downloads")
    op.drop_table("manifest_files")
    op.drop_table("ledger_cosignatures")
    op.drop_table("ledger_bodies")
    op.drop_table("airlock_reviews")
    op.drop_table("airlock_releases")
    op.drop_table("airlock_files")
    with op.batch_alter_table("airlock_comments", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_airlock_comments_request_id"))

    op.drop_table("airlock_comments")
    with op.batch_alter_table("workspaces", schema=None) as batch_op:
        batch_op.drop_index("ix_workspaces_state")

    op.drop_table("workspaces")
    with op.batch_alter_table("web_sessions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_web_sessions_person"))

    op.drop_table("web_sessions")
    with op.batch_alter_table("proofs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_proofs_lock_digest"))

    op.drop_table("proofs")
    op.drop_table("passwords")
    op.drop_table("meters")
    op.drop_table("manifests")
    op.drop_table("login_links")
    op.drop_table("login_attempts")
    op.drop_table("ledger_nodes")
    op.drop_table("ledger_head")
    with op.batch_alter_table("ledger_entries", schema=None) as batch_op:
        batch_op.drop_index("ix_ledger_entries_subject")
        batch_op.drop_index("ix_ledger_entries_kind")

    op.drop_table("ledger_entries")
    op.drop_table("ledger_checkpoints")
    with op.batch_alter_table("grants", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_grants_project_dataset"))

    op.drop_table("grants")
    op.drop_table("gate_tickets")
    with op.batch_alter_table("gate_frames", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_gate_frames_expires_at"))

    op.drop_table("gate_frames")
    op.drop_table("dataset_uses")
    with op.batch_alter_table("copy_holds", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_copy_holds_project"))

    op.drop_table("copy_holds")
    op.drop_table("catalogue")
    with op.batch_alter_table("approvals", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_approvals_project_digest"))

    op.drop_table("approvals")
    with op.batch_alter_table("api_tokens", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_api_tokens_person"))

    op.drop_table("api_tokens")
    with op.batch_alter_table("airlock_requests", schema=None) as batch_op:
        batch_op.drop_index("ix_airlock_requests_state")
        batch_op.drop_index("ix_airlock_requests_project")

    op.drop_table("airlock_requests")
