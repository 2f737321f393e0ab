"""A running workspace's process is known by its boot and start tick (empty: started before)"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workspaces", sa.Column("pid_birth", sa.String(60), nullable=False, server_default=""))
