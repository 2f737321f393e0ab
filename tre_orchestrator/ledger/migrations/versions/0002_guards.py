"""The ledger refuses SQLite's REPLACE, a head that moves back, and a switched-off replication role"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

GUARDS = {
    "sqlite": [
        """DROP TRIGGER ledger_entries_in_order""",
        """CREATE TRIGGER ledger_entries_in_order BEFORE INSERT ON ledger_entries
WHEN NEW.seq <> coalesce((SELECT max(seq) FROM ledger_entries), 0) + 1
  OR NEW.prev <> coalesce((SELECT leaf FROM ledger_entries WHERE seq = NEW.seq - 1), x'0000000000000000000000000000000000000000000000000000000000000000')
BEGIN SELECT RAISE(ABORT, 'ledger_entries: not the next entry'); END""",
        """CREATE TRIGGER ledger_head_no_replace BEFORE INSERT ON ledger_head WHEN EXISTS (SELECT 1 FROM ledger_head WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'ledger_head is append-only'); END""",
        """CREATE TRIGGER ledger_head_forward BEFORE UPDATE ON ledger_head WHEN NEW.seq <> OLD.seq + 1
BEGIN SELECT RAISE(ABORT, 'ledger_head only moves on'); END""",
        """CREATE TRIGGER ledger_bodies_no_replace BEFORE INSERT ON ledger_bodies WHEN EXISTS (SELECT 1 FROM ledger_bodies WHERE seq = NEW.seq) BEGIN SELECT RAISE(ABORT, 'ledger_bodies is append-only'); END""",
        """CREATE TRIGGER ledger_nodes_no_replace BEFORE INSERT ON ledger_nodes WHEN EXISTS (SELECT 1 FROM ledger_nodes WHERE level = NEW.level AND position = NEW.position) BEGIN SELECT RAISE(ABORT, 'ledger_nodes is append-only'); END""",
        """CREATE TRIGGER ledger_checkpoints_no_replace BEFORE INSERT ON ledger_checkpoints WHEN EXISTS (SELECT 1 FROM ledger_checkpoints WHERE size = NEW.size) BEGIN SELECT RAISE(ABORT, 'ledger_checkpoints is append-only'); END""",
        """CREATE TRIGGER ledger_cosignatures_no_replace BEFORE INSERT ON ledger_cosignatures WHEN EXISTS (SELECT 1 FROM ledger_cosignatures WHERE size = NEW.size AND witness = NEW.witness) BEGIN SELECT RAISE(ABORT, 'ledger_cosignatures is append-only'); END""",
    ],
    "postgresql": [
        r"""CREATE OR REPLACE FUNCTION ledger_next_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.leaf <> sha256('\x00'::bytea || NEW.entry)
    OR NEW.seq <> coalesce((SELECT max(seq) FROM ledger_entries), 0) + 1
    OR NEW.prev <> coalesce((SELECT leaf FROM ledger_entries WHERE seq = NEW.seq - 1), '\x0000000000000000000000000000000000000000000000000000000000000000'::bytea)
  THEN
    RAISE EXCEPTION 'ledger_entries: not the next entry' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$""",
        """CREATE OR REPLACE FUNCTION ledger_head_moves_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.seq <> OLD.seq + 1 THEN
    RAISE EXCEPTION 'ledger_head only moves on' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$""",
        """ALTER TABLE ledger_entries ENABLE ALWAYS TRIGGER ledger_entries_append_only""",
        """ALTER TABLE ledger_entries ENABLE ALWAYS TRIGGER ledger_entries_no_truncate""",
        """ALTER TABLE ledger_entries ENABLE ALWAYS TRIGGER ledger_entries_in_order""",
        """ALTER TABLE ledger_head ENABLE ALWAYS TRIGGER ledger_head_append_only""",
        """ALTER TABLE ledger_head ENABLE ALWAYS TRIGGER ledger_head_no_truncate""",
        """CREATE TRIGGER ledger_head_forward BEFORE UPDATE ON ledger_head FOR EACH ROW EXECUTE FUNCTION ledger_head_moves_on()""",
        """ALTER TABLE ledger_head ENABLE ALWAYS TRIGGER ledger_head_forward""",
        """ALTER TABLE ledger_bodies ENABLE ALWAYS TRIGGER ledger_bodies_append_only""",
        """ALTER TABLE ledger_bodies ENABLE ALWAYS TRIGGER ledger_bodies_no_truncate""",
        """ALTER TABLE ledger_nodes ENABLE ALWAYS TRIGGER ledger_nodes_append_only""",
        """ALTER TABLE ledger_nodes ENABLE ALWAYS TRIGGER ledger_nodes_no_truncate""",
        """ALTER TABLE ledger_checkpoints ENABLE ALWAYS TRIGGER ledger_checkpoints_append_only""",
        """ALTER TABLE ledger_checkpoints ENABLE ALWAYS TRIGGER ledger_checkpoints_no_truncate""",
        """ALTER TABLE ledger_cosignatures ENABLE ALWAYS TRIGGER ledger_cosignatures_append_only""",
        """ALTER TABLE ledger_cosignatures ENABLE ALWAYS TRIGGER ledger_cosignatures_no_truncate""",
    ],
}
"""As in `guards.py` when this revision was made."""


def upgrade() -> None:
    connection = op.get_bind()
    for statement in GUARDS[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    raise NotImplementedError("the ledger's guards are not taken away again")
