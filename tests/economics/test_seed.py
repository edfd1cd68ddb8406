import subprocess
import sys
from datetime import date

import msgspec
import pytest

from podium.core.resources import Name, spec_from_builtins
from podium.core.usage import Usage
from podium.economics.price import CompiledPrice, PriceTable
from podium.economics.seed import seed_prices, seed_table

PRICES = seed_prices()
TABLE = PriceTable(PRICES)


def test_the_table_says_where_it_is_from_and_when():
    table = seed_table()
    assert table.source.startswith("genai_prices-")
    assert date.fromisoformat(table.date) >= date(2026, 11, 1)


def test_every_name_stands_once():
    assert len(PRICES) == sum(len(row.names) for row in seed_table().rows)
    assert len({(price.provider, price.model) for price in PRICES.values()}) == len(PRICES)


def test_every_price_could_be_declared_as_it_is():
    for name, price in PRICES.items():
        assert spec_from_builtins("Price", msgspec.to_builtins(price)) == price
        assert msgspec.convert(name, Name) == name
        CompiledPrice(name, price)


def test_every_price_is_found_by_its_own_name():
    for name, price in PRICES.items():
        if not price.model.endswith("*"):
            assert TABLE.find(price.provider or "anything", price.model).name == name


@pytest.mark.parametrize(
    ("provider", "model", "usage", "nanousd"),
    [
        ("openai", "gpt-4o", Usage(input_tokens=1000, cached_input_tokens=300, output_tokens=200), 4_125_000),
        ("azure-eu", "gpt-4o-2024-08-06", Usage(input_tokens=1000, output_tokens=200), 4_500_000),
        ("openai", "gpt-4o-mini", Usage(input_tokens=1000, output_tokens=1000), 750_000),
        ("openai", "text-embedding-3-small", Usage(input_tokens=1000), 20_000),
        (
            "anthropic",
            "claude-sonnet-4-5-20250929",
            Usage(input_tokens=1000, cached_input_tokens=1000, output_tokens=1000),
            15_300_000,
        ),
        ("groq", "llama-3.1-8b-instant", Usage(input_tokens=1000, output_tokens=1000), 130_000),
    ],
)
def test_known_bills(provider, model, usage, nanousd):
    assert TABLE.find(provider, model).cost_nanousd(usage) == nanousd


def test_hosted_models_cost_only_where_they_are_hosted():
    assert TABLE.find("my-own-machines", "llama-3.1-8b-instant") is None
    assert TABLE.find("local", "smollm2") is None


def test_nothing_is_read_before_it_is_asked_for():
    code = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import podium.economics.price, podium.economics.seed
assert not [name for name in opened if name.endswith("prices.json")]
podium.economics.seed.seed_prices()
assert [name for name in opened if name.endswith("prices.json")]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
