"""Second calls for slow first ones: who wins, what becomes of the other, what it costs."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from podium.core.errors import UpstreamFailed
from podium.gateway.answers import RejectedByUpstream
from podium.gateway.race import Race
from podium.testing.openai_requests import openai_error
from podium.testing.upstream import Mode
from podium.testing.waiting import eventually

HEDGING = {"minimum_samples": 1, "minimum_delay_s": 0.05, "maximum_delay_s": 0.05, "max_share": 1.0}
LONG = "paced=20ms,chunks=500"


@pytest.fixture
async def hedged(stage):
    """Opens the stage with so many backends, of which `b` has the next turn; second calls come after 50 ms."""

    async def start(*names, retries=1, **hedging):
        failure = {"hedging": HEDGING | hedging, "retries": {"attempts": retries}}
        await stage.serve(m=stage.model(*(names or "ab"), failure=failure))
        for stream in (False, True):
            for _ in names or "ab":
                assert (await stage.ask(stream=stream)).status == 200
        await stage.ask()
        stage.clock.advance(2)  # the delay is worked out anew
        stage.gateway.events.clear()
        for name in names or "ab":
            stage[name].requests.clear()
        return stage

    return start


def seen(stage, *names):
    return [len(stage[name].requests) for name in names]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mode", ["slow-head=3s", "slow=3s", "silent", "stalls-before-content"])
async def test_a_second_call_answers_when_the_first_is_slow(hedged, trail, mode, stream):
    stage = await hedged()
    stage["b"].behave(mode)
    answer = await stage.ask(stream=stream)
    assert answer.status == 200
    assert answer.header("x-podium-backend") == "a/a-model"
    assert (answer.header("x-podium-attempts"), answer.header("x-podium-hedges")) == ("2", "1")
    assert answer.header("x-podium-trail").startswith("first b/b-model turn running, hedge a/a-model ")
    event = await stage.event()
    assert (event.provider, event.reason, event.attempts, event.hedges) == ("a", "ok", 2, 1)
    assert trail(event) == ["first b client_gone", "hedge a ok"]
    await eventually(lambda: stage["b"].requests[0].disconnected_at_s)


async def test_both_calls_are_paid(hedged):
    stage = await hedged()
    stage["b"].behave(Mode.SILENT)
    await stage.ask()
    event = await stage.event()
    lost, won = event.trail
    assert (won.input_tokens, won.cost_nanousd) == (25, 25 * 1000 + won.output_tokens * 10_000)
    assert lost.input_tokens > 0 and lost.cost_nanousd == lost.input_tokens * 2000
    assert event.cost_nanousd == won.cost_nanousd + lost.cost_nanousd
    assert (event.input_tokens, event.output_tokens) == (25 + lost.input_tokens, won.output_tokens)
    assert event.tokens_estimated


async def test_the_loser_is_cancelled_while_the_winner_streams(hedged):
    stage = await hedged()
    stage["b"].behave(Mode.SILENT)
    stage["a"].behave(LONG)
    async with stage.asking(stream=True) as client:
        await client.read_head()
        await eventually(lambda: stage["b"].requests[0].disconnected_at_s is not None)
        assert stage["a"].requests[0].disconnected_at_s is None
        assert [stage.state(name).load.in_flight for name in "ab"] == [1, 0]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_first_call_may_still_win(hedged, trail, stream):
    stage = await hedged()
    stage["b"].behave("slow=250ms")
    stage["a"].behave(Mode.SILENT)
    answer = await stage.ask(stream=stream)
    assert (answer.status, answer.header("x-podium-backend")) == (200, "b/b-model")
    event = await stage.event()
    assert (event.provider, event.version, event.price) == ("b", answer.header("x-podium-version"), "b")
    assert trail(event) == ["first b ok", "hedge a client_gone"]
    await eventually(lambda: stage["a"].requests[0].disconnected_at_s)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_quick_answer_gets_no_second_call(hedged, stream):
    stage = await hedged()
    assert (await stage.ask(stream=stream)).header("x-podium-hedges") is None
    assert seen(stage, "a", "b") == [0, 1]


async def test_a_stream_that_has_begun_gets_no_second_call(hedged):
    stage = await hedged()
    stage["b"].behave("paced=20ms,chunks=20")
    assert (await stage.ask(stream=True)).status == 200
    assert seen(stage, "a", "b") == [0, 1]


async def test_who_is_alone_gets_no_second_call(hedged):
    stage = await hedged("b")
    stage["b"].behave("slow-head=200ms")
    assert (await stage.ask()).header("x-podium-attempts") == "1"


async def test_second_calls_are_a_share_of_the_exchanges(hedged):
    stage = await hedged(max_share=0.25)  # five exchanges were made: one second call is left, with this one
    stage["a"].behave("slow-head=150ms")
    stage["b"].behave("slow-head=150ms")
    told = [(await stage.ask()).header("x-podium-hedges") for _ in range(2)]
    assert told == ["1", None]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_second_answers_when_the_first_fails_meanwhile(hedged, trail, stream):
    stage = await hedged()
    stage["b"].behave("unavailable,before-head=100ms")
    stage["a"].behave("slow=150ms")
    answer = await stage.ask(stream=stream)
    assert (answer.status, answer.header("x-podium-backend")) == (200, "a/a-model")
    assert trail(await stage.event()) == ["first b upstream_error", "hedge a ok"]


async def test_the_first_answers_when_the_second_fails(hedged, trail):
    stage = await hedged()
    stage["b"].behave("slow=150ms")
    stage["a"].behave(Mode.BAD_REQUEST)
    answer = await stage.ask()
    assert (answer.status, answer.header("x-podium-backend")) == (200, "b/b-model")
    assert trail(await stage.event()) == ["first b ok", "hedge a upstream_rejected"]


async def test_when_both_fail_both_have_been_tried(hedged, trail):
    stage = await hedged("a", "b", "c", retries=3)
    stage["b"].behave("unavailable,before-head=100ms")
    for name in "ac":
        stage[name].behave("unavailable,before-head=100ms", calls=1)
    answer = await stage.ask()
    assert (answer.status, openai_error(answer)["code"]) == (503, "upstream_error")
    assert seen(stage, "a", "b", "c") == [1, 1, 1]
    event = await stage.event()
    assert [call.kind for call in event.trail] == ["first", "hedge", "retry"]
    assert (event.hedges, event.cost_nanousd) == (1, 0)


async def test_a_second_call_is_one_of_the_calls_that_are_allowed(hedged):
    stage = await hedged("a", "b", "c", retries=2)
    for name in "abc":
        stage[name].behave("unavailable,before-head=100ms")
    assert (await stage.ask()).header("x-podium-attempts") == "2"


async def test_a_first_call_that_fails_at_once_is_retried_and_the_retry_may_be_slow(hedged, trail):
    stage = await hedged("a", "b", "c", retries=2)
    stage["b"].behave(Mode.UNAVAILABLE)
    for name in "ac":
        stage[name].behave("slow-head=3s", calls=1)
        stage[name].behave(Mode.PLAIN, calls=1)
    stage["c"].behave(Mode.PLAIN)
    answer = await stage.ask()
    assert answer.status == 200
    event = await stage.event()
    assert [(call.kind, call.reason) for call in event.trail] == [
        ("first", "upstream_error"),
        ("retry", "client_gone"),
        ("hedge", "ok"),
    ]
    assert answer.header("x-podium-backend") == event.backend == event.trail[2].backend


async def test_a_winner_that_breaks_off_is_not_mended(hedged, trail):
    stage = await hedged(retries=3)
    stage["b"].behave(Mode.SILENT)
    stage["a"].behave(Mode.RESETS_MIDWAY)
    answer = await stage.ask(stream=True)
    assert json.loads(answer.events()[-1])["error"]["code"] == "upstream_broken"
    event = await stage.event()
    assert (event.reason, event.provider) == ("upstream_broken", "a")
    assert trail(event) == ["first b client_gone", "hedge a upstream_broken"]
    assert sum(call.cost_nanousd for call in event.trail) == event.cost_nanousd > 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_that_goes_takes_both_along(hedged, trail, stream):
    stage = await hedged()
    for name in "ab":
        stage[name].behave(Mode.SILENT)
    async with stage.asking(stream=stream):
        await eventually(lambda: seen(stage, "a", "b") == [1, 1])
    event = await stage.event()
    assert event.reason == "client_gone"
    assert trail(event) == ["first b client_gone", "hedge a client_gone"]
    assert sum(call.cost_nanousd for call in event.trail) == event.cost_nanousd > 0
    await eventually(lambda: not (stage["a"].open_connections or stage["b"].open_connections))


async def test_a_deadline_ends_both(hedged):
    stage = await hedged()
    for name in "ab":
        stage[name].behave(Mode.SILENT)
    answer = await stage.ask(headers={"x-podium-timeout-ms": "200"})
    assert (answer.status, openai_error(answer)["code"]) == (504, "upstream_timeout")
    assert answer.header("x-podium-attempts") == "2"


# The race by itself.


class Runner:
    """What a race sees of an attempt."""

    def __init__(self, run=None):
        self.backend = SimpleNamespace(upstream=SimpleNamespace(label="p/m"))
        self.first_at_ns = 0
        self.lost = self.started = self.ended = self.abandoned = False
        self._run = run

    async def run(self):
        self.started = True
        try:
            await self._run()
        finally:
            self.ended = True

    def beaten(self):
        self.lost = True

    def abandon(self):
        self.abandoned = not self.ended


async def forever():
    await asyncio.Event().wait()


class HastyRace(Race):
    """One in which content of the first comes between the second's birth and its first step, as uvloop may have it."""

    __slots__ = ()

    def _start(self, attempt):
        task = super()._start(attempt)
        for other in [*self._runs.values()][:-1]:
            self.won(other)
        return task


async def test_a_second_that_is_beaten_before_its_first_step_is_abandoned():
    first, second = Runner(forever), Runner(forever)
    running = asyncio.create_task(HastyRace(Runner.run).run(first, 0.01, lambda: second))
    await eventually(lambda: second.lost)
    running.cancel()
    await asyncio.wait([running])
    assert second.abandoned and not second.started
    assert first.ended and not first.abandoned


def raising(error):
    async def run():
        await asyncio.sleep(0.02)
        raise error

    return run


async def test_of_two_errors_the_one_counts_that_a_repeat_may_mend():
    rejected = RejectedByUpstream(SimpleNamespace(status=400, headers={}, body=b""))
    failed = UpstreamFailed("x")
    for errors in [(rejected, failed), (failed, rejected)]:
        first, second = (Runner(raising(error)) for error in errors)
        with pytest.raises(UpstreamFailed):
            await Race(Runner.run).run(first, 0.001, lambda second=second: second)


async def test_a_bug_is_not_hidden_by_the_other_call():
    first, second = Runner(raising(ZeroDivisionError())), Runner(forever)
    with pytest.raises(ZeroDivisionError):
        await Race(Runner.run).run(first, 0.001, lambda: second)
    assert second.ended
