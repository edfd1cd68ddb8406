"""The packaged price table, so that costs are right before anyone has declared a Price."""

from importlib.resources import files

import msgspec

from podium.core.resources import Price

__all__ = ["SeedTable", "seed_prices", "seed_table"]


class _Row(msgspec.Struct, frozen=True, array_like=True):
    provider: str | None  # None: the maker's own model, whoever serves it
    source: str  # maker or host
    names: tuple[str, ...]
    input: str
    cached_input: str | None
    output: str
    reasoning: str | None


class SeedTable(msgspec.Struct, frozen=True):
    """`data/prices.json`, as written by `scripts/generate_prices.py`."""

    source: str
    date: str  # ISO; prices are those of this day
    rows: tuple[_Row, ...]


def seed_table() -> SeedTable:
    """Read the packaged table; a few milliseconds."""
    return msgspec.json.decode(files("podium.economics").joinpath("data/prices.json").read_bytes(), type=SeedTable)


def seed_prices() -> dict[str, Price]:
    """Packaged prices by resource name, e.g. `openai/gpt-4o`; put declared ones after them.

    Hosts of open models are named in `Price.provider` by their usual name (`groq`, `together`...), so these
    hold for a Provider of that name only.
    """
    return {
        f"{row.source}/{name.replace('*', ':any')}": Price(
            model=name,
            provider=row.provider,
            input_usd_per_million=row.input,
            cached_input_usd_per_million=row.cached_input,
            output_usd_per_million=row.output,
            reasoning_usd_per_million=row.reasoning,
        )
        for row in seed_table().rows
        for name in row.names
    }
