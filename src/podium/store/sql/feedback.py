"""What users said of answers, as it is read and erased: podium.control.feedback.FeedbackShelf."""

from sqlalchemy import RowMapping, literal, select, tuple_

from podium.control.feedback import FeedbackQuery, FeedbackView
from podium.store.sql.feedback_words import SqlFeedbackWords
from podium.store.sql.rollout_tables import feedback
from podium.store.sql.tables import exchanges

__all__ = ["SqlFeedback"]

_SAID = ("exchange_id", "kind", "tenant", "key_id", "value", "comment", "created_unix_s", "user")
_OF_EXCHANGE = ("request_id", "model", "version", "rollout", "arm")


class SqlFeedback(SqlFeedbackWords):
    """Reads feedback together with the exchanges that it is about."""

    async def feedback(self, query: FeedbackQuery) -> tuple[FeedbackView, ...]:
        """Newest first."""
        of, about = feedback.c, exchanges.c
        place = (of.created_unix_s, of.exchange_id, of.kind)
        columns = [*(of[name] for name in _SAID), *(about[name] for name in _OF_EXCHANGE)]
        statement = select(*columns).join(exchanges, about.id == of.exchange_id)
        for column, wanted in ((of.tenant, query.tenant), (about.rollout, query.rollout), (of.kind, query.kind)):
            if wanted is not None:
                statement = statement.where(column == wanted)
        if query.before is not None:
            last = (literal(value, column.type) for value, column in zip(query.before, place, strict=True))
            statement = statement.where(tuple_(*place) < tuple_(*last))
        statement = statement.order_by(*(column.desc() for column in place)).limit(query.limit)
        async with self._database.read() as connection:
            return tuple(_view(row) for row in (await connection.execute(statement)).mappings())


def _view(row: RowMapping) -> FeedbackView:
    return FeedbackView(
        id=f"{row['created_unix_s']!r}-{row['exchange_id'].hex()}-{row['kind']}",
        given_unix_s=row["created_unix_s"],
        kind=row["kind"],
        value=None if row["kind"] == "comment" else row["value"],
        comment=row["comment"],
        user=row["user"],
        tenant=row["tenant"],
        key_id=row["key_id"],
        **{name: row[name] for name in _OF_EXCHANGE},
    )
