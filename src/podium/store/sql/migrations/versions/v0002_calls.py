"""What an exchange's calls were: several backends, other models, second calls; and cache writes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add columns; loaders of the version before leave them at their defaults."""
    for column in (
        sa.Column("cache_write_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("served_model", sa.Text, nullable=False, server_default=""),
        sa.Column("why", sa.Text, nullable=False, server_default=""),
        sa.Column("hedges", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("fallbacks", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("trail", sa.Text, nullable=False, server_default=""),
    ):
        op.add_column("exchanges", column)
