"""How close a caller is to its limits, as response headers."""

from podium.traffic.limits import Grant, Refusal
from podium.traffic.meter import UNIT, Meter

__all__ = ["standing_headers"]


def standing_headers(outcome: Grant | Refusal, now_ns: int) -> list[tuple[bytes, bytes]]:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}` as OpenAI sends them.

    Requests and tokens each show the rule with the least left. Empty when nothing is limited by the minute.
    """
    requests = [account.requests for account in outcome.accounts if account.requests is not None]
    tokens = [account.tokens for account in outcome.accounts if account.tokens is not None]
    return _headers(requests, b"requests", now_ns) + _headers(tokens, b"tokens", now_ns)


def _headers(meters: list[Meter], noun: bytes, now_ns: int) -> list[tuple[bytes, bytes]]:
    if not meters:
        return []
    remaining, meter = min(((_remaining(meter, now_ns), meter) for meter in meters), key=lambda pair: pair[0])
    reset_ns = -(-meter.debt // meter.per_minute)
    return [
        (b"x-ratelimit-limit-" + noun, b"%d" % meter.per_minute),
        (b"x-ratelimit-remaining-" + noun, b"%d" % remaining),
        (b"x-ratelimit-reset-" + noun, _duration(reset_ns)),
    ]


def _remaining(meter: Meter, now_ns: int) -> int:
    return max(0, meter.capacity - meter.drain(now_ns)) // UNIT


def _duration(duration_ns: int) -> bytes:
    """As Go writes it: `0s`, `12ms`, `8.64s`, `1m30s`; rounded up to a millisecond."""
    total_ms = -(-duration_ns // 1_000_000)
    if 0 < total_ms < 1000:  # noqa: PLR2004 - a second
        return b"%dms" % total_ms
    minutes, rest_ms = divmod(total_ms, 60_000)
    seconds = b"%ds" % (rest_ms // 1000) if rest_ms % 1000 == 0 else f"{rest_ms / 1000:g}s".encode()
    return b"%dm%s" % (minutes, seconds) if minutes else seconds
