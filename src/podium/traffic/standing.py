"""How close a caller is to its limits, as response headers."""

from podium.traffic.limits import Grant, Refusal
from podium.traffic.meter import UNIT, Meter

__all__ = ["standing_headers"]

_REQUESTS, _TOKENS = (
    b"x-ratelimit-limit-%b: %%d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n" % ((noun,) * 3)
    for noun in (b"requests", b"tokens")
)
_BOTH = _REQUESTS + _TOKENS
_MILLISECONDS = [b"0s", *(b"%dms" % count for count in range(1, 1000))]


def standing_headers(outcome: Grant | Refusal, now_ns: int) -> bytes:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}` as OpenAI sends them, as header lines.

    Requests and tokens each show the rule with the least left. Empty when nothing is limited by the minute.
    """
    requests = tokens = None
    for account in outcome.accounts:
        requests = _tighter(requests, account.requests, now_ns)
        tokens = _tighter(tokens, account.tokens, now_ns)
    if requests is not None and tokens is not None:
        return _BOTH % (*_figures(requests), *_figures(tokens))
    if requests is not None:
        return _REQUESTS % _figures(requests)
    return _TOKENS % _figures(tokens) if tokens is not None else b""


def _tighter(one: Meter | None, other: Meter | None, now_ns: int) -> Meter | None:
    if other is None:
        return one
    other.drain(now_ns)
    return other if one is None or _remaining(other) < _remaining(one) else one


def _figures(meter: Meter) -> tuple[int, int, bytes]:
    """The limit, what is left of it, and when all of it is back."""
    debt = meter.debt
    left = meter.capacity - debt
    return meter.per_minute, left // UNIT if left > 0 else 0, _duration(-(-debt // meter.per_minute))


def _remaining(meter: Meter) -> int:
    left = meter.capacity - meter.debt
    return left // UNIT if left > 0 else 0


def _duration(duration_ns: int) -> bytes:
    """As Go writes it: `0s`, `12ms`, `8.64s`, `1m30s`; rounded up to a millisecond."""
    total_ms = -(-duration_ns // 1_000_000)
    if total_ms < len(_MILLISECONDS):
        return _MILLISECONDS[total_ms]
    minutes, rest_ms = divmod(total_ms, 60_000)
    seconds = b"%ds" % (rest_ms // 1000) if rest_ms % 1000 == 0 else f"{rest_ms / 1000:g}s".encode()
    return b"%dm%s" % (minutes, seconds) if minutes else seconds
