"""A grant names the project as its controller saw it; empty for grants given before"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("grants", sa.Column("project_digest", sa.String(64), nullable=False, server_default=""))
