"""Sums of experiments by tenant."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_MEASURES = (
    "error_rate",
    "ttft_ms",
    "time_per_output_token_ms",
    "duration_ms",
    "cost_nanousd",
    "input_tokens",
    "output_tokens",
    "empty_rate",
    "truncated_rate",
    "refusal_rate",
    "invalid_format_rate",
    "thumbs_up_rate",
    "feedback_score",
    "task_done_rate",
    "judge_score",
    "call_failure_rate",
    "call_wait_ms",
)


def upgrade() -> None:
    """Add a table; versions before do not know it, and leave it without the exchanges that they load."""
    names = ("exposures", *(f"{measure}_{part}" for measure in _MEASURES for part in "yx"))
    op.create_table(
        "rollout_tenants",
        sa.Column("rollout", sa.Text, nullable=False),
        sa.Column("span_us", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("arm", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("cluster", sa.BigInteger, nullable=False, autoincrement=False),
        *(sa.Column(name, sa.Double, nullable=False, server_default="0") for name in names),
        sa.PrimaryKeyConstraint("rollout", "span_us", "arm", "tenant", "cluster", name="pk_rollout_tenants"),
        postgresql_with={"fillfactor": "50"},
    )
