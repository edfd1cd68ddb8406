"""What operators change takes hold while Podium serves, and disturbs nobody."""

import asyncio
import sqlite3
import time

import pytest

from podium.testing.load import Load
from podium.testing.waiting import eventually

pytestmark = pytest.mark.scenario


async def test_a_second_provider_comes_and_goes_while_podium_serves(stage):
    async with stage.control():
        await stage.apply(rename=True)
        key_id, key = await stage.new_key("alice")
        async with stage.gateway("first") as gateway, Load(stage.installation.port, key, model="first") as load:
            await eventually(lambda: len(load.served) > 20, timeout_s=10)
            assert stage.status_of("assistant") == 404

            revision = await stage.apply()
            await eventually(lambda: stage.status_of("assistant") == 200, timeout_s=3, interval_s=0.05)
            async with Load(stage.installation.port, key, model="assistant", name="second") as second:
                await eventually(lambda: len(second.served) > 20, timeout_s=10)

            await stage.run("undo", str(revision))
            await eventually(lambda: stage.status_of("assistant") == 404, timeout_s=3, interval_s=0.05)
            sofar = len(load.served)
            await eventually(lambda: len(load.served) > sofar + 20, timeout_s=10)
            assert gateway.running
        # Nobody noticed: every request of the first model was answered, on connections that stayed open.
        assert load.refused == second.refused == 0
        assert {(one.whole, one.status) for one in load.seen + second.seen} == {(True, 200)}
        await eventually_counted(stage, key_id, len(load.seen) + len(second.seen))


async def eventually_counted(stage, key_id, exchanges):
    deadline = time.monotonic() + 10
    while (rows := await stage.usage_by_key()).get(key_id, {}).get("exchanges", 0) < exchanges:
        assert time.monotonic() < deadline, rows
    assert rows[key_id]["exchanges"] == exchanges


async def test_a_revoked_key_is_refused_within_two_seconds(stage):
    async with stage.control():
        await stage.apply()
        key_id, key = await stage.new_key("mallory")
        async with stage.gateway():
            await eventually(lambda: stage.status_of("assistant", key) == 200, timeout_s=3)
            await stage.run("keys", "revoke", key_id)
            took = await eventually(lambda: stage.status_of("assistant", key) == 401, timeout_s=2)
            assert took < 2
            assert stage.status_of("assistant") == 200


async def test_a_database_that_takes_nothing_holds_up_changes_and_nobody_else(stage):
    stage.installation.extra_environment["PODIUM_DATABASE_LOCK_TIMEOUT_S"] = "0.5"
    async with stage.control():
        await stage.apply()
        key_id, key = await stage.new_key("alice")
        async with stage.gateway(), Load(stage.installation.port, key, model="assistant") as load:
            await eventually(lambda: len(load.served) > 10, timeout_s=10)
            with sqlite3.connect(stage.installation.data / "podium.db", isolation_level=None) as database:
                database.execute("BEGIN IMMEDIATE")
                sofar = len(load.served)
                refused = await stage.run("keys", "revoke", key_id, check=False)
                assert refused.code != 0
                assert "Traceback" not in refused.err
                assert len(load.served) > sofar + 10
                assert await asyncio.to_thread(stage.installation.status, "/readyz") == 200
                database.execute("ROLLBACK")
        assert {(one.whole, one.status) for one in load.seen} == {(True, 200)}
        await eventually_counted(stage, key_id, len(load.seen))


async def test_a_gateway_serves_on_without_its_control_process_also_after_a_restart(stage):
    async with stage.control() as control:
        await stage.apply()
        _, key = await stage.new_key("alice")
        async with stage.gateway() as gateway:
            await eventually(lambda: stage.status_of("assistant", key) == 200, timeout_s=3)
            control.kill()
            async with Load(stage.installation.port, key, model="assistant") as load:
                await eventually(lambda: len(load.served) > 20, timeout_s=10)
            gateway.kill()
        async with stage.gateway(), Load(stage.installation.port, key, model="assistant", name="again") as again:
            await eventually(lambda: len(again.served) > 20, timeout_s=10)
            assert await asyncio.to_thread(stage.installation.status, "/readyz") == 200
        assert {(one.whole, one.status) for one in load.seen + again.seen} == {(True, 200)}
    # What was answered meanwhile is not lost: the next control process brings it in.
    async with stage.control():
        deadline = time.monotonic() + 10
        while sum(row["exchanges"] for row in (await stage.usage_by_key()).values()) < len(load.seen + again.seen):
            assert time.monotonic() < deadline
