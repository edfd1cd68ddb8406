from hypothesis import given
from hypothesis import strategies as st

from podium.core.resources import Price
from podium.core.usage import Usage
from podium.economics.budgets.estimate import DearestPrice, estimate_cost
from podium.economics.price import CompiledPrice


def price(input_usd, output_usd, **more):
    spec = Price(model="m", input_usd_per_million=input_usd, output_usd_per_million=output_usd, **more)
    return CompiledPrice("p", spec)


CHEAP = price("1", "2")
DEAR = price("3", "15", cache_write_usd_per_million="3.75", reasoning_usd_per_million="20")


def estimate(prices=(CHEAP,), input_tokens=1000, limit=256, **more):
    return estimate_cost(DearestPrice(prices), input_tokens, limit, **more)


def test_the_limit_counts_however_short():
    assert estimate() == (1000 * 1000 + 256 * 2000, 1256)
    assert estimate(limit=10) == (1000 * 1000 + 10 * 2000, 1010)
    assert estimate(limit=0) == (1000 * 1000, 1000)


def test_each_answer_that_was_asked_for_counts():
    assert estimate(limit=10, answers=3).tokens == 1030


def test_an_absurd_limit_holds_no_absurd_sum():
    assert estimate(limit=1_000_000).tokens == 1000 + 16_384
    assert estimate(limit=1_000_000, output_ceiling=500).tokens == 1500


def test_of_several_prices_the_dearest_counts_for_each_kind_of_token():
    assert estimate((CHEAP, DEAR, None), limit=10).nanousd == 1000 * 3750 + 10 * 20_000


def test_without_a_price_it_costs_nothing_but_tokens():
    assert estimate((None,), limit=10) == (0, 1010)


def test_a_part_of_a_nano_dollar_is_held_as_a_whole_one():
    assert estimate((price("0.000000001", "0"),), input_tokens=1, limit=0) == (1, 1)


@given(
    tokens=st.tuples(*[st.integers(0, 5000)] * 2),
    shares=st.tuples(*[st.floats(0, 1)] * 3),
    which=st.sampled_from([CHEAP, DEAR]),
)
def test_what_stays_within_estimate_and_limit_never_costs_more(tokens, shares, which):
    cached, reasoning = int(tokens[0] * shares[0]), int(tokens[1] * shares[1])
    written = int((tokens[0] - cached) * shares[2])
    used = Usage(
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        cached_input_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
    )

    assert which.cost_nanousd(used) <= estimate((CHEAP, DEAR), tokens[0], limit=tokens[1]).nanousd
