"""Exchanges are found by their request id and have tags; cache writes are added up."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add an index and columns; loaders of the version before leave them at their defaults.

    Making the index reads the whole table: on PostgreSQL loading waits for it meanwhile, gateways do not.
    """
    op.create_index(
        "ix_exchanges_request_id_id",
        "exchanges",
        ["request_id", "id"],
        sqlite_where=sa.text("request_id <> 'req_' || lower(hex(id))"),
        postgresql_where=sa.text("request_id <> 'req_' || encode(id, 'hex')"),
    )
    # 0 is true of all hours before: no version until now recorded cache writes.
    op.add_column("usage_hours", sa.Column("cache_write_tokens", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("exchanges", sa.Column("tags", sa.Text, nullable=False, server_default=""))
