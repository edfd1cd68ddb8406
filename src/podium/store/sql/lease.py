"""One control process leads, others stand by: podium.control.ports.LeaderLease."""

from sqlalchemy import ColumnElement, Double, delete, extract, func, literal
from sqlalchemy.dialects import postgresql, sqlite

from podium.core.clock import Clock, SystemClock
from podium.store.sql.database import Database
from podium.store.sql.tables import leases

__all__ = ["SqlLeaderLease"]

_NAME = "leader"
_CLOCK_PUT_BACK = 2  # terms of a lease


class SqlLeaderLease:
    """A row that expires. PostgreSQL's clock decides there, because processes are on many machines."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()

    async def acquire(self, holder: str, ttl_s: float) -> bool:
        """Take or renew the lease by one conditional update; False when another holds it."""
        make = sqlite.insert if self._database.is_sqlite else postgresql.insert
        now = self._now()
        offered = make(leases).values(name=_NAME, holder=holder, expires_unix_s=now + ttl_s)
        ends = leases.c.expires_unix_s
        # One that ends later than any that is given now was given before the clock was put back.
        free = (leases.c.holder == holder) | (ends <= now) | (ends > now + _CLOCK_PUT_BACK * ttl_s)
        statement = offered.on_conflict_do_update(
            index_elements=[leases.c.name],
            set_={"holder": offered.excluded.holder, "expires_unix_s": offered.excluded.expires_unix_s},
            where=free,
        )
        async with self._database.write() as connection:
            return (await connection.execute(statement)).rowcount == 1

    async def release(self, holder: str) -> None:
        """Give it up; nothing happens when another holds it."""
        mine = (leases.c.name == _NAME) & (leases.c.holder == holder)
        async with self._database.write() as connection:
            await connection.execute(delete(leases).where(mine))

    def _now(self) -> ColumnElement[float]:
        if self._database.is_sqlite:
            return literal(self._clock.unix_ns() / 1e9)
        return extract("epoch", func.clock_timestamp()).cast(Double)
