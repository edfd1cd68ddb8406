"""PostgreSQL fails in every way that it can, under load: callers do not notice, operators are told, nothing is lost.

`FAULT_SECONDS=60` makes each fault last that long.
"""

import asyncio
import json
import os
import time
from collections import Counter
from contextlib import ExitStack, asynccontextmanager

import pytest

from podium.testing.load import Load
from podium.testing.postgres_server import PostgresServer
from podium.testing.simulator_process import SimulatorProcess
from podium.testing.site import Site
from podium.testing.waiting import eventually

pytestmark = pytest.mark.scenario

FAULT_S = float(os.environ.get("FAULT_SECONDS", "1"))
# What an operator waits for at most: one second each for a connection, a lock and an answer, and then two for the
# driver, which would like to say goodbye.
PATIENCE = {
    "PODIUM_DATABASE_CONNECT_TIMEOUT_S": "1",
    "PODIUM_DATABASE_LOCK_TIMEOUT_S": "1",
    "PODIUM_DATABASE_STATEMENT_TIMEOUT_S": "1",
}
ANSWERED_WITHIN_S = 6.0
CALL_WITHIN_S = 1.0  # a call takes a few milliseconds here, and asks no database
INPUT_NANOUSD, OUTPUT_NANOUSD = 150, 600
COUNTED = "SELECT request_id FROM exchanges WHERE endpoint = 'chat.completions' AND key_id = $1"
SUMS = """SELECT sum(exchanges)::int, sum(errors)::int, sum(input_tokens)::int, sum(output_tokens)::int,
          sum(cost_nanousd)::bigint FROM usage_hours WHERE key_id = $1 AND model = 'm'"""

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


def recorded(postgres, key_id):
    """Request ids in the ledger, as often as they are there."""
    return Counter(row[0] for row in postgres.execute(COUNTED, key_id))


def journal_bytes(site):
    """What gateways wrote that the ledger may not have yet."""
    return sum(path.stat().st_size for path in site.control.data.glob("journal/*/*") if path.is_file())


async def true_in_a_thread(condition, *, timeout_s):
    """Return when the condition holds, which is asked beside the load."""

    def wait():
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    await asyncio.to_thread(wait)


async def some_more(load, exchanges=20):
    before = len(load.served)
    await eventually(lambda: len(load.served) >= before + exchanges, timeout_s=10)


@asynccontextmanager
async def callers_unharmed(site, postgres, name):
    """A load from before the fault until after it; everything that it saw is in the ledger once, at its price."""
    key_id, key = await asyncio.to_thread(site.new_key, name)
    async with Load(site.gateways[0].port, key, model="m", name=name) as load:
        await some_more(load)
        yield load, key_id
        await some_more(load)
    assert load.refused == 0
    assert {(one.whole, one.status) for one in load.seen} == {(True, 200)}
    assert max(one.took_s for one in load.seen) < CALL_WITHIN_S
    wanted = {one.request_id for one in load.seen}
    # The loader tries again after 15 s at most.
    await true_in_a_thread(lambda: wanted <= recorded(postgres, key_id).keys(), timeout_s=30)
    assert await asyncio.to_thread(recorded, postgres, key_id) == Counter(wanted)
    inputs, outputs = sum(one.input_tokens for one in load.seen), sum(one.output_tokens for one in load.seen)
    cost = inputs * INPUT_NANOUSD + outputs * OUTPUT_NANOUSD
    assert await asyncio.to_thread(postgres.execute, SUMS, key_id) == [(len(load.seen), 0, inputs, outputs, cost)]


async def check_while_it_lasts(site, load, *, refuses=True):
    """Until the fault's time is over: readiness is green, calls are answered, operators are told 503 in time."""
    until = time.monotonic() + FAULT_S
    while time.monotonic() < until:
        await some_more(load)
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
    async with callers_unharmed(site, postgres, fault) as (load, _):
        await asyncio.to_thread(begin, postgres)
        try:
            before = journal_bytes(site)
            await check_while_it_lasts(site, load)
            assert journal_bytes(site) > before  # they pile up
        finally:
            await asyncio.to_thread(end, postgres)
        await check_operators_are_back(site)


async def test_connections_that_break_again_and_again_are_opened_again(site, postgres):
    async with callers_unharmed(site, postgres, "breaks") as (load, _):
        until = time.monotonic() + FAULT_S
        while time.monotonic() < until:
            await asyncio.to_thread(postgres.end_connections)
            await some_more(load)
        await check_operators_are_back(site)


async def test_another_server_takes_over_on_the_same_port(site, postgres):
    async with callers_unharmed(site, postgres, "over") as (load, _):
        await asyncio.to_thread(postgres.restart)
        await some_more(load)
        await check_operators_are_back(site)


async def test_a_full_disk_of_the_database_holds_up_the_ledger_and_nobody_else(site, postgres):
    async with callers_unharmed(site, postgres, "full") as (load, key_id):
        await true_in_a_thread(lambda: recorded(postgres, key_id), timeout_s=10)
        await asyncio.to_thread(postgres.execute, GROW)
        await asyncio.to_thread(postgres.fill_disk)
        try:
            await check_while_it_lasts(site, load, refuses=False)
            _, status = await asyncio.to_thread(site.admin, "GET", "/admin/v1/status")
            assert json.loads(status)["loader"]["error"]
            assert json.loads(status)["loader"]["lag_bytes"] > 0
            assert await asyncio.to_thread(site.admin_status, "/admin/v1/usage") == 200  # reading goes on
        finally:
            await asyncio.to_thread(postgres.empty_disk)
        await check_operators_are_back(site)
