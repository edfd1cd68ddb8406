"""How close a caller is to its limits, as response headers."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from podium.traffic.limiting.buckets import Refusal, Standing

__all__ = ["anthropic_headers", "openai_headers", "retry_headers"]

_REQUESTS, _TOKENS = (
    b"x-ratelimit-limit-%b: %%d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n" % ((noun,) * 3)
    for noun in (b"requests", b"tokens")
)
_ANTHROPIC = (
    b"anthropic-ratelimit-%b-limit: %d\r\nanthropic-ratelimit-%b-remaining: %d\r\nanthropic-ratelimit-%b-reset: %b\r\n"
)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - of UTC, and written without an offset


def openai_headers(standings: Iterable[Standing]) -> bytes:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}` as header lines; `reset` as `1m30s`.

    Requests and tokens (of any kind) each show the bucket with the least left. Empty when neither is limited.
    """
    requests = tokens = None
    for standing in standings:
        what = standing.bucket.what
        if what == "requests":
            requests = standing if requests is None else _tighter(requests, standing)
        elif what != "concurrency":
            tokens = standing if tokens is None else _tighter(tokens, standing)
    lines = b""
    if requests is not None:
        reset = _duration(requests.reset_ns) if requests.reset_ns else b"0s"
        lines = _REQUESTS % (requests.bucket.amount, requests.left, reset)
    if tokens is not None:
        reset = _duration(tokens.reset_ns) if tokens.reset_ns else b"0s"
        lines += _TOKENS % (tokens.bucket.amount, tokens.left, reset)
    return lines


def anthropic_headers(standings: Iterable[Standing], now_unix_ns: int) -> bytes:
    """`anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}` as header lines.

    `reset` is a time (RFC 3339). `tokens` shows the token bucket with the least left, of whichever kind.
    """
    nouns = (b"requests", b"tokens", b"input-tokens", b"output-tokens")
    lines = b""
    for noun, standing in zip(nouns, _tightest(standings), strict=True):
        if standing is not None:
            reset = _time(now_unix_ns + standing.reset_ns)
            lines += _ANTHROPIC % (noun, standing.bucket.amount, noun, standing.left, noun, reset)
    return lines


def retry_headers(refusal: Refusal) -> bytes:
    """`retry-after` in whole seconds and `retry-after-ms`, which the official clients read first; rounded up.

    Empty, with `x-should-retry: false`, when waiting does not help.
    """
    if refusal.retry_after_s is None:
        return b"x-should-retry: false\r\n"
    wait_ms = -int(-refusal.retry_after_s * 1000 // 1)
    return b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (-(-wait_ms // 1000), wait_ms)


def _tightest(standings: Iterable[Standing]) -> tuple[Standing | None, ...]:
    """Of requests, all kinds of tokens, input tokens and output tokens: the one with the least left."""
    requests = tokens = inputs = outputs = None
    for standing in standings:
        what = standing.bucket.what
        if what == "requests":
            requests = _tighter(requests, standing)
        elif what != "concurrency":
            tokens = _tighter(tokens, standing)
            if what == "input_tokens":
                inputs = _tighter(inputs, standing)
            elif what == "output_tokens":
                outputs = _tighter(outputs, standing)
    return requests, tokens, inputs, outputs


def _tighter(one: Standing | None, other: Standing) -> Standing:
    """That with less left; of equals, that which takes longer."""
    if one is None or other.left < one.left or (other.left == one.left and other.reset_ns > one.reset_ns):
        return other
    return one


def _time(unix_ns: int) -> bytes:
    """Rounded up to a second."""
    return (_EPOCH + timedelta(seconds=-(-unix_ns // 1_000_000_000))).isoformat().encode() + b"Z"


def _duration(duration_ns: int) -> bytes:
    """As Go writes it: `0s`, `12ms`, `8.64s`, `1m30s`, `2h0m0s`; rounded up to a millisecond."""
    total_ms = -(-duration_ns // 1_000_000)
    if 0 < total_ms < 1000:  # noqa: PLR2004 - a second
        return b"%dms" % total_ms
    total_minutes, rest_ms = divmod(total_ms, 60_000)
    seconds = b"%ds" % (rest_ms // 1000) if rest_ms % 1000 == 0 else f"{rest_ms / 1000:g}s".encode()
    hours, minutes = divmod(total_minutes, 60)
    if hours:
        return b"%dh%dm%b" % (hours, minutes, seconds)
    return b"%dm%b" % (minutes, seconds) if minutes else seconds
