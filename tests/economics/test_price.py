from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.money import format_usd
from podium.core.resources import Price
from podium.core.usage import Usage
from podium.economics.price import CompiledPrice, PriceTable


def price(model="m", provider=None, read="1", cached=None, output="2", reasoning=None):
    return Price(
        model=model,
        provider=provider,
        input_usd_per_million=read,
        cached_input_usd_per_million=cached,
        output_usd_per_million=output,
        reasoning_usd_per_million=reasoning,
    )


GPT_4O = CompiledPrice("openai/gpt-4o", price(read="2.5", cached="1.25", output="10"))


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (Usage(), "$0.000000"),
        (Usage(input_tokens=1000, cached_input_tokens=300, output_tokens=200), "$0.004125"),
        (Usage(input_tokens=1_000_000, output_tokens=1_000_000), "$12.500000"),
        (Usage(input_tokens=2_000, cached_input_tokens=2_000), "$0.002500"),
        # An upstream that reports more cached than input, or more reasoning than output: all of it.
        (Usage(input_tokens=100, cached_input_tokens=5_000), "$0.000125"),
        (Usage(output_tokens=100, reasoning_tokens=900), "$0.001000"),
        (Usage(input_tokens=-5, cached_input_tokens=-5, output_tokens=-5, reasoning_tokens=-5), "$0.000000"),
    ],
)
def test_bills_of_gpt_4o(usage, usd):
    assert format_usd(GPT_4O.cost_nanousd(usage)) == usd


@pytest.mark.parametrize(
    ("fields", "usage", "nanousd"),
    [
        # gpt-4o-mini, one token in: 150 nano-dollars.
        ({"read": "0.15", "output": "0.6"}, Usage(input_tokens=1), 150),
        # text-embedding-3-small, one request of 8 tokens: nothing for output.
        ({"read": "0.02", "output": "0"}, Usage(input_tokens=8), 160),
        # Reasoning tokens priced apart: 2,000 out of which 1,500 reasoning.
        ({"output": "2", "reasoning": "3"}, Usage(output_tokens=2_000, reasoning_tokens=1_500), 5_500_000),
        # A cached price of zero is a price, not "as input".
        ({"read": "3", "cached": "0"}, Usage(input_tokens=10, cached_input_tokens=9), 3_000),
        # Half a nano-dollar rounds up, and only once at the end: 0.3 + 0.2 = 0.5.
        ({"read": "0.0003", "output": "0.0002"}, Usage(input_tokens=1, output_tokens=1), 1),
        ({"read": "0.0002", "output": "0.0002"}, Usage(input_tokens=1, output_tokens=1), 0),
        # A thousand million tokens at the dearest price that can be declared.
        ({"read": "999999999.999999999"}, Usage(input_tokens=10**9), 999_999_999_999_999_999_000),
    ],
)
def test_corner_cases(fields, usage, nanousd):
    assert CompiledPrice("p", price(**fields)).cost_nanousd(usage) == nanousd


tokens = st.integers(-10, 10**10)
usd = st.integers(0, 10**12).map(lambda nano: f"{nano // 10**9}.{nano % 10**9:09d}")


@given(
    st.builds(Usage, input_tokens=tokens, cached_input_tokens=tokens, output_tokens=tokens, reasoning_tokens=tokens),
    usd,
    usd,
    usd,
    usd,
)
def test_the_cost_is_exact_to_half_a_nano_dollar(usage, read, cached, output, reasoning):
    compiled = CompiledPrice("p", price(read=read, cached=cached, output=output, reasoning=reasoning))
    given = max(0, usage.input_tokens)
    hits = min(given, max(0, usage.cached_input_tokens))
    made = max(0, usage.output_tokens)
    thought = min(made, max(0, usage.reasoning_tokens))
    parts = ((given - hits, read), (hits, cached), (made - thought, output), (thought, reasoning))
    exact = sum(count * Fraction(each) * 1000 for count, each in parts)
    assert -Fraction(1, 2) < compiled.cost_nanousd(usage) - exact <= Fraction(1, 2)


TABLE = {
    "both": price("gpt-4o", "azure"),
    "model": price("gpt-4o"),
    "short": price("gpt-*"),
    "long": price("gpt-4o-mini*"),
    "equal": price("gpt-4o-mini*", "azure"),
    "other": price("gpt-4o-mini-2024*", "groq"),
    "hosted": price("*", "groq"),
}


@pytest.mark.parametrize(
    ("provider", "model", "name"),
    [
        ("azure", "gpt-4o", "both"),
        ("openai", "gpt-4o", "model"),
        ("groq", "gpt-4o", "model"),
        ("openai", "gpt-4", "short"),
        ("openai", "gpt-4o-mini", "long"),
        ("openai", "gpt-4o-mini-2024-07-18", "long"),
        ("azure", "gpt-4o-mini-2024-07-18", "equal"),
        ("groq", "gpt-4o-mini-2024-07-18", "other"),
        ("groq", "llama", "hosted"),
        ("openai", "llama", None),
        ("openai", "GPT-4o", None),
    ],
)
def test_the_closest_price_is_found(provider, model, name):
    table = PriceTable(TABLE)
    for _ in range(2):  # looked up, then remembered
        found = table.find(provider, model)
        assert (found and found.name) == name


def test_a_later_price_for_the_same_replaces_an_earlier():
    table = PriceTable({"seed": price("m", read="1"), "declared": price("m", read="7")})
    assert table.find("any", "m").name == "declared"


def test_what_is_remembered_is_bounded():
    table = PriceTable(TABLE)
    for number in range(10_000):
        assert table.find("openai", f"gpt-{number}").name == "short"
    assert len(table._found) <= 4096
