"""`podium up --gateways 2`: two processes on one port that count, change, refuse and end as one."""

import asyncio
import os
import re
import signal
import sqlite3
import time
from pathlib import Path

import httpx
import pytest

from podium.testing.load import Load
from podium.testing.processes import Installation
from podium.testing.waiting import eventually

pytestmark = pytest.mark.scenario
MODELS = Path(os.environ.get("PODIUM_MODELS_DIR") or Path(__file__).parents[2] / ".models")


class Pair:
    """A running `podium up --gateways 2`."""

    def __init__(self, installation, process):
        self.installation = installation
        self.process = process

    @property
    def probes(self):
        """The address of each gateway's probes, by its name."""
        return dict(re.findall(r"^(gateway-\d): (http://\S+)/metrics", self.process.output(), re.MULTILINE))

    def pid_of(self, gateway):
        """The process id of a gateway; 0 while it has none."""
        for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            if f"PODIUM_GATEWAY_NAME={gateway}\0".encode() in Path(f"/proc/{child}/environ").read_bytes():
                return int(child)
        return 0

    def figure(self, gateway, name):
        """A gateway's own figure; None when it has none, or nobody answers."""
        try:
            page = httpx.get(f"{self.probes[gateway]}/metrics", timeout=5, trust_env=False).text
        except httpx.TransportError:
            return None
        found = re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE)
        return None if found is None else float(found[1])

    def ready(self, gateway):
        """Whether its own readiness is green."""
        try:
            return httpx.get(f"{self.probes[gateway]}/readyz", timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def statuses(self, key, *, connections=24):
        """What look-ups on so many connections answer: each gateway gets some of them."""
        headers = {"authorization": f"Bearer {key}", "connection": "close"}
        url = f"{self.installation.url}/models"
        return {httpx.get(url, headers=headers, timeout=5, trust_env=False).status_code for _ in range(connections)}

    def recorded(self, key_id):
        """Rows of the ledger of a key, look-ups of models too: request id, gateway, input and output tokens."""
        with sqlite3.connect(f"file:{self.installation.data / 'podium.db'}?mode=ro", uri=True) as database:
            return database.execute(
                "SELECT request_id, gateway, input_tokens, output_tokens FROM exchanges WHERE key_id = ?", (key_id,)
            ).fetchall()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    installed = Installation(tmp_path_factory.mktemp("pair"), models=MODELS)
    with installed.start("up", "--gateways", "2") as process:
        installed.wait_for(lambda: "gateway-2: http" in process.output(), process, timeout_s=60)
        yield Pair(installed, process)
        process.signal(signal.SIGTERM)
        assert process.wait(20) == 0  # all of it drains and ends


async def test_one_killed_under_load_loses_nothing_and_what_both_served_adds_up(pair, providers_of):
    providers = providers_of(pair.installation)
    await providers.start("counted")
    await providers.apply(providers.provider("counted"), *providers.model("counted", {"counted": 1}))
    key_id, key = await asyncio.to_thread(pair.installation.new_key, "load")
    await asyncio.to_thread(lambda: eventually_known(pair, key))
    async with Load(pair.installation.port, key, model="counted", workers=8, name="pair") as load:
        await eventually(lambda: len(load.served) > 100, timeout_s=10)
        before, other = pair.pid_of("gateway-1"), pair.pid_of("gateway-2")
        os.kill(before, signal.SIGKILL)
        sofar = len(load.served)
        await eventually(lambda: len(load.served) > sofar + 100, timeout_s=10)  # the other one goes on
        await eventually(lambda: pair.pid_of("gateway-1") not in {0, before}, timeout_s=10)
        await eventually(lambda: pair.ready("gateway-1"), timeout_s=10, interval_s=0.1)
        assert pair.pid_of("gateway-2") == other
    served = {one.request_id for one in load.served}
    await eventually(lambda: served <= {row[0] for row in pair.recorded(key_id)}, timeout_s=10, interval_s=0.1)
    rows = pair.recorded(key_id)
    recorded = {row[0] for row in rows}
    assert len(recorded) == len(rows)
    assert {row[1] for row in rows} == {"gateway-1", "gateway-2"}
    assert all(one.request_id not in recorded or not one.whole for one in load.seen if not one.served)
    assert {one.status for one in load.seen if one.whole} == {200}
    (usage,) = [
        row
        for row in (await asyncio.to_thread(pair.installation.run, "usage", "--by", "key", "--json")).json()["rows"]
        if row["group"]["key"] == key_id
    ]
    assert usage["exchanges"] == len(rows)
    assert (usage["input_tokens"], usage["output_tokens"]) == (sum(row[2] for row in rows), sum(row[3] for row in rows))


def eventually_known(pair, key):
    deadline = time.monotonic() + 3
    while pair.statuses(key) != {200}:
        assert time.monotonic() < deadline


async def test_a_change_reaches_both_and_each_tells_its_own_figures(pair, providers_of):
    assert set(pair.probes) == {"gateway-1", "gateway-2"}
    before = pair.figure("gateway-1", "podium_snapshot_revision")
    providers = providers_of(pair.installation)
    await providers.start("changed")
    await providers.apply(providers.provider("changed"), *providers.model("changed", {"changed": 1}))
    applied_s = time.monotonic()
    revisions = set()
    while len(revisions) != 1 or min(revisions) <= before:
        assert time.monotonic() < applied_s + 2
        revisions = {pair.figure(name, "podium_snapshot_revision") for name in pair.probes}
    assert pair.installation.status("/v1/models", port=int(pair.probes["gateway-1"].rpartition(":")[2])) == 404


async def test_a_revoked_key_is_refused_by_both_within_two_seconds(pair):
    key_id, key = await asyncio.to_thread(pair.installation.new_key, "leaked")
    await asyncio.to_thread(lambda: eventually_known(pair, key))
    await asyncio.to_thread(pair.installation.run, "keys", "revoke", key_id)
    revoked_s = time.monotonic()
    while await asyncio.to_thread(pair.statuses, key) != {401}:
        assert time.monotonic() < revoked_s + 2
