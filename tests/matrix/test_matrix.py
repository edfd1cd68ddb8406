"""Every protocol, streamed or not, with everything that a provider may do, for callers of both dialects.

Each cell is one exchange through a gateway. Asserted of each: the right answer, or the right error in the caller's
dialect; who answered when another could; what it cost, against what the simulator says it used; exactly one
event; and, for all together, that no exchange, connection or task stays behind.
"""

import json

import pytest

from podium.core.reasons import Reason
from podium.core.serving import FailureHandling, Fallback, Retries
from podium.testing.upstream import MODES, Mode, UpstreamProtocol

OK, TIMEOUT, BROKEN = Reason.OK, Reason.UPSTREAM_TIMEOUT, Reason.UPSTREAM_BROKEN
INVALID, ERROR, REJECTED = Reason.UPSTREAM_INVALID, Reason.UPSTREAM_ERROR, Reason.UPSTREAM_REJECTED
LIMITED = Reason.UPSTREAM_RATE_LIMITED
OVERLOADED = (503, 529)

ONCE = Retries(attempts=1)
FREELY = Retries(budget_share=1.0, budget_per_s=1000.0)
ANY_CAUSE = ("down", "rate_limited", "timeout", "context_too_long", "content_refused")

whole_or_streamed = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
each_protocol = pytest.mark.parametrize("protocol", list(UpstreamProtocol), ids=str)


@whole_or_streamed
@each_protocol
async def test_one_backend_alone(open_bench, cells_of, cost, protocol, streamed):
    cells = cells_of(protocol, streamed)
    async with open_bench(cells, lambda _: FailureHandling(retries=ONCE)) as bench:
        outcomes = await bench.run(cells)
    judge(outcomes, lambda outcome: _alone(outcome, cost))


@whole_or_streamed
@each_protocol
async def test_beside_a_backend_that_is_well(open_bench, cells_of, cost, protocol, streamed):
    cells = cells_of(protocol, streamed)
    async with open_bench(cells, lambda _: FailureHandling(retries=FREELY), "backend") as bench:
        outcomes = await bench.run(cells)
    judge(outcomes, lambda outcome: _rescued(outcome, cost, is_retried(outcome), "retry"))


@whole_or_streamed
@each_protocol
async def test_with_a_fallback_model(open_bench, cells_of, cost, protocol, streamed):
    def failure(cell):
        return FailureHandling(retries=ONCE, fallbacks=(Fallback(model=f"{cell}-spare", on=ANY_CAUSE),))

    cells = cells_of(protocol, streamed)
    async with open_bench(cells, failure, "model") as bench:
        outcomes = await bench.run(cells)
    judge(outcomes, lambda outcome: _rescued(outcome, cost, has_fallback(outcome), "fallback"))


def judge(outcomes, problems_of):
    """Fail with every cell that is not as it should be."""
    found = {}
    for outcome in outcomes:
        try:
            problems_of(outcome)
        except (AssertionError, ValueError, LookupError) as problem:
            event = next(iter(outcome.events), None)
            seen = event and (event.status, event.reason, event.attempts, event.input_tokens, event.output_tokens)
            body = outcome.response.body[-300:]
            found[str(outcome.cell)] = f"{problem!r}\n    event {seen}, status {outcome.response.status}, ...{body}"
    assert not found, f"{len(found)} of {len(outcomes)} cells:\n" + "\n".join(f"{n}: {p}" for n, p in found.items())


# What should be.


def is_retried(outcome):
    """True for failures that another backend can mend: nothing was done yet, or not by the model."""
    case, (request,) = outcome.cell.case, outcome.requests
    if case.content_first:
        return False
    if case.mode is Mode.ERROR_FIRST:  # the head said 200: only the error's own words tell
        return case.protocol in {UpstreamProtocol.ANTHROPIC, UpstreamProtocol.GEMINI}
    if case.mode in {Mode.UNAUTHORIZED, Mode.FORBIDDEN}:  # our credentials there, not the request
        return True
    return case.reason in {BROKEN, LIMITED} or (case.reason is ERROR and request.status in {502, 503, 504, 529})


def has_fallback(outcome):
    """True for failures that another model can mend: all but a wrong request."""
    case = outcome.cell.case
    wrong = {Mode.BAD_REQUEST} | ({Mode.TOO_LARGE} if case.protocol is UpstreamProtocol.GEMINI else set())
    return case.reason is not OK and not case.content_first and case.mode not in wrong


def expected_status(outcome):
    """Of the answer to the caller."""
    case, (request,) = outcome.cell.case, outcome.requests
    if case.reason is OK or case.content_first:
        return 200
    if case.mode is Mode.ERROR_FIRST:
        return outcome.response.status if outcome.response.status in {502, 503} else "502 or 503"
    if case.reason is ERROR:
        return 503 if request.status in OVERLOADED else 502
    return {TIMEOUT: 504, LIMITED: 429, REJECTED: request.status, BROKEN: 502, INVALID: 502}[case.reason]


# What is.


def _alone(outcome, cost):
    event = _one_event(outcome)
    assert len(outcome.requests) == 1, f"{len(outcome.requests)} calls"
    assert outcome.requests[0].refused is None, outcome.requests[0].refused
    assert event.attempts == 1, f"{event.attempts} attempts"
    if outcome.cell.case.reason is OK:
        _is_answered(outcome, event, outcome.requests[0], outcome.cell.case.behaviour, cost)
    else:
        _is_refused(outcome, event, cost)


def _rescued(outcome, cost, is_mended, kind):
    if not is_mended:
        assert not outcome.spare_requests, "the other one was asked too"
        _alone(outcome, cost)
        return
    event = _one_event(outcome)
    (spare,) = outcome.spare_requests
    assert len(outcome.requests) == 1, f"{len(outcome.requests)} calls"
    assert event.attempts == 2, f"{event.attempts} attempts"
    assert event.backend.endswith("-spare"), event.backend
    assert [record.kind for record in event.trail] == ["first", kind], event.trail
    assert [record.reason for record in event.trail] == [outcome.cell.case.reason, OK], event.trail
    assert event.fallbacks == (kind == "fallback")
    assert bool(event.served_model) == (kind == "fallback")
    assert outcome.response.header("x-podium-attempts") == "2"
    _is_answered(outcome, event, spare, MODES[Mode.PLAIN], cost)


def _one_event(outcome):
    assert len(outcome.events) == 1, f"{len(outcome.events)} events"
    event = outcome.event
    assert event.stream == outcome.cell.case.streamed
    assert event.endpoint == {"chat": "chat.completions"}.get(outcome.cell.dialect, outcome.cell.dialect)
    return event


def _is_answered(outcome, event, request, behaviour, cost):
    assert (event.reason, event.status, outcome.response.status) == (OK, 200, 200), "not answered"
    said = outcome.said
    assert said.error is None, f"error {said.error}"
    assert said.ended, "no end"
    calls = (behaviour.calls or 1) if outcome.cell.case.behaviour.calls else 0
    arguments = [json.loads(text) for text in said.calls.values()]
    assert arguments == [{"city": "Zürich"}] * calls, f"called with {arguments}"
    text = "" if calls else words(behaviour)
    assert behaviour.trouble is not None or said.text == text, f"said {said.text!r}"
    if not behaviour.usage:
        assert event.tokens_estimated
        assert event.input_tokens > 0
        assert event.output_tokens > 0
    elif behaviour.trouble is None:
        assert not event.tokens_estimated, "estimated"
        _counts_are(event, request)
        assert said.usage, "no usage for the caller"
    assert event.cost_nanousd == cost(event), f"cost {event.cost_nanousd}"
    assert bool(event.cost_nanousd) or behaviour.trouble is not None


def _is_refused(outcome, event, cost):
    case, response, said = outcome.cell.case, outcome.response, outcome.said
    assert event.reason == case.reason, f"reason {event.reason} for {case.reason}"
    assert response.status == expected_status(outcome), f"status for {expected_status(outcome)}"
    assert event.fault == ("caller" if case.reason is REJECTED else "upstream")
    assert not said.ended, "an end that was made up"
    _is_error(outcome, said.error)
    if case.content_first:
        whole = "" if case.behaviour.calls else words(case.behaviour)
        assert whole.startswith(said.text), f"said {said.text!r}"
        assert bool(said.text) == bool(whole), "nothing of the content"
        assert event.input_tokens > 0, "no input"
        assert event.output_tokens > 0 or not said.text, "no output"
        if not event.tokens_estimated:
            _counts_are(event, outcome.requests[0])
        assert event.cost_nanousd == cost(event) > 0, f"cost {event.cost_nanousd}"
    else:
        assert (event.input_tokens, event.output_tokens, event.cost_nanousd) == (0, 0, 0)
    if case.behaviour.retry_after_s is not None and case.reason is LIMITED:
        assert response.header("retry-after") in {"6", "7", "8"}, response.header("retry-after")


def _is_error(outcome, error):
    """In the dialect's shape; the reason is its code, unless the words are the provider's own."""
    case = outcome.cell.case
    assert error is not None, "no error"
    assert isinstance(error["message"], str)
    assert error["message"]
    if outcome.cell.dialect == "chat":
        assert case.reason is REJECTED or set(error) == {"message", "type", "param", "code"}, error
        assert case.reason is REJECTED or error["code"] == case.reason, error["code"]
    elif case.content_first:
        assert "event: error" in outcome.response.body.decode()
    else:
        assert outcome.response.json()["type"] == "error"


def words(behaviour):
    """What the simulator's model says."""
    return "".join(f"word{number} " for number in range(behaviour.chunks))


# What a protocol has no count for: it is part of another one.
UNTOLD = {UpstreamProtocol.GEMINI: "cache_write_tokens", UpstreamProtocol.BEDROCK: "reasoning_tokens"}
COUNTS = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


def _counts_are(event, request):
    told = {name: 0 if UNTOLD.get(request.protocol) == name else getattr(request.usage, name) for name in COUNTS}
    taken = {name: getattr(event, name) for name in COUNTS}
    assert taken == told, f"counted {taken}"
