"""The ledger refuses SQLite's REPLACE, a head that moves back, and a switched-off replication role"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

GUARDS = {
    "sqlite": [
        """DROP TRIGGER ledger_entries_in_order""",
        """CREATE TRIGGER ledger_entries_in_order BEFORE INSERT ON ledger_entries
WHEN NOT EXISTS (SELECT 1 FROM ledger_head WHERE id = 1 AND seq = NEW.seq - 1 AND leaf = NEW.prev)
BEGIN SELECT RAISE(ABORT, 'ledger_entries: not the next entry'); END""",
        """CREATE TRIGGER ledger_entries_head AFTER INSERT ON ledger_entries
BEGIN UPDATE ledger_head SET seq = NEW.seq, leaf = NEW.leaf WHERE id = 1; END""",
        """CREATE TRIGGER ledger_head_no_replace BEFORE INSERT ON ledger_head WHEN EXISTS (SELECT 1 FROM ledger_head WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'ledger_head is append-only'); END""",
        """CREATE TRIGGER ledger_head_forward BEFORE UPDATE ON ledger_head
WHEN NEW.seq <> OLD.seq + 1 OR NOT EXISTS (SELECT 1 FROM ledger_entries WHERE seq = NEW.seq AND leaf = NEW.leaf)
BEGIN SELECT RAISE(ABORT, 'ledger_head only moves on'); END""",
        """CREATE TRIGGER ledger_bodies_no_replace BEFORE INSERT ON ledger_bodies WHEN EXISTS (SELECT 1 FROM ledger_bodies WHERE seq = NEW.seq) BEGIN SELECT RAISE(ABORT, 'ledger_bodies is append-only'); END""",
        """CREATE TRIGGER ledger_nodes_no_replace BEFORE INSERT ON ledger_nodes WHEN EXISTS (SELECT 1 FROM ledger_nodes WHERE level = NEW.level AND position = NEW.position) BEGIN SELECT RAISE(ABORT, 'ledger_nodes is append-only'); END""",
        """CREATE TRIGGER ledger_checkpoints_no_replace BEFORE INSERT ON ledger_checkpoints WHEN EXISTS (SELECT 1 FROM ledger_checkpoints WHERE size = NEW.size) BEGIN SELECT RAISE(ABORT, 'ledger_checkpoints is append-only'); END""",
        """CREATE TRIGGER ledger_cosignatures_no_replace BEFORE INSERT ON ledger_cosignatures WHEN EXISTS (SELECT 1 FROM ledger_cosignatures WHERE size = NEW.size AND witness = NEW.witness) BEGIN SELECT RAISE(ABORT, 'ledger_cosignatures is append-only'); END""",
    ],
    "postgresql": [
        r"""CREATE OR REPLACE FUNCTION ledger_next_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE ledger_head SET seq = NEW.seq, leaf = NEW.leaf WHERE id = 1 AND seq = NEW.seq - 1 AND leaf = NEW.prev;
  IF NOT FOUND OR NEW.leaf <> sha256('\x00'::bytea || NEW.entry) THEN
    RAISE EXCEPTION USING
      MESSAGE = 'ledger_entries: not the next entry', ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$""",
        """ALTER TABLE ledger_entries ENABLE ALWAYS TRIGGER ledger_entries_append_only""",
        """ALTER TABLE ledger_entries ENABLE ALWAYS TRIGGER ledger_entries_no_truncate""",
        """ALTER TABLE ledger_entries ENABLE ALWAYS TRIGGER ledger_entries_in_order""",
        """ALTER TABLE ledger_head ENABLE ALWAYS TRIGGER ledger_head_append_only""",
        """ALTER TABLE ledger_head ENABLE ALWAYS TRIGGER ledger_head_no_truncate""",
        """CREATE TRIGGER ledger_head_forward BEFORE UPDATE ON ledger_head FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION ledger_refuse_change()""",
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
