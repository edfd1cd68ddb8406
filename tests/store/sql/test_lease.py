import pytest
from sqlalchemy import insert

from podium.core.clock import SystemClock
from podium.store.sql.lease import SqlLeaderLease
from podium.store.sql.tables import leases

TTL_S = 10.0


@pytest.mark.parametrize(("ahead_s", "free"), [(3600.0, True), (9.0, False), (-1.0, True)])
async def test_a_lease_from_before_the_clock_was_put_back_holds_up_nobody(database, ahead_s, free):
    ends = SystemClock.unix_ns() / 1e9 + ahead_s
    async with database.write() as connection:
        await connection.execute(insert(leases).values(name="leader", holder="gone", expires_unix_s=ends))
    assert await SqlLeaderLease(database).acquire("new", TTL_S) is free
