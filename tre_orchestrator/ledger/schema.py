"""The database's shape, by Alembic revisions that ship in the package: `upgrade` brings any older one to today's."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from tre_orchestrator.errors import Unavailable
from tre_orchestrator.ledger.database import Database

_SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(db: Database) -> None:
    """Create or upgrade every table. A database that a newer version wrote is refused, never touched."""
    config = _config()
    with db.engine.connect() as connection:
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        current = MigrationContext.configure(connection).get_current_revision()
        connection.rollback()
        if current is not None and current not in known:
            raise Unavailable(
                "newer-database",
                f"The database is at revision {current}, which this version does not know. Run the newer version.",
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    return config
