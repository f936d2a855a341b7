"""Run the migrations, within the transaction that pool.ledger.migrations has begun."""

from alembic import context

from pool.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
