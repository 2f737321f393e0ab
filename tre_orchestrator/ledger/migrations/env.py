"""Alembic's entry: runs the revisions on the connection that `schema.upgrade` hands in."""

from alembic import context

from tre_orchestrator.ledger.database import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
