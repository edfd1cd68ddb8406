"""What an exchange used and cost, once it is over."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from podium.core.exchange import Exchange
from podium.core.reasons import Reason
from podium.core.usage import Usage
from podium.economics.estimate import TokenCounter, estimate_input_tokens
from podium.gateway.landing import Outcome
from podium.wire.openai import answer_text, request_text

__all__ = ["settle"]

# One for the process: once loaded, the tokenizer takes 80 MB. In a thread of its own: counting is work for the
# processor; and in one: a burst of callers that leave must not load it, or count, in many threads at once.
_counter = TokenCounter()
_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="token-counter")


async def settle(exchange: Exchange, outcome: Outcome) -> None:
    """Take the upstream's usage, or count tokens ourselves where it reported none; then the cost."""
    if outcome.usage is not None:
        exchange.usage = outcome.usage
    elif outcome.cost_nothing:
        pass
    elif exchange.reason is Reason.CLIENT_GONE and not outcome.streaming:
        # What the model did is not known; how long its input was is, about.
        given = estimate_input_tokens(len(outcome.request_body))
        exchange.usage = Usage(input_tokens=given, estimated=True)
    elif exchange.error is None or outcome.streaming:
        exchange.usage = await asyncio.get_running_loop().run_in_executor(_thread, _count, exchange, outcome)
    if outcome.backend is not None and outcome.backend.price is not None:
        exchange.cost_nanousd = outcome.backend.price.cost_nanousd(exchange.usage)


def _count(exchange: Exchange, outcome: Outcome) -> Usage:
    _counter.load()  # does nothing but the first time
    output = 0.0
    if outcome.sample is not None:
        text, factor = outcome.sample
        output = _counter.count(text) * factor
    elif outcome.body and exchange.endpoint != "embeddings":
        output = _count_text(answer_text, outcome.body)
    given = _count_text(request_text, outcome.request_body)
    return Usage(input_tokens=given, output_tokens=round(output), estimated=True)


def _count_text(text_of: Callable[[bytes], str], body: bytes) -> int:
    try:
        return _counter.count(text_of(body))
    except (ValueError, RecursionError):  # not UTF-8, or nested too deeply to be looked through
        return 0
