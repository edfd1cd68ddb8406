"""The tables, as this version of Podium uses them. `migrations/` builds them.

A migration only adds (expand); what an older version still uses is removed one release later (contract).
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TextClause,
    text,
)

__all__ = [
    "api_keys",
    "callers_own",
    "counters",
    "exchanges",
    "journal_positions",
    "leases",
    "metadata",
    "resources",
    "revisions",
    "snapshots",
    "usage_hours",
]

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

resources = Table(
    "resources",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("spec", Text, nullable=False),  # JSON, defaults left out
    Column("revision", BigInteger, nullable=False),  # that wrote it
)

revisions = Table(
    "revisions",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("author", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("created_unix_s", Double, nullable=False),
    Column("undoes", BigInteger),
    Column("changes", Text, nullable=False),  # JSON of podium.control.ports.Change
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("entry", Text, nullable=False),  # JSON of podium.core.snapshot.KeyEntry; digests only
    Column("created_unix_s", Double, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("changed", BigInteger, nullable=False, server_default="0"),  # the counter's value by its last change
    Index(None, "tenant"),
    Index(None, "changed"),
)

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires_unix_s", Double, nullable=False),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("name", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("published_unix_s", Double, nullable=False),
    Column("body", LargeBinary, nullable=False),  # podium.store.snapshot_seal
)

journal_positions = Table(
    "journal_positions",
    metadata,
    Column("source", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("updated_unix_s", Double, nullable=False),
    Index(None, "updated_unix_s"),
)


def callers_own(*, sqlite: bool) -> TextClause:
    """Whether an exchange's request id is its caller's own, in the words of the index of such ids."""
    ours = "lower(hex(id))" if sqlite else "encode(id, 'hex')"
    return text(f"request_id <> 'req_' || {ours}")


# Columns in the order of podium.core.event.Event: podium.store.sql.rows relies on it.
exchanges = Table(
    "exchanges",
    metadata,
    Column("id", LargeBinary(16), primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("started_unix_ns", BigInteger, nullable=False),
    Column("gateway", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("backend", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("status", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("fault", Text, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("tokens_estimated", Boolean, nullable=False),
    Column("price", Text, nullable=False),
    Column("cost_nanousd", BigInteger, nullable=False),
    Column("bytes_in", BigInteger, nullable=False),
    Column("bytes_out", BigInteger, nullable=False),
    Column("admitted_ns", BigInteger, nullable=False),
    Column("upstream_ns", BigInteger, nullable=False),
    Column("first_byte_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("span_id", Text, nullable=False),
    Column("parent_span_id", Text, nullable=False),
    Column("trace_sampled", Boolean, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False, server_default="0"),
    Column("served_model", Text, nullable=False, server_default=""),
    Column("why", Text, nullable=False, server_default=""),
    Column("hedges", BigInteger, nullable=False, server_default="0"),
    Column("fallbacks", BigInteger, nullable=False, server_default="0"),
    Column("trail", Text, nullable=False, server_default=""),  # JSON of podium.core.event.AttemptRecord's; or empty
    Column("tags", Text, nullable=False, server_default=""),  # podium.core.tags
    Column("rollout", Text, nullable=False, server_default=""),
    Column("arm", Text, nullable=False, server_default=""),
    Column("subject", Text, nullable=False, server_default=""),
    Column("finish_reason", Text, nullable=False, server_default=""),
    Column("answer_flags", BigInteger, nullable=False, server_default="0"),  # podium.core.event.AnswerFlag
    Index(None, "started_unix_ns"),
    # Of callers' own request ids only: ours are made of the id, and found by it.
    Index(
        None,
        "request_id",
        "id",
        sqlite_where=callers_own(sqlite=True),
        postgresql_where=callers_own(sqlite=False),
    ),
)

# Sums of `exchanges` by hour, kept in the same transaction: usage is read from here.
usage_hours = Table(
    "usage_hours",
    metadata,
    Column("hour_unix_s", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("exchanges", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("estimated_exchanges", BigInteger, nullable=False),
    Column("cost_nanousd", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False, server_default="0"),
)
