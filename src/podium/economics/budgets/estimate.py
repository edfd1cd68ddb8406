"""What a request may cost, before it is made: what is reserved of budgets.

Input tokens are those that admission estimates. Output tokens are the caller's limit, or what is assumed without one,
for each answer that was asked for. A limit counts up to a ceiling: many clients always send the largest that a model
can do, and holding that for each call would refuse calls that a budget can pay many times over. Above the ceiling an
answer may cost more than was held; a hard budget may then be exceeded by that much for each running exchange.
Every token is priced as the dearest of its kind: nothing is taken to be cached, all input may be written to a cache,
all output may be reasoning. Of several models that may answer, the dearest counts. A model without a price costs
nothing, as in the ledger; only budgets of tokens hold it back.
"""

from collections.abc import Iterable

from podium.core.usage import Usage
from podium.economics.budgets.values import Cost
from podium.economics.price import CompiledPrice

__all__ = ["OUTPUT_CEILING", "DearestPrice", "estimate_cost"]

_MILLION = 1_000_000
_new = tuple.__new__  # of a named tuple; its own takes three times as long
OUTPUT_CEILING = 16_384  # output tokens for one answer; what most hosted chat models can write at once


class DearestPrice:
    """The most that tokens can cost at one of several prices; make one for each list of candidates and keep it."""

    __slots__ = ("input_nanousd", "output_nanousd")

    def __init__(self, prices: Iterable[CompiledPrice | None]) -> None:
        known = [price for price in prices if price is not None]
        plain_in, written = Usage(input_tokens=_MILLION), Usage(input_tokens=_MILLION, cache_write_tokens=_MILLION)
        plain_out, thought = Usage(output_tokens=_MILLION), Usage(output_tokens=_MILLION, reasoning_tokens=_MILLION)
        # Nano-dollars for a million tokens.
        self.input_nanousd = max((p.cost_nanousd(u) for p in known for u in (plain_in, written)), default=0)
        self.output_nanousd = max((p.cost_nanousd(u) for p in known for u in (plain_out, thought)), default=0)


def estimate_cost(
    price: DearestPrice,
    input_tokens: int,
    answer_tokens: int,
    answers: int = 1,
    *,
    output_ceiling: int = OUTPUT_CEILING,
) -> Cost:
    """What a request may cost; see above. `answer_tokens`: the limit of one answer, or what is assumed without one."""
    if answer_tokens > output_ceiling:  # noqa: PLR1730 - a call of `min` takes four times as long
        answer_tokens = output_ceiling
    output_tokens = answer_tokens * answers
    millionths = input_tokens * price.input_nanousd + output_tokens * price.output_nanousd
    return _new(Cost, (-(-millionths // _MILLION), input_tokens + output_tokens))
