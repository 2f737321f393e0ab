"""A grant names the project as its controller saw it (empty: given before); a manifest says when it failed to verify"""

import sqlalchemy as sa
from alembic import op

from tre_orchestrator.ledger.database import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("grants", sa.Column("project_digest", sa.String(64), nullable=False, server_default=""))
    op.add_column("manifests", sa.Column("closed_at", UtcDateTime(), nullable=True))
