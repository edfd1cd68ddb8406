"""PostgreSQL fails in every way that it can, under load: callers do not notice, operators are told, nothing is lost.

`FAULT_SECONDS=60` makes each fault last that long.
"""

import asyncio
import json
import os
import time
from contextlib import ExitStack

import pytest

from podium.testing.postgres_server import PostgresServer
from podium.testing.simulator_process import SimulatorProcess
from podium.testing.site import Site
from podium.testing.unharmed import true_in_a_thread, unharmed_callers

pytestmark = pytest.mark.scenario

FAULT_S = float(os.environ.get("FAULT_SECONDS", "0.5"))
# What an operator waits for at most: one second each for a connection, a lock and an answer, and then two for the
# driver, which would like to say goodbye.
PATIENCE = {
    "PODIUM_DATABASE_CONNECT_TIMEOUT_S": "1",
    "PODIUM_DATABASE_LOCK_TIMEOUT_S": "1",
    "PODIUM_DATABASE_STATEMENT_TIMEOUT_S": "1",
    "PODIUM_JOURNAL_SEGMENT_AGE_S": "3600",  # for a replica that was behind: so far back can be loaded again
}
ANSWERED_WITHIN_S = 6.0
# Above 1 MiB, so that a server that may not make files larger can add nothing.
GROW = """INSERT INTO exchanges SELECT grown.* FROM (SELECT * FROM exchanges LIMIT 1) one, generate_series(1, 6000) n,
          jsonb_populate_record(null::exchanges, to_jsonb(one) || jsonb_build_object(
            'id', '\\x' || md5(n::text), 'request_id', 'old', 'key_id', 'old')) grown"""


@pytest.fixture(scope="module")
def postgres():
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def site(postgres, tmp_path_factory):
    """A control process and a gateway that all tests here share."""
    folder = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        upstream = stack.enter_context(SimulatorProcess(folder / "upstream.log"))
        site = Site(folder, database_url=postgres.url, environment=PATIENCE)
        stack.enter_context(site.running_control())
        upstream.wait_up()
        site.declare_model(upstream.url)
        stack.enter_context(site.running_gateway())
        yield site


def journal_bytes(site):
    """What gateways wrote that the ledger may not have yet."""
    return sum(path.stat().st_size for path in site.control.data.glob("journal/*/*") if path.is_file())


async def check_while_it_lasts(site, callers, *, refuses=True):
    """Until the fault's time is over: readiness is green, calls are answered, operators are told 503 in time."""
    until = time.monotonic() + FAULT_S
    while time.monotonic() < until:
        await callers.some_more()
        assert await asyncio.to_thread(site.gateways[0].status, "/readyz") == 200
        started = time.monotonic()
        status, text = await asyncio.to_thread(site.admin, "POST", "/admin/v1/keys", {"tenant": "default", "name": "x"})
        assert time.monotonic() - started < ANSWERED_WITHIN_S
        if refuses:
            assert (status, "Traceback" in text) == (503, False), text
            assert "database" in text.lower()
        else:
            assert status in {201, 503}, text
        await asyncio.sleep(0.2)


async def check_operators_are_back(site):
    await true_in_a_thread(lambda: site.admin_status("/readyz") == 200, timeout_s=10)
    status, text = await asyncio.to_thread(site.admin, "POST", "/admin/v1/keys", {"tenant": "default", "name": "y"})
    assert status == 201, text


FAULTS = {
    "killed": (PostgresServer.kill, PostgresServer.start),
    "stalled": (PostgresServer.stall, PostgresServer.resume),
    "refuses-clients": (PostgresServer.refuse_clients, PostgresServer.admit_clients),
    "has-no-connection-left": (lambda server: server.allow_connections(0), lambda server: server.allow_connections(-1)),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_callers_do_not_notice_that_postgresql_is_down(site, postgres, fault):
    begin, end = FAULTS[fault]
    async with unharmed_callers(site, postgres, fault) as callers:
        await asyncio.to_thread(begin, postgres)
        try:
            before = journal_bytes(site)
            await check_while_it_lasts(site, callers)
            assert journal_bytes(site) > before  # they pile up
        finally:
            await asyncio.to_thread(end, postgres)
        await check_operators_are_back(site)


async def test_connections_that_break_again_and_again_are_opened_again(site, postgres):
    async with unharmed_callers(site, postgres, "breaks") as callers:
        until = time.monotonic() + FAULT_S
        while time.monotonic() < until:
            await asyncio.to_thread(postgres.end_connections)
            await callers.some_more()
        await check_operators_are_back(site)


async def test_another_server_takes_over_on_the_same_port(site, postgres):
    async with unharmed_callers(site, postgres, "over") as callers:
        await asyncio.to_thread(postgres.restart)
        await callers.some_more()
        await check_operators_are_back(site)


async def test_a_replica_that_was_behind_takes_over_and_gets_again_what_journals_still_hold(site, postgres):
    async with unharmed_callers(site, postgres, "behind") as callers:
        await asyncio.to_thread(postgres.stop)
        copy = await asyncio.to_thread(postgres.copy)
        await asyncio.to_thread(postgres.start)
        had = len(await asyncio.to_thread(callers.recorded))
        await true_in_a_thread(lambda: len(callers.recorded()) > had + 50, timeout_s=20)
        await asyncio.to_thread(postgres.fail_over, copy)
        await check_operators_are_back(site)


async def test_a_full_disk_of_the_database_holds_up_the_ledger_and_nobody_else(site, postgres):
    async with unharmed_callers(site, postgres, "full") as callers:
        await true_in_a_thread(callers.recorded, timeout_s=10)
        await asyncio.to_thread(postgres.execute, GROW)
        await asyncio.to_thread(postgres.fill_disk)
        try:
            await check_while_it_lasts(site, callers, refuses=False)
            _, status = await asyncio.to_thread(site.admin, "GET", "/admin/v1/status")
            assert json.loads(status)["loader"]["error"]
            assert json.loads(status)["loader"]["lag_bytes"] > 0
            assert await asyncio.to_thread(site.admin_status, "/admin/v1/usage") == 200  # reading goes on
        finally:
            await asyncio.to_thread(postgres.empty_disk)
        await check_operators_are_back(site)
