"""Two tenants that flood one model, by their weights; a third that sends one call at a time hardly notices."""

import asyncio
import sqlite3
from collections import Counter, defaultdict
from contextlib import ExitStack, asynccontextmanager
from statistics import median, quantiles

import pytest

from podium.testing.openai_requests import chat_body, request_bytes
from podium.testing.raw_http import RawConnection
from podium.testing.simulator_process import SimulatorProcess
from podium.testing.site import Site
from podium.testing.unharmed import true_in_a_thread
from podium.testing.waiting import eventually

pytestmark = pytest.mark.scenario

PLACES, SERVICE_S = 10, 0.2  # about 50 calls a second, which is not much for a core: only the pool is short
WEIGHTS = {"heavy": 3, "light": 1}
CALLERS = 24  # of each that floods: whatever is served, some of both always wait
SLACK_S = 0.1  # what a busy machine may add to any single call
# Of calls that both floods were served: enough that 10 % are more than the order of a few.
WARM, COUNTED = 40, 240
BODY = chat_body("m", "one")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """One gateway before a pool of `PLACES` places, each call of which takes about `SERVICE_S`."""
    with ExitStack() as stack:
        log = tmp_path_factory.mktemp("upstream") / "log"
        upstream = stack.enter_context(SimulatorProcess(log, f"chunks=1,distribution={SERVICE_S}s/{1.5 * SERVICE_S}s"))
        site = Site(tmp_path_factory.mktemp("site"))
        stack.enter_context(site.running_control())
        upstream.wait_up()
        queueing = {"places": PLACES, "max_wait_s": 20, "weights": WEIGHTS}
        site.declare_model(
            upstream.url, *({"kind": "Tenant", "name": name, "spec": {}} for name in (*WEIGHTS, "quiet"))
        )
        model = {"version": "m-1", "endpoints": ["chat.completions"], "queueing": queueing}
        site.declare({"kind": "Model", "name": "m", "spec": model})
        stack.enter_context(site.running_gateway())
        yield site


async def ask(client, key):
    """One chat on an open connection, not streamed: the seconds it took."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    await client.send(request_bytes(BODY, key=key))
    answer = await client.read_response()
    assert answer.status == 200, answer
    return loop.time() - started_s


class Callers:
    """`count` callers of a tenant, each of whom asks again as soon as it has its answer, while the block runs."""

    def __init__(self, port, key, count, took_s):
        self._port, self._key, self._count, self._took_s = port, key, count, took_s
        self._stopping = False

    @asynccontextmanager
    async def asking(self):
        async with asyncio.TaskGroup() as group:
            for _ in range(self._count):
                group.create_task(self._ask())
            yield
            self._stopping = True

    async def _ask(self):
        async with await RawConnection.open(self._port, timeout_s=30) as client:
            while not self._stopping:
                self._took_s.append(await ask(client, self._key))


def in_ledger(site):
    """Exchanges that were served, by tenant."""
    with sqlite3.connect(f"file:{site.control.data / 'podium.db'}?mode=ro", uri=True) as database:
        statement = "SELECT tenant, count(*) FROM exchanges WHERE endpoint = 'chat.completions' AND reason = 'ok' GROUP BY tenant"
        return Counter(dict(database.execute(statement).fetchall()))


async def test_floods_share_by_weight_and_a_quiet_tenant_waits_for_one_place_at_most(site):
    port = site.gateways[0].port
    keys = {name: (await asyncio.to_thread(site.new_key, name, tenant=name))[1] for name in (*WEIGHTS, "quiet")}
    await true_in_a_thread(lambda: {site.status_of("m", key) for key in keys.values()} == {200}, timeout_s=10)
    took_s = defaultdict(list)  # of each call that was served

    async with await RawConnection.open(port) as client:
        alone_s = [await ask(client, keys["quiet"]) for _ in range(12)]
    floods = [Callers(port, keys[name], CALLERS, took_s[name]) for name in WEIGHTS]
    quiet = Callers(port, keys["quiet"], 1, took_s["quiet"])

    def served():
        return {name: len(took_s[name]) for name in WEIGHTS}

    async with floods[0].asking(), floods[1].asking():
        await eventually(lambda: sum(served().values()) >= WARM, timeout_s=15)
        async with quiet.asking():
            before = served()
            await eventually(lambda: sum(served().values()) >= WARM + COUNTED, timeout_s=30)
            after = served()

    heavy, light = (after[name] - before[name] for name in WEIGHTS)
    assert heavy / light == pytest.approx(3, rel=0.1), (heavy, light)
    # The next place that becomes free is the quiet tenant's: no wait as long as a call, while the others stand in line.
    among_s = took_s["quiet"]
    assert len(among_s) >= 10
    assert median(among_s) <= median(alone_s) + SERVICE_S, (alone_s, among_s)
    assert p90(among_s) <= p90(alone_s) + SERVICE_S + SLACK_S, (alone_s, among_s)
    assert median(took_s["light"][before["light"] :]) > 5 * SERVICE_S
    # Nobody was refused, and what callers saw is in the ledger, no more and no less.
    seen = Counter({name: len(times) for name, times in took_s.items()}) + Counter(quiet=len(alone_s))
    await true_in_a_thread(lambda: in_ledger(site) == seen, timeout_s=15)


def p90(values):
    return quantiles(values, n=10, method="inclusive")[-1]
