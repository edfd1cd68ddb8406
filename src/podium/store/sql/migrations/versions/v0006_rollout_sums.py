"""Sums of rollouts, opinions of users and judges, and the evidence of decisions."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

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
_COUNTS = ("exchanges", "callers_faults", "callers_gone", "uncalled", "retried", "hedged", "fallen_back")
_ROOM: dict[str, Any] = {"postgresql_with": {"fillfactor": "50"}}


def _span() -> list[sa.Column[str] | sa.Column[int]]:
    return [
        sa.Column("rollout", sa.Text, nullable=False),
        sa.Column("span_us", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("arm", sa.Text, nullable=False),
    ]


def _sums() -> list[sa.Column[float]]:
    names = ("exposures", *(f"{measure}_{part}" for measure in _MEASURES for part in "yx"))
    return [sa.Column(name, sa.Double, nullable=False, server_default="0") for name in names]


def upgrade() -> None:
    """Add tables; versions before do not know them, and leave the sums without the exchanges that they load."""
    op.create_table(
        "rollout_cells",
        *_span(),
        sa.Column("backend", sa.Text, nullable=False),
        sa.Column("cluster", sa.BigInteger, nullable=False, autoincrement=False),
        *_sums(),
        sa.PrimaryKeyConstraint("rollout", "span_us", "arm", "backend", "cluster", name="pk_rollout_cells"),
        **_ROOM,
    )
    op.create_table(
        "rollout_minutes",
        *_span(),
        sa.Column("minute_unix_s", sa.BigInteger, nullable=False, autoincrement=False),
        *_sums(),
        sa.PrimaryKeyConstraint("rollout", "span_us", "arm", "minute_unix_s", name="pk_rollout_minutes"),
        **_ROOM,
    )
    op.create_table(
        "rollout_arms",
        *_span(),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("first_unix_ns", sa.BigInteger, nullable=False),
        sa.Column("last_unix_ns", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _COUNTS),
        sa.PrimaryKeyConstraint("rollout", "span_us", "arm", name="pk_rollout_arms"),
        **_ROOM,
    )
    op.create_table(
        "rollout_times",
        *_span(),
        sa.Column("measure", sa.Text, nullable=False),
        sa.Column("bucket", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("exchanges", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("rollout", "span_us", "arm", "measure", "bucket", name="pk_rollout_times"),
        **_ROOM,
    )
    _opinions()
    op.create_table(
        "evidence",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("rollout", sa.Text, nullable=False),
        sa.Column("created_unix_s", sa.Double, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_evidence"),
    )
    op.create_index("ix_evidence_rollout_created_unix_s", "evidence", ["rollout", "created_unix_s"])


def _opinions() -> None:
    op.create_table(
        "feedback",
        sa.Column("exchange_id", sa.LargeBinary(16), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("value", sa.Double, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("created_unix_s", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("exchange_id", "kind", name="pk_feedback"),
    )
    op.create_index("ix_feedback_tenant_created_unix_s", "feedback", ["tenant", "created_unix_s"])
    op.create_table(
        "judgements",
        sa.Column("exchange_id", sa.LargeBinary(16), nullable=False),
        sa.Column("judge", sa.Text, nullable=False),
        sa.Column("score_first", sa.Double, nullable=False),
        sa.Column("score_second", sa.Double, nullable=False),
        sa.Column("created_unix_s", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("exchange_id", name="pk_judgements"),
    )
