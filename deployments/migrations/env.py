"""Alembic's entry: `upgrade` hands it an open connection, so no URL is written down anywhere."""

from __future__ import annotations

from alembic import context

from models.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
