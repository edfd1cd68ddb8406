"""Many calls at once against one dollar at three gateways; callers go away, a gateway is killed.

Once each call is asked of Redis; once most are served from slices, for which they have to be small and to go on for a
while.
`SEEDS=20` plays it so often, each time otherwise; `--log-cli-level=INFO` shows the figures of each.
"""

import asyncio
import logging
import os
import random
import sqlite3
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil

import pytest

from podium.testing.openai_requests import chat_body, request_bytes
from podium.testing.raw_http import ConnectionClosed, RawConnection
from podium.testing.redis_server import RedisServer
from podium.testing.simulator_process import SimulatorProcess
from podium.testing.site import Site
from podium.testing.unharmed import true_in_a_thread

pytestmark = pytest.mark.scenario
log = logging.getLogger(__name__)

SEEDS = int(os.environ.get("SEEDS", "1"))
GATEWAYS = 3
TOKENS = 20
BUDGET_NANOUSD = 1_000_000_000
SLICES = 'podium_shared_store_quota_decisions{what="budgets",by="slice"}'  # a slice decided
LEASE_S = 1.5
# For each seed a key and a budget of its own.
BUDGET = {"unit": "usd", "amount": "1", "period": "month", "per": ["key"]}


@dataclass(frozen=True)
class Case:
    """How Redis is used, and by how many calls."""

    quota_leases: bool
    calls: int
    gap_s: float  # between two of them
    token_nanousd: int  # of the answer; what is asked costs nothing

    @property
    def estimate_nanousd(self):
        return TOKENS * self.token_nanousd

    @property
    def lost_nanousd(self):
        """What a killed gateway has used from slices and not told: a tenth of a second's worth (many-gateways.md)."""
        return ceil(0.1 / (self.gap_s * GATEWAYS)) * self.estimate_nanousd if self.quota_leases else 0


CASES = {"asked": Case(False, 200, 0, 1_000_000), "slices": Case(True, 700, 0.008, 125_000)}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    with SimulatorProcess(tmp_path_factory.mktemp("upstream") / "log", f"chunks={TOKENS},between=5ms") as upstream:
        upstream.wait_up()
        yield upstream


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def site(upstream, case, tmp_path_factory):
    """A control process; the test starts the gateways."""
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        environment = {
            "PODIUM_REDIS_LEASE_S": str(LEASE_S),
            "PODIUM_REDIS_TIMEOUT_MS": "2000",
            "PODIUM_REDIS_QUOTA_LEASES": str(case.quota_leases).lower(),
        }
        price = {"provider": "m", "model": "scripted", "input_usd_per_million": "0"}
        price["output_usd_per_million"] = str(case.token_nanousd // 1000)
        site = Site(tmp_path_factory.mktemp("site"), gateways=GATEWAYS, redis_url=redis.url, environment=environment)
        stack.enter_context(site.running_control())
        budget = {"kind": "Budget", "name": "dollar", "spec": BUDGET}
        site.declare_model(upstream.url, budget, {"kind": "Price", "name": "dear", "spec": price})
        yield site


async def call(port, key, *, goes_away=False):
    """The status of a streamed chat; 0: it broke off, -1: gone away in the middle of the answer, -2: nobody listened."""
    body = chat_body("m", stream=True, max_tokens=TOKENS, stream_options={"include_usage": True})
    try:
        connection = await RawConnection.open(port)
    except (ConnectionError, TimeoutError):
        return -2
    try:
        async with connection as client:
            await client.send(request_bytes(body, key=key))
            head = await client.read_head()
            if head.status == 200 and goes_away:
                return -1
            await client.read_body(head)
            return head.status
    except (ConnectionClosed, ConnectionError, TimeoutError):
        return 0


def spent(site, key_id):
    """Nano-dollars, and exchanges, of the key in the ledger."""
    with sqlite3.connect(f"file:{site.control.data / 'podium.db'}?mode=ro", uri=True) as database:
        statement = (
            "SELECT coalesce(sum(cost_nanousd), 0), count(*) FROM exchanges WHERE key_id = ? AND cost_nanousd > 0"
        )
        return database.execute(statement, (key_id,)).fetchone()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_dollar_is_spent_and_not_more(site, case, seed):
    chance = random.Random(seed)
    with ExitStack() as stack:
        gateways = [stack.enter_context(site.running_gateway(number)) for number in range(GATEWAYS)]
        key_id, key = await asyncio.to_thread(site.new_key, f"seed-{seed}")
        everywhere = range(GATEWAYS)
        await true_in_a_thread(lambda: {site.status_of("m", key, one) for one in everywhere} == {200}, timeout_s=5)
        ports = [gateway.port for gateway in site.gateways]
        killed = chance.randrange(GATEWAYS)
        kill_after = chance.randrange(10, case.calls // 2)

        statuses = []

        async def one(number):
            await asyncio.sleep(number * case.gap_s)
            statuses.append(await call(ports[number % GATEWAYS], key, goes_away=chance.random() < 0.1))
            if len(statuses) == kill_after:
                gateways[killed].kill()

        async with asyncio.TaskGroup() as group:
            for number in range(case.calls):
                group.create_task(one(number))
        seen = Counter(statuses)
        assert set(seen) <= {200, 402, 0, -1, -2}, seen
        assert seen[402], seen  # there was no room for all

        # What the killed one had reserved is free once its lease ends; then the rest of the dollar can be spent, call
        # by call, until less is left than a call may cost.
        port = ports[(killed + 1) % GATEWAYS]
        served = seen[200]
        async with asyncio.timeout(30):
            quiet_since = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() - quiet_since < 2 * LEASE_S:
                status = await call(port, key)
                assert status in {200, 402}
                if status == 200:
                    served += 1
                    quiet_since = asyncio.get_running_loop().time()
                else:
                    await asyncio.sleep(0.2)
        if case.quota_leases:
            alive = [number for number in everywhere if number != killed]
            assert any([await asyncio.to_thread(site.metric, SLICES, number) > 0 for number in alive])
        await true_in_a_thread(lambda: spent(site, key_id)[1] >= served, timeout_s=15)
        cost, exchanges = await asyncio.to_thread(spent, site, key_id)
    log.info(
        "seed %d: %d nano-dollars, %d exchanges, %d served; statuses %s", seed, cost, exchanges, served, dict(seen)
    )
    # What broke off with the killed one may have cost something that the store forgot with its lease.
    assert cost <= BUDGET_NANOUSD + seen[0] * case.estimate_nanousd + case.lost_nanousd, (cost, seen)
    # And nothing stays reserved: who is refused in the end would have cost more than what is left.
    assert cost > BUDGET_NANOUSD - case.estimate_nanousd, (cost, seen)
