"""A provider that has enough, and one that has become slow: what callers see, and what the ledger says.

`RETRY_AFTER_SECONDS=60` makes the first one say the minute that a real provider would say.
"""

import asyncio
import os
from collections import Counter
from statistics import quantiles

import msgspec
import pytest

from podium.core.event import AttemptRecord
from podium.testing.waiting import eventually

pytestmark = pytest.mark.scenario

RETRY_AFTER_S = int(os.environ.get("RETRY_AFTER_SECONDS", "2"))
COST = {"scarce": (1_000, 2_000), "plenty": (3_000, 4_000)}  # nano-dollars a token, input and output
SLOW_S = 2.0
read_trail = msgspec.json.Decoder(tuple[AttemptRecord, ...]).decode


def now():
    return asyncio.get_running_loop().time()


async def for_a_while(seconds):
    """Nothing to wait for: the load goes on meanwhile."""
    started_s = now()
    await eventually(lambda: now() > started_s + seconds, timeout_s=seconds + 5)


def served_by(provider, streams):
    return [one for one in streams if one.backend == f"{provider}/scripted"]


async def test_an_account_that_is_used_up_is_left_alone_then_probed_and_the_ledger_has_each_call_once(providers):
    scarce, _ = await providers.start("scarce", "plenty", behaviour="chunks=3,before-head=200ms")
    fallback = {"fallbacks": [{"model": "instead", "on": ["rate_limited"]}]}
    await providers.apply(
        *(providers.provider(name) for name in COST),
        *(
            providers.price(name, input_usd=f"{given / 1000}", output_usd=f"{made / 1000}")
            for name, (given, made) in COST.items()
        ),
        *providers.model("instead", {"plenty": 1}),
        *providers.model("wanted", {"scarce": 1}, failure=fallback),
    )
    scarce.behave(f"rate-limited,retry-after={RETRY_AFTER_S}")
    async with providers.load("wanted", 20, name="first") as first:
        await eventually(lambda: scarce.requests, interval_s=0.001)
    limited_s = now()
    at_first = scarce.requests
    async with providers.load("wanted", 25) as load:
        # Still used up when the first wait is over: one call finds out, and the account rests again.
        await eventually(lambda: scarce.requests > at_first, timeout_s=RETRY_AFTER_S + 3, interval_s=0.01)
        probed_s = now()
        assert probed_s >= limited_s + RETRY_AFTER_S - 0.5
        await for_a_while(RETRY_AFTER_S / 2)
        assert scarce.requests == at_first + 1
        scarce.behave("chunks=3,before-head=200ms")
        await eventually(lambda: served_by("scarce", load.seen), timeout_s=RETRY_AFTER_S + 3)
        back_s = now()
        assert back_s >= probed_s + RETRY_AFTER_S - 0.5
        await eventually(lambda: len(load.since(back_s)) > 10, timeout_s=5)
    streams = first.seen + load.seen
    assert [one for one in streams if not one.served] == []

    # One call went first; the others waited for what it would show, and then all went there.
    probe, *others = sorted(served_by("scarce", load.seen), key=lambda one: one.started_s)
    assert all(one.started_s >= probe.head_s - 0.05 for one in others)
    assert {one.backend for one in load.since(back_s)} == {"scarce/scripted"}
    await check_ledger(providers, streams, refused=at_first + 1)


async def check_ledger(providers, streams, *, refused):
    ledger = await providers.ledger("wanted", streams)
    assert len(ledger) == len(streams)
    trails, cost = Counter(), Counter()
    for one in streams:
        row = ledger[one.request_id]
        provider = one.backend.partition("/")[0]
        given, made = COST[provider]
        cost[provider] += one.input_tokens * given + one.output_tokens * made
        assert (row["provider"], row["reason"], row["tokens_estimated"]) == (provider, "ok", 0)
        assert row["cost_nanousd"] == one.input_tokens * given + one.output_tokens * made
        assert row["served_model"] == one.model == ("instead" if provider == "plenty" else "")
        trail = read_trail(row["trail"]) if row["trail"] else ()
        assert row["attempts"] == (len(trail) or 1)
        trails[tuple((call.model, call.kind, call.reason, call.upstream_status) for call in trail)] += 1
        assert not trail or sum(call.cost_nanousd for call in trail) == row["cost_nanousd"]
    was_refused = (("wanted", "first", "upstream_rate_limited", 429), ("instead", "fallback", "ok", 200))
    assert trails == {was_refused: refused, (): len(streams) - refused}
    rows = (await asyncio.to_thread(providers.installation.run, "usage", "--by", "provider", "--json")).json()["rows"]
    assert cost == {row["group"]["provider"]: row["cost_nanousd"] for row in rows if row["group"]["provider"] in COST}


async def test_one_slow_backend_of_four_hardly_shows_with_response_times_and_hedging(providers):
    names = ("pace-a", "pace-b", "pace-c", "pace-d")
    *_, slow = await providers.start(*names, behaviour="chunks=3,before-content=50ms")
    backends = dict.fromkeys(names, 1)
    hedging = {"percentile": 0.95, "max_share": 0.1, "minimum_samples": 30}
    await providers.apply(
        *map(providers.provider, names),
        *providers.model("sound", dict.fromkeys(names[:-1], 1)),
        *providers.model("in-turn", backends),
        *providers.model("adaptive", backends, balancing={"strategy": "response_time"}, failure={"hedging": hedging}),
    )

    async with (
        providers.load("sound", 30) as sound,
        providers.load("in-turn", 30) as in_turn,
        providers.load("adaptive", 30) as adaptive,
    ):
        await eventually(lambda: len(adaptive.seen) >= 110, timeout_s=25)  # connections are open, times are known
        await asyncio.to_thread(slow.behave, f"chunks=3,before-content={SLOW_S}s")
        started_s = now()
        await eventually(lambda: len(adaptive.since(started_s)) >= 130, timeout_s=20)
    assert sound.failed == in_turn.failed == adaptive.failed == []
    # Without, a quarter of the callers wait; with, the 99th percentile stays far below that. What the machine adds, it
    # adds for the callers of sound backends at the same time, too.
    assert p99_s(in_turn.since(started_s)) > SLOW_S
    assert p99_s(adaptive.since(started_s)) < p99_s(sound.since(started_s)) + SLOW_S / 4
    assert any("hedge" in one.trail for one in adaptive.since(started_s))


def p99_s(streams):
    return quantiles((one.head_after_s for one in streams), n=100)[98]
