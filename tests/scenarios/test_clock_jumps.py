"""The wall clock of all processes jumps by a day, forward and back, under load."""

import asyncio
import sqlite3
import time
from contextlib import ExitStack

import pytest

from podium.testing.load import Load
from podium.testing.simulator_process import SimulatorProcess
from podium.testing.site import Site
from podium.testing.unharmed import true_in_a_thread
from podium.testing.waiting import eventually
from podium.testing.wall_clock import WallClock

pytestmark = pytest.mark.scenario

DAY_S = 86_400.0
FEW = 20
FAIR_USE = {
    "kind": "LimitPolicy",
    "name": "few",
    "spec": {
        "where": {"tier": ["few"]},
        "per": ["key"],
        "limits": [{"what": "requests", "amount": FEW, "window_s": 3600, "algorithm": "sliding_window"}],
    },
}


@pytest.fixture
def clock(tmp_path):
    with WallClock(tmp_path / "clock") as clock:
        yield clock


async def some_more(load, exchanges=20):
    before = len(load.served)
    await eventually(lambda: len(load.served) >= before + exchanges, timeout_s=10)


async def check_changes_take_hold(site, name):
    """A key is known within two seconds, and once it is revoked it is refused within two."""
    key_id, key = await asyncio.to_thread(site.new_key, name)
    await true_in_a_thread(lambda: site.status_of("m", key) == 200, timeout_s=2)
    assert (await asyncio.to_thread(site.admin, "POST", f"/admin/v1/keys/{key_id}/revoke"))[0] == 200
    await true_in_a_thread(lambda: site.status_of("m", key) == 401, timeout_s=2)


def exchanges(site):
    """Request ids and latencies in the ledger."""
    with sqlite3.connect(f"file:{site.control.data / 'podium.db'}?mode=ro", uri=True) as database:
        chats = "SELECT request_id, ended_ns FROM exchanges WHERE endpoint = 'chat.completions'"
        return database.execute(chats).fetchall()


def lease_ends(site):
    """Until when somebody leads, in the time of those who lead."""
    with sqlite3.connect(f"file:{site.control.data / 'podium.db'}?mode=ro", uri=True) as database:
        return max(row[0] for row in database.execute("SELECT expires_unix_s FROM leases"))


async def test_a_clock_that_jumps_by_a_day_harms_neither_calls_nor_limits_nor_changes(clock, tmp_path):
    site = Site(tmp_path, environment=clock.environment | {"PODIUM_CONTROL_LEASE_TTL_S": "1.5"})
    with ExitStack() as stack:
        upstream = stack.enter_context(SimulatorProcess(tmp_path / "upstream.log"))
        control = stack.enter_context(site.running_control())
        upstream.wait_up()
        site.declare_model(upstream.url, FAIR_USE)
        stack.enter_context(site.running_gateway())
        (_, key), (_, few) = site.new_key("alice"), site.new_key("bob", tier="few")
        await true_in_a_thread(lambda: site.status_of("m", few) == 200, timeout_s=2)

        async with (
            Load(site.gateways[0].port, key, model="m") as load,
            Load(site.gateways[0].port, few, model="m", workers=1, name="few") as limited,
        ):
            await some_more(load)
            await eventually(lambda: len(limited.seen) > FEW, timeout_s=10)
            for ahead_s in (DAY_S, -DAY_S):
                clock.put(ahead_s)
                await some_more(load)
                assert await asyncio.to_thread(site.gateways[0].status, "/readyz") == 200
                await check_changes_take_hold(site, f"new{ahead_s:.0f}")
            # A control process that ended without giving up its lease, and the clock put back: the next one leads.
            clock.put(DAY_S)
            await true_in_a_thread(lambda: lease_ends(site) > time.time() + DAY_S / 2, timeout_s=5)
            control.kill()
            clock.put(0)
            stack.enter_context(site.running_control())
            await asyncio.to_thread(site.new_key, "carol")
            await check_changes_take_hold(site, "dave")
            await some_more(load)
        assert load.refused == 0
        assert {(one.whole, one.status) for one in load.seen} == {(True, 200)}
        assert len(limited.served) == FEW  # neither a jump gave it more, nor did one lock it out earlier
        served = {one.request_id for one in load.seen + limited.served}
        await true_in_a_thread(lambda: served <= {row[0] for row in exchanges(site)}, timeout_s=15)
        rows = [row for row in exchanges(site) if row[0] in served]
        assert len(rows) == len(served)
        assert all(0 < ended_ns < 10e9 for _, ended_ns in rows)
