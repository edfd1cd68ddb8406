"""Write the packaged price table from the `genai-prices` package (MIT, Pydantic Services Inc.).

    python scripts/generate_prices.py genai_prices-0.2.3-py3-none-any.whl 2026-11-22

The wheel is read, not installed: it is no dependency of Podium. What is taken: text models of the providers below
at standard rates, the lowest tier of tiered prices, valid at noon UTC on the given date or, where the price depends
on the time of day, what holds for most of the day. What our prices cannot say (tiers, cache writes, batch, search
calls, pictures, sound) is left out. Each name is checked against what genai-prices itself would charge.
"""

import json
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import ZipFile

DATA = Path(__file__).parent.parent / "src" / "podium" / "economics" / "data"
# Whose own models these are: the price holds wherever the model's name is used.
FIRST_PARTY = (
    "openai",
    "anthropic",
    "google",
    "mistral",
    "deepseek",
    "x-ai",
    "cohere",
    "moonshotai",
    "zai",
    "voyageai",
    "perplexity",
)
# Who hosts the models of others: the price holds for a provider of this name only.
HOSTS = ("aws", "azure", "cerebras", "fireworks", "groq", "together")
# Open weights that run anywhere, or another's models: not for every provider's use of the name.
NOT_OWN = {"openai": ("gpt-oss",), "google": ("claude", "gemma", "llama", "mistral", "codestral", "jamba", "gpt-oss")}
# Not text in, text (or a vector) out.
NOT_TEXT = (
    "tts",
    "audio",
    "image",
    "whisper",
    "realtime",
    "live",
    "transcribe",
    "robotics",
    "speech",
    "veo",
    "ocr",
    "computer-use",
)
TEXT_UNITS = ("input_mtok", "output_mtok", "cache_read_mtok", "output_reasoning_mtok")
OTHER_UNITS = ("audio", "video", "image_mtok", "hours", "pages", "mchars")


def main(wheel: str, date: str) -> None:
    """Write `prices.json` and the licence beside it."""
    sys.path.insert(0, wheel)
    providers = {provider.id: provider for provider in import_module("genai_prices.data").providers}
    with ZipFile(wheel) as archive:
        licence = next(name for name in archive.namelist() if name.endswith("licenses/LICENSE"))
        (DATA / "prices.LICENSE").write_bytes(archive.read(licence))
    noon = datetime.fromisoformat(date).replace(hour=12, tzinfo=UTC)
    rows = [
        row
        for provider_id in FIRST_PARTY + HOSTS
        for model in providers[provider_id].models
        if (row := row_of(providers[provider_id], model, noon))
    ]
    table = {
        "source": f"{Path(wheel).name.split('-py3')[0]}, MIT licence, see prices.LICENSE",
        "date": date,
        "unit": "US dollars for a million tokens; lowest tier, standard rate",
        "columns": ["provider (null: any)", "maker or host", "names", "input", "cached input", "output", "reasoning"],
        "rows": rows,
    }
    head = json.dumps({key: value for key, value in table.items() if key != "rows"}, indent=1)[:-2]
    lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    (DATA / "prices.json").write_text(f'{head},\n "rows": [\n{lines}\n ]\n}}\n')
    print(f"{len(rows)} models, {sum(len(row[2]) for row in rows)} names")


def row_of(provider: Any, model: Any, noon: datetime) -> list[object] | None:
    """One row; None when the model is not a text model or has no price."""
    words = model.id.lower()
    if any(word in words for word in NOT_TEXT) or words.startswith(NOT_OWN.get(provider.id, ("\0",))):
        return None
    price = price_of_the_day(model, noon)
    if price is None:
        return None
    names = [name for name in sorted(names_of(model.match, {model.id})) if agrees(provider, model, name)]
    owner = None if provider.id in FIRST_PARTY else provider.id
    return [owner, provider.id, names, *price] if names else None


def price_of_the_day(model: Any, noon: datetime) -> tuple[str | None, ...] | None:
    """What holds for most hours of the day: (input, cached, output, reasoning)."""
    hours = (text_price(model.get_prices(noon + timedelta(hours=hour))) for hour in range(-12, 12))
    return Counter(hours).most_common(1)[0][0]


def text_price(price: Any) -> tuple[str | None, ...] | None:
    """Dollars for a million tokens; None when it is not priced by text tokens."""
    units = {unit: value for unit, value in vars(price).items() if value is not None and not unit.startswith("_")}
    if "input_mtok" not in units or any(
        word in unit for unit in units for word in OTHER_UNITS if unit.startswith("output")
    ):
        return None
    usd = {unit: dollars(units[unit]) for unit in TEXT_UNITS if unit in units}
    return usd["input_mtok"], usd.get("cache_read_mtok"), usd.get("output_mtok", "0"), usd.get("output_reasoning_mtok")


def dollars(value: Any) -> str:
    """A plain decimal string, no finer than a nano-dollar."""
    amount = getattr(value, "base", value).quantize(Decimal("1e-9")).normalize()
    return f"{amount:f}"


def names_of(match: Any, names: set[str]) -> set[str]:
    """The names that a match logic accepts, as far as exact names and `prefix*` can say it."""
    for clause in getattr(match, "or_", [match]):
        if hasattr(clause, "equals"):
            names.add(clause.equals)
        elif hasattr(clause, "starts_with"):
            names.add(clause.starts_with + "*")
        elif hasattr(clause, "regex") and clause.regex.endswith(r"-\d{4}-\d{2}-\d{2}$"):
            names.add(clause.regex[1 : -len(r"\d{4}-\d{2}-\d{2}$")].replace("\\", "") + "20*")
    return names


def agrees(provider: Any, model: Any, name: str) -> bool:
    """True when genai-prices finds this very model under the name; prefixes are tried by an example."""
    tries = [name] if "*" not in name else [name.replace("20*", "2026-01-01") if name.endswith("-20*") else name[:-1]]
    return all(provider.find_model(each) is model for each in tries)


if __name__ == "__main__":
    main(*sys.argv[1:])
