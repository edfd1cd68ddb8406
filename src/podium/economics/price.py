"""What an exchange costs: prices looked up by provider and model, applied in whole nano-dollars."""

from collections.abc import Mapping

from podium.core.money import nanousd_from_usd
from podium.core.resources import Price
from podium.core.usage import Usage

__all__ = ["CompiledPrice", "PriceTable"]

_MILLION = 1_000_000
_MAX_REMEMBERED = 4096


class CompiledPrice:
    """One price, ready to multiply."""

    __slots__ = ("_cache_write", "_cached_input", "_input", "_output", "_reasoning", "name")

    def __init__(self, name: str, price: Price) -> None:
        self.name = name  # of the resource; recorded in the event
        # Nano-dollars for a million tokens.
        self._input = nanousd_from_usd(price.input_usd_per_million)
        self._cached_input = _or_else(price.cached_input_usd_per_million, self._input)
        self._cache_write = _or_else(price.cache_write_usd_per_million, self._input)
        self._output = nanousd_from_usd(price.output_usd_per_million)
        self._reasoning = _or_else(price.reasoning_usd_per_million, self._output)

    @property
    def blended_nanousd(self) -> int:
        """One figure for a million tokens, to compare prices by: three parts input to one part output."""
        return (3 * self._input + self._output) // 4

    def cost_nanousd(self, usage: Usage) -> int:
        """Nano-dollars, exact but for one rounding (half up) at the end; never negative.

        Cached and cache-written tokens above the input, or reasoning tokens above the output, count as all of it.
        """
        if not (usage.cached_input_tokens or usage.cache_write_tokens or usage.reasoning_tokens):  # most exchanges
            simple = max(0, usage.input_tokens) * self._input + max(0, usage.output_tokens) * self._output
            return (simple + _MILLION // 2) // _MILLION
        input_tokens = max(0, usage.input_tokens)
        cached = min(max(0, usage.cached_input_tokens), input_tokens)
        written = min(max(0, usage.cache_write_tokens), input_tokens - cached)
        output_tokens = max(0, usage.output_tokens)
        reasoning = min(max(0, usage.reasoning_tokens), output_tokens)
        millionths = (
            (input_tokens - cached - written) * self._input
            + cached * self._cached_input
            + written * self._cache_write
            + (output_tokens - reasoning) * self._output
            + reasoning * self._reasoning
        )
        return (millionths + _MILLION // 2) // _MILLION


def _or_else(usd: str | None, otherwise: int) -> int:
    return otherwise if usd is None else nanousd_from_usd(usd)


class PriceTable:
    """Prices by provider and model; build one a snapshot. Of two for the same, the later in the mapping holds."""

    __slots__ = ("_exact", "_found", "_prefixes", "_prices")

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._exact: dict[tuple[str | None, str], str] = {}
        prefixes: dict[tuple[str | None, str], str] = {}
        for name, price in prices.items():
            if price.model.endswith("*"):
                prefixes[price.provider, price.model[:-1]] = name
            else:
                self._exact[price.provider, price.model] = name
        # Longest first; of equally long ones, that of a named provider first.
        order = sorted(prefixes, key=lambda key: (len(key[1]), key[0] is not None), reverse=True)
        self._prefixes = tuple((provider, prefix, prefixes[provider, prefix]) for provider, prefix in order)
        self._prices = prices
        self._found: dict[tuple[str, str], CompiledPrice | None] = {}

    def find(self, provider: str, model: str) -> CompiledPrice | None:
        """The price of a provider's model; None when none is known.

        Provider and model named beats the model named, which beats the longest `prefix*`.
        """
        key = (provider, model)
        try:
            return self._found[key]
        except KeyError:
            pass
        name = self._name(provider, model)
        if len(self._found) >= _MAX_REMEMBERED:
            self._found.clear()
        found = self._found[key] = None if name is None else CompiledPrice(name, self._prices[name])
        return found

    def _name(self, provider: str, model: str) -> str | None:
        exact = self._exact.get((provider, model)) or self._exact.get((None, model))
        if exact is not None:
            return exact
        for owner, prefix, name in self._prefixes:
            if owner in (None, provider) and model.startswith(prefix):
                return name
        return None
