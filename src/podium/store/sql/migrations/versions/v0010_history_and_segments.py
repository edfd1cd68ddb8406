"""What subjects did before a rollout, and sums of experiments by segment."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_ALWAYS_KNOWN = (
    "error_rate",
    "ttft_ms",
    "time_per_output_token_ms",
    "duration_ms",
    "cost_nanousd",
    "input_tokens",
    "output_tokens",
)
_MEASURES = (
    *_ALWAYS_KNOWN,
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


def _parts(measures: tuple[str, ...]) -> list[str]:
    return [f"{measure}_{part}" for measure in measures for part in "yx"]


def upgrade() -> None:
    """Add tables; versions before do not know them, and leave segments without the exchanges that they load."""
    op.create_table(
        "rollout_segments",
        sa.Column("rollout", sa.Text, nullable=False),
        sa.Column("span_us", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("arm", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("cluster", sa.BigInteger, nullable=False, autoincrement=False),
        *(sa.Column(name, sa.Double, nullable=False, server_default="0") for name in ("exposures", *_parts(_MEASURES))),
        sa.PrimaryKeyConstraint("rollout", "span_us", "arm", "kind", "name", "cluster", name="pk_rollout_segments"),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "rollout_history",
        sa.Column("rollout", sa.Text, nullable=False),
        sa.Column("span_us", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("first_bucket", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("cluster", sa.BigInteger, nullable=False, autoincrement=False),
        *(sa.Column(name, sa.Double, nullable=False, server_default="0") for name in _parts(_ALWAYS_KNOWN)),
        sa.PrimaryKeyConstraint("rollout", "span_us", "first_bucket", "cluster", name="pk_rollout_history"),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "rollout_history_read",
        sa.Column("rollout", sa.Text, nullable=False),
        sa.Column("span_us", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("until_unix_ns", sa.BigInteger, nullable=False),
        sa.Column("reached_unix_ns", sa.BigInteger, nullable=False),
        sa.Column("looked_through", sa.BigInteger, nullable=False),
        sa.Column("exchanges", sa.BigInteger, nullable=False),
        sa.Column("complete", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("rollout", "span_us", name="pk_rollout_history_read"),
    )
