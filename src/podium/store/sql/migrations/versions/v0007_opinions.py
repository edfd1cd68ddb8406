"""What opinions say besides, and those whose exchange is not in the ledger yet."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add columns that versions before leave at their defaults, and a table that they do not know."""
    op.add_column("feedback", sa.Column("user", sa.Text, nullable=False, server_default=""))
    op.add_column("judgements", sa.Column("judge_version", sa.Text, nullable=False, server_default=""))
    op.add_column("judgements", sa.Column("cost_nanousd", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "opinions_waiting",
        sa.Column("id", sa.LargeBinary(16), nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("exchange_id", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("since_unix_s", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_opinions_waiting"),
    )
    op.create_index("ix_opinions_waiting_tenant_request_id", "opinions_waiting", ["tenant", "request_id"])
    op.create_index("ix_opinions_waiting_exchange_id", "opinions_waiting", ["exchange_id"])
    op.create_index("ix_opinions_waiting_since_unix_s", "opinions_waiting", ["since_unix_s"])
