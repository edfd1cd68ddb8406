"""Times `Pool.choose` of the gateway over a pool of many backends, with the place taken and given back.

The backends have weights, regions and prices, have answered before at different speeds, and some calls are under
way. Each timed call has facts of its own: tenant, session, prompt, random value, time.
"""

import os
import random
import time

import msgspec

from harness.load.generator import run_generator
from harness.load.uncalled import UncalledUpstreams
from podium.core.resources import BackendSpec, Model, Price, Provider, Version
from podium.core.serving import Balancing
from podium.core.snapshot import Snapshot
from podium.gateway.fleet import Fleet
from podium.gateway.pool import Pool
from podium.gateway.world import World
from podium.traffic.balancing.ports import CallFacts
from podium.traffic.balancing.registry import STRATEGIES
from podium.traffic.breaker import CallResult

__all__ = ["ChoicesJob", "ChoicesResult"]

_FACTS = 4096
_REPEATS = 5  # the best of them is told: the others were disturbed
_WEIGHTS = (1, 2, 5, 100)
_NOW_NS = 10**15
_MODEL = "bench"


class ChoicesJob(msgspec.Struct, frozen=True, kw_only=True):
    """How many backends, how often each strategy chooses, and on which core."""

    backends: int
    choices: int
    seed: int
    core: int


class ChoicesResult(msgspec.Struct, frozen=True, kw_only=True):
    """Time of one choice by strategy."""

    microseconds: dict[str, float]


def _pool(strategy: str, count: int, draw: random.Random) -> Pool:
    provider = Provider(protocol="openai", base_url="http://127.0.0.1:9/v1")
    backends = tuple(
        BackendSpec(provider=f"p{number % 10}", model=f"m{number}", weight=draw.choice(_WEIGHTS))
        for number in range(count)
    )
    price = {
        f"price-{number}": Price(
            model=f"m{number}", input_usd_per_million=f"0.{draw.randrange(100, 999)}", output_usd_per_million="1"
        )
        for number in range(count)
    }
    model = Model(version="v", balancing=msgspec.convert({"strategy": strategy}, Balancing))
    snapshot = Snapshot(
        revision=1,
        published_unix_s=1.0,
        providers={f"p{number}": provider for number in range(10)},
        versions={"v": Version(backends=backends)},
        models={_MODEL: model},
        prices=price,
    )
    pool = World(snapshot, UncalledUpstreams(), Fleet(), _NOW_NS).pool(_MODEL)
    assert pool is not None
    for backend in pool.backends:
        state = backend.state
        for _ in range(draw.randrange(1, 4)):
            probes, ttft_ms = state.enter(_NOW_NS), draw.uniform(50, 500)
            if state.timed:
                state.load.first_content(_NOW_NS, ttft_ms)
            state.leave(
                probes, CallResult.OK, _NOW_NS, first_content_ms=ttft_ms, time_per_output_token_ms=draw.uniform(5, 30)
            )
        for _ in range(draw.randrange(3)):
            state.enter(_NOW_NS)
    return pool


def _facts(draw: random.Random) -> list[CallFacts]:
    return [
        CallFacts(
            _NOW_NS + 10**9 + number,
            f"t{number % 7}",
            f"s{number}",
            (b"%d " % (number % 500)) * 700,
            draw.random(),
        )
        for number in range(_FACTS)
    ]


def _time_us(pool: Pool, facts: list[CallFacts], choices: int) -> float:
    calls = (facts * (choices // len(facts) + 1))[:choices]
    began = time.perf_counter()
    for call in calls:
        pick = pool.choose((), call)
        assert pick is not None
        backend, probes, *_ = pick
        backend.state.leave(probes, None, call.now_ns, first_content_ms=0.0)
    return (time.perf_counter() - began) / choices * 1e6


async def _work(job: ChoicesJob) -> ChoicesResult:
    os.sched_setaffinity(0, {job.core})
    draw = random.Random(job.seed)
    facts = _facts(draw)
    found = {}
    for strategy in STRATEGIES:
        pool = _pool(strategy, job.backends, draw)
        _time_us(pool, facts, len(facts))  # the first choice derives what a strategy keeps of the pool
        found[strategy] = min(_time_us(pool, facts, job.choices) for _ in range(_REPEATS))
    return ChoicesResult(microseconds=found)


if __name__ == "__main__":
    run_generator(ChoicesJob, _work)
