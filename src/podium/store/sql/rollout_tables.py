"""Tables of rollouts: sums of their exchanges, opinions of users and judges, and the evidence of decisions.

The sums are kept in the transaction that adds the exchanges: see podium.delivery.analysis.tally for what a row is.
"""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, LargeBinary, Table, Text, text

from podium.delivery.analysis.history import HISTORY_MEASURES
from podium.delivery.analysis.measures import MEASURES
from podium.delivery.analysis.tally import COUNTS
from podium.store.sql.tables import metadata

__all__ = [
    "HAS_WORDS",
    "HISTORY_COLUMNS",
    "SUM_COLUMNS",
    "evidence",
    "feedback",
    "judgements",
    "opinions_waiting",
    "rollout_arms",
    "rollout_cells",
    "rollout_history",
    "rollout_history_read",
    "rollout_minutes",
    "rollout_segments",
    "rollout_tenants",
    "rollout_times",
]

SUM_COLUMNS = ("exposures", *(f"{measure}_{part}" for measure in MEASURES for part in "yx"))
HISTORY_COLUMNS = tuple(f"{measure}_{part}" for measure in HISTORY_MEASURES for part in "yx")
# Rows change often and none of what changes is in an index: room in each page lets PostgreSQL change them in place.
_ROOM: dict[str, Any] = {"postgresql_with": {"fillfactor": "50"}}


def _sums() -> list[Column[float]]:
    return [Column(name, Double, nullable=False, server_default="0") for name in SUM_COLUMNS]


def _span() -> list[Column[str] | Column[int]]:
    return [
        Column("rollout", Text, primary_key=True),
        Column("span_us", BigInteger, primary_key=True, autoincrement=False),  # when its step began, microseconds
        Column("arm", Text, primary_key=True),
    ]


rollout_cells = Table(
    "rollout_cells",
    metadata,
    *_span(),
    Column("backend", Text, primary_key=True),
    Column("cluster", BigInteger, primary_key=True, autoincrement=False),
    *_sums(),
    **_ROOM,
)

# Of experiments only. Span 0 lists the tenants that are counted by themselves.
rollout_tenants = Table(
    "rollout_tenants",
    metadata,
    *_span(),
    Column("tenant", Text, primary_key=True),
    Column("cluster", BigInteger, primary_key=True, autoincrement=False),
    *_sums(),
    **_ROOM,
)

# Of experiments only, as the one before: other parts of the subjects than tenants.
rollout_segments = Table(
    "rollout_segments",
    metadata,
    *_span(),
    Column("kind", Text, primary_key=True),  # podium.delivery.experiments.segments.SegmentKind
    Column("name", Text, primary_key=True),
    Column("cluster", BigInteger, primary_key=True, autoincrement=False),
    *_sums(),
    **_ROOM,
)

# What subjects did before a run began: podium.delivery.analysis.history.
rollout_history = Table(
    "rollout_history",
    metadata,
    Column("rollout", Text, primary_key=True),
    Column("span_us", BigInteger, primary_key=True, autoincrement=False),  # when the run began
    Column("first_bucket", BigInteger, primary_key=True, autoincrement=False),
    Column("cluster", BigInteger, primary_key=True, autoincrement=False),
    *(Column(name, Double, nullable=False, server_default="0") for name in HISTORY_COLUMNS),
    **_ROOM,
)

# How far it was read, from the start backwards.
rollout_history_read = Table(
    "rollout_history_read",
    metadata,
    Column("rollout", Text, primary_key=True),
    Column("span_us", BigInteger, primary_key=True, autoincrement=False),
    Column("until_unix_ns", BigInteger, nullable=False),
    Column("reached_unix_ns", BigInteger, nullable=False),
    Column("looked_through", BigInteger, nullable=False),  # exchanges of all models
    Column("exchanges", BigInteger, nullable=False),
    Column("complete", Boolean, nullable=False),
)

rollout_minutes = Table(
    "rollout_minutes",
    metadata,
    *_span(),
    Column("minute_unix_s", BigInteger, primary_key=True, autoincrement=False),
    *_sums(),
    **_ROOM,
)

rollout_arms = Table(
    "rollout_arms",
    metadata,
    *_span(),
    Column("step", BigInteger, nullable=False),
    Column("version", Text, nullable=False),
    Column("first_unix_ns", BigInteger, nullable=False),
    Column("last_unix_ns", BigInteger, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in COUNTS),
    **_ROOM,
)

rollout_times = Table(
    "rollout_times",
    metadata,
    *_span(),
    Column("measure", Text, primary_key=True),
    Column("bucket", BigInteger, primary_key=True, autoincrement=False),  # podium.delivery.analysis.tally.bucket_ms
    Column("exchanges", BigInteger, nullable=False),
    **_ROOM,
)

# Of `feedback`; written out, because databases use an index of some rows only for the very condition of that index.
HAS_WORDS = text("(kind = 'comment' OR \"user\" <> '')")

feedback = Table(
    "feedback",
    metadata,
    Column("exchange_id", LargeBinary(16), primary_key=True),
    Column("kind", Text, primary_key=True),  # thumbs | score | task_done | comment
    Column("tenant", Text, nullable=False),
    Column("key_id", Text, nullable=False),  # whose key gave it
    Column("value", Double, nullable=False),
    Column("comment", Text, nullable=False),
    Column("created_unix_s", Double, nullable=False),
    Column("user", Text, nullable=False, server_default=""),  # as who gave it says
    Index(None, "tenant", "created_unix_s"),
    Index("ix_feedback_words", "created_unix_s", sqlite_where=HAS_WORDS, postgresql_where=HAS_WORDS),
)

judgements = Table(
    "judgements",
    metadata,
    Column("exchange_id", LargeBinary(16), primary_key=True),
    Column("judge", Text, nullable=False),  # public name of the model
    Column("score_first", Double, nullable=False),  # of this exchange's answer, when it was shown first
    Column("score_second", Double, nullable=False),  # and when it was shown second
    Column("created_unix_s", Double, nullable=False),
    Column("judge_version", Text, nullable=False, server_default=""),
    Column("cost_nanousd", BigInteger, nullable=False, server_default="0"),
)

opinions_waiting = Table(
    "opinions_waiting",
    metadata,
    Column("id", LargeBinary(16), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("request_id", Text, nullable=False),  # of the exchange that it waits for; empty: `exchange_id` tells
    Column("exchange_id", LargeBinary, nullable=False),  # likewise
    Column("body", LargeBinary, nullable=False),  # as it stands in a journal: podium.core.records
    Column("since_unix_s", Double, nullable=False),
    Index(None, "tenant", "request_id"),
    Index(None, "exchange_id"),
    Index(None, "since_unix_s"),
)

evidence = Table(
    "evidence",
    metadata,
    Column("id", Text, primary_key=True),  # SHA-256 of the body
    Column("rollout", Text, nullable=False),
    Column("created_unix_s", Double, nullable=False),
    Column("body", LargeBinary, nullable=False),  # JSON of podium.delivery.analysis.evidence.Evidence
    Index(None, "rollout", "created_unix_s"),
)
