"""One of two replicas of a new version answers nonsense: it is found and taken out while callers are being served."""

import asyncio
import json
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from podium.testing.simulator_process import SimulatorProcess
from podium.testing.site import Site
from podium.testing.stream_load import StreamLoad
from podium.testing.unharmed import true_in_a_thread
from podium.testing.waiting import eventually

pytestmark = pytest.mark.scenario

PER_SECOND = 20
WELL = "chunks=4,before-content=5ms"
QUICK = {"PODIUM_CONTROL_ROLLOUT_TICK_S": "0.5", "PODIUM_CONTROL_POLL_S": "0.1"}


@pytest.fixture
def upstreams(tmp_path):
    with ExitStack() as stack:
        names = ("old", "sound", "spoilt")
        found = {name: stack.enter_context(SimulatorProcess(tmp_path / f"{name}.log", WELL)) for name in names}
        for one in found.values():
            one.wait_up()
        yield found


@pytest.fixture
def site(tmp_path, upstreams):
    site = Site(tmp_path / "site", environment=QUICK)
    site.control.extra_environment["PODIUM_CONTROL_GATEWAYS"] = f"http://127.0.0.1:{site.gateways[0].port}"
    with site.running_control():
        for name, upstream in upstreams.items():
            site.declare({"kind": "Provider", "name": name, "spec": {"protocol": "openai", "base_url": upstream.url}})
        for version, providers in (("1", ("old",)), ("2", ("sound", "spoilt"))):
            spec = {"backends": [{"provider": provider, "model": "scripted"} for provider in providers]}
            site.declare({"kind": "Version", "name": f"m-{version}", "spec": spec})
        steps = [{"percent": 50, "minimum_s": 600}, {"percent": 100}]
        site.declare(
            {"kind": "Model", "name": "m", "spec": {"version": "m-1", "endpoints": ["chat.completions"]}},
            {"kind": "Rollout", "name": "r", "spec": {"model": "m", "candidate": "m-2", "steps": steps}},
        )
        with site.running_gateway():
            yield site


def standing(site):
    return json.loads(site.admin("GET", "/admin/v1/rollouts/r")[1])


async def test_a_replica_that_answers_nonsense_is_named_and_taken_out_within_a_minute(site, upstreams):
    key = (await asyncio.to_thread(site.new_key, "callers"))[1]
    await true_in_a_thread(lambda: site.status_of("m", key) == 200, timeout_s=10)
    load = StreamLoad(site.gateways[0].port, key, model="m", per_second=PER_SECOND, users=400)
    async with load:
        await asyncio.to_thread(site.admin, "POST", "/admin/v1/rollouts/r/start")
        await true_in_a_thread(lambda: standing(site)["phase"] == "running", timeout_s=30)
        upstreams["spoilt"].behave("chunks=0,share=0.4")  # a fifth of all answers of the version
        began_s, at = time.monotonic(), asyncio.get_running_loop().time()
        await true_in_a_thread(lambda: "gets no more calls" in (standing(site)["detail"] or ""), timeout_s=60)
        took_s = time.monotonic() - began_s
        told = standing(site)
        taken_out = asyncio.get_running_loop().time()
        await eventually(lambda: len(load.since(taken_out + 2)) >= 40, timeout_s=20)
    assert took_s < 60
    assert "`spoilt/scripted` of `m-2`" in told["detail"]
    assert "empty_rate" in told["detail"]
    assert (told["phase"], told["step"]) == ("running", 0)
    assert told["evidence"]
    during = Counter(one.backend for one in load.since(at) if one.started_s < taken_out)
    after = Counter(one.backend for one in load.since(taken_out + 2))
    assert during["spoilt/scripted"] > 20
    assert set(after) == {"old/scripted", "sound/scripted"}
    assert load.failed == []
