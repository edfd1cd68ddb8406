"""Which feedback still holds words of people, by age."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_WORDS = sa.text("(kind = 'comment' OR \"user\" <> '')")


def upgrade() -> None:
    """Add an index over the rows with words alone: it shrinks as they are erased. Versions before work as ever."""
    op.create_index("ix_feedback_words", "feedback", ["created_unix_s"], sqlite_where=_WORDS, postgresql_where=_WORDS)
