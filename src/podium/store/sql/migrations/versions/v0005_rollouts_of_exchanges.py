"""Which rollout chose for an exchange, and what is told of its answer."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add columns; loaders of the version before leave them at their defaults."""
    for column in (
        sa.Column("rollout", sa.Text, nullable=False, server_default=""),
        sa.Column("arm", sa.Text, nullable=False, server_default=""),
        sa.Column("subject", sa.Text, nullable=False, server_default=""),
        sa.Column("finish_reason", sa.Text, nullable=False, server_default=""),
        sa.Column("answer_flags", sa.BigInteger, nullable=False, server_default="0"),
    ):
        op.add_column("exchanges", column)
