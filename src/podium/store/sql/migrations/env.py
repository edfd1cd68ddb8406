"""Alembic's entry: runs migrations on the connection that podium.store.sql.schema hands in."""

from alembic import context

from podium.store.sql.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
