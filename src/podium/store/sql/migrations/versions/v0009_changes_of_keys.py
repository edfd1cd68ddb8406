"""Which keys changed lately."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add a column and an index; the version before leaves both as they are, which is noticed by the numbers' gaps."""
    op.add_column("api_keys", sa.Column("changed", sa.BigInteger, nullable=False, server_default="0"))
    op.create_index("ix_api_keys_changed", "api_keys", ["changed"])
