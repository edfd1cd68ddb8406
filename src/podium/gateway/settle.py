"""What an exchange used and cost, once it is over."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from podium.core.exchange import Exchange
from podium.core.reasons import Reason
from podium.core.usage import Usage
from podium.economics.estimate import TokenCounter, estimate_input_tokens
from podium.gateway.faces import face_of
from podium.gateway.landing import Outcome
from podium.gateway.trail import given_up, trail_of

__all__ = ["settle"]

# One for the process: once loaded, the tokenizer takes 80 MB. In a thread of its own: counting is work for the
# processor; and in one: a burst of callers that leave must not load it, or count, in many threads at once.
_counter = TokenCounter()
_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="token-counter")


def settle(exchange: Exchange, outcome: Outcome) -> Awaitable[None] | None:
    """Take the upstream's usage, or count tokens ourselves where it reported none; then the cost.

    An awaitable: there is something to count.
    """
    if outcome.usage is not None:
        exchange.usage = outcome.usage
    elif outcome.cost_nothing or outcome.fixed:
        pass
    elif exchange.reason is Reason.CLIENT_GONE and not outcome.streaming:
        # What the model did is not known; how long its input was is, about.
        given = estimate_input_tokens(len(outcome.request_body))
        exchange.usage = Usage(input_tokens=given, estimated=True)
    elif exchange.error is None or outcome.streaming:
        return _count_and_charge(exchange, outcome)
    _charge(exchange, outcome)
    return None


async def _count_and_charge(exchange: Exchange, outcome: Outcome) -> None:
    exchange.usage = await _counted(exchange, outcome)
    _charge(exchange, outcome)


def _charge(exchange: Exchange, outcome: Outcome) -> None:
    attempt = outcome.attempt
    if attempt is not None and attempt.backend.price is not None:
        exchange.cost_nanousd = attempt.backend.price.cost_nanousd(exchange.usage)
    if len(outcome.attempts) > 1:
        _settle_several(exchange, outcome)


def _settle_several(exchange: Exchange, outcome: Outcome) -> None:
    """Each call's own record; and what given up calls cost, though nobody saw their answers."""
    exchange.trail = trail_of(exchange, outcome.attempts, outcome.attempt)
    for attempt, usage in given_up(outcome.attempts, outcome.attempt):
        price = attempt.backend.price
        exchange.cost_nanousd += 0 if price is None else price.cost_nanousd(usage)
        exchange.usage = _sum(exchange.usage, usage)


async def _counted(exchange: Exchange, outcome: Outcome) -> Usage:
    """Our own count. A caller that goes away meanwhile does not stop it: what was used is recorded all the same."""
    counting = asyncio.get_running_loop().run_in_executor(_thread, _count, exchange, outcome)
    while not counting.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(counting)
    return counting.result()


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        cached_input_tokens=one.cached_input_tokens + other.cached_input_tokens,
        cache_write_tokens=one.cache_write_tokens + other.cache_write_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
        estimated=one.estimated or other.estimated,
    )


def _count(exchange: Exchange, outcome: Outcome) -> Usage:
    _counter.load()  # does nothing but the first time
    face = face_of(exchange.endpoint)
    output = 0.0
    if outcome.sample is not None:
        text, factor = outcome.sample
        output = _counter.count(text) * factor
    elif outcome.body and exchange.endpoint != "embeddings":
        output = _count_text(face.answer_text, outcome.body)
    given = _count_text(face.request_text, outcome.request_body)
    return Usage(input_tokens=given, output_tokens=round(output), estimated=True)


def _count_text(text_of: Callable[[bytes], str], body: bytes) -> int:
    try:
        return _counter.count(text_of(body))
    except (ValueError, RecursionError):  # not UTF-8, or nested too deeply to be looked through
        return 0
