"""Money: integers of a billionth of a US dollar."""

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

__all__ = ["NANOUSD_PER_USD", "format_usd", "nanousd_from_usd"]

NANOUSD_PER_USD = 1_000_000_000


def nanousd_from_usd(text: str) -> int:
    """Nano-dollars of a decimal string such as "0.15".

    ValueError: not a finite decimal number, negative, or finer than a nano-dollar.
    """
    try:
        scaled = Decimal(text) * NANOUSD_PER_USD
    except InvalidOperation:
        raise ValueError(f"not a decimal number: {text!r}") from None
    if not scaled.is_finite() or scaled < 0:
        raise ValueError(f"not an amount of money: {text!r}")
    if scaled != scaled.to_integral_value():
        raise ValueError(f"finer than a billionth of a dollar: {text!r}")
    return int(scaled)


def format_usd(nanousd: int) -> str:
    """A dollar amount for people: six decimals, e.g. "$0.004125"."""
    amount = (Decimal(nanousd) / NANOUSD_PER_USD).quantize(Decimal("0.000001"), rounding=ROUND_HALF_EVEN)
    return f"${amount}"
