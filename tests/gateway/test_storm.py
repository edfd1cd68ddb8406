"""Everything at once: failing backends, second calls, other models, callers that hang up, changes underneath."""

import asyncio
import random

import pytest

from podium.core.serving import CircuitBreaker
from podium.testing.raw_http import ConnectionClosed
from podium.testing.upstream import Mode
from podium.testing.waiting import eventually

MODES = [
    Mode.PLAIN,
    "slow=30ms",
    "paced=2ms",
    Mode.UNAVAILABLE,
    Mode.SERVER_ERROR,
    "rate-limited,retry-after=1",
    Mode.RESETS_AT_START,
    Mode.RESETS_BEFORE_CONTENT,
    Mode.RESETS_MIDWAY,
    Mode.MALFORMED_JSON,
    Mode.CONTEXT_TOO_LONG,
    Mode.SILENT,
]
HEDGING = {"minimum_samples": 1, "minimum_delay_s": 0.005, "maximum_delay_s": 0.005, "max_share": 1.0}
CARE = {
    "retries": {"attempts": 3, "budget_per_s": 100, "backoff_s": 0.001},
    "breaker": {"consecutive_failures": 3, "open_s": 1.0},
    "hedging": HEDGING,
    "ejection": {},
    "fallbacks": [{"model": "n", "on": ["down", "rate_limited", "timeout", "context_too_long"]}],
}
PLACES = ("a b c", "a b", "b c d", "a*0 b c", "a*3 b", "d")
STRATEGIES = ("round_robin", "weighted_round_robin", "least_in_flight", "response_time", "session_affinity")
EXCHANGES = 150


async def serve(stage, dice):
    model = stage.model(
        *dice.choice(PLACES).split(), failure=CARE, balancing={"strategy": dice.choice(STRATEGIES), "regions": ["eu"]}
    )
    spec = {
        "max_calls": dice.choice([3, 50]),
        "breaker": CircuitBreaker(open_s=1.0),
        "region": dice.choice(["eu", "us"]),
    }
    other = stage.model("e", failure={"last_resort": {"text": "Sorry."}})
    await stage.serve(m=model, n=other, providers={"a": spec, "b": spec})


async def one_caller(stage, dice):
    """Asks, and may hang up at any moment."""
    asked = {"to": dice.choice(["chat", "messages"]), "stream": dice.random() < 0.6}
    if dice.random() < 0.3:
        asked["headers"] = {"x-podium-timeout-ms": str(dice.randrange(20, 200))}
    patience_s = dice.choice([0.0, 0.003, 0.02, 0.4])
    async with stage.asking(**asked) as client:
        try:
            async with asyncio.timeout(patience_s):
                await client.read_response()
        except (TimeoutError, ConnectionClosed):
            pass


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_happens_each_exchange_has_one_event_and_no_place_stays_taken(stage, seed):
    dice = random.Random(seed)
    await serve(stage, dice)
    running = set()
    for number in range(EXCHANGES):
        if number % 10 == 0:
            await serve(stage, dice)
            for name in stage.names:
                stage[name].behave(f"{dice.choice(MODES)}" if dice.random() < 0.7 else Mode.PLAIN)
            stage.clock.advance(0.7)
        running.add(asyncio.create_task(one_caller(stage, dice)))
        await asyncio.sleep(dice.choice([0.0, 0.001, 0.004]))
    await asyncio.gather(*running)
    await eventually(lambda: not stage.gateway.in_flight)
    events = stage.gateway.events
    assert 0 < len(events) <= EXCHANGES  # who hung up before the request was read was never there
    assert len({event.id for event in events}) == len(events)
    for event in events:
        assert event.attempts == len(event.trail) or event.attempts <= 1
        if event.trail:
            assert event.cost_nanousd == sum(call.cost_nanousd for call in event.trail)
            assert all(call.ended_ns >= call.started_ns for call in event.trail)
            assert event.hedges == [call.kind for call in event.trail].count("hedge")
        assert "internal_error" not in event.reason
    assert {"ok", "client_gone"} <= {str(event.reason) for event in events}
    assert sum(event.hedges for event in events) and sum(event.fallbacks for event in events)
