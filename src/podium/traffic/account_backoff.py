"""Leaving a provider account alone when its provider says that its limits are used up.

Rules
1. After a refusal the account is left alone for as long as the provider said; else for a second, and twice as long
   after each further refusal in a row, up to a minute. At most an hour in any case.
2. Then one call goes as a probe. Accepted, it opens the account to all; refused, it extends the wait, never to
   less than rule 1's own times; a probe that never reports loses its place after `PROBE_LEASE_S`.
3. An accepted call that used up the last of a limit is no refusal: the account rests until there is room for
   another call, and no probe is needed.
4. Refusals of calls that were under way already only lengthen the wait: fifty of them are one event.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from podium.traffic.backoff import Backoff

__all__ = [
    "MAX_WAIT_S",
    "PROBE_LEASE_S",
    "AccountAdmission",
    "AccountBackoff",
    "NoticeSource",
    "RateLimitNotice",
    "read_rate_limits",
    "speaks_of_limits",
]

MAX_WAIT_S = 3600.0
PROBE_LEASE_S = 60.0
_GUESS = Backoff(base_s=1.0, max_s=60.0)
_SECOND_NS = 1_000_000_000
_TOO_MANY_REQUESTS = 429
_OVERLOADED = (503, 529)  # 529: Anthropic's word for overloaded
_SUCCESSES = range(200, 300)
_TOKEN_SHARE = 0.1  # of a token limit: about what has to be back before one more call fits


class NoticeSource(StrEnum):
    """Where a wait comes from."""

    RETRY_AFTER = "retry_after"
    REQUESTS_RESET = "requests_reset"
    TOKENS_RESET = "tokens_reset"
    NOT_SAID = "not_said"


@dataclass(frozen=True, slots=True)
class RateLimitNotice:
    """What an answer says about its account's limits: it was refused, or the limits are used up now."""

    refused: bool
    wait_s: float | None  # None: not said
    source: NoticeSource


_UNSAID = RateLimitNotice(refused=True, wait_s=None, source=NoticeSource.NOT_SAID)

# What is limited, and the headers that say what is left, when it is full again and how much it is then.
# OpenAI, Azure, Groq and others: https://platform.openai.com/docs/guides/rate-limits; the one without a kind:
# OpenRouter, Together. Anthropic: https://docs.anthropic.com/en/api/rate-limits.
_Limit = tuple[NoticeSource, bytes, bytes, bytes]
_REQUESTS, _TOKENS = NoticeSource.REQUESTS_RESET, NoticeSource.TOKENS_RESET


def _openai(source: NoticeSource, kind: bytes) -> _Limit:
    return source, b"x-ratelimit-remaining" + kind, b"x-ratelimit-reset" + kind, b"x-ratelimit-limit" + kind


def _anthropic(source: NoticeSource, kind: bytes) -> _Limit:
    prefix = b"anthropic-ratelimit-" + kind
    return source, prefix + b"-remaining", prefix + b"-reset", prefix + b"-limit"


_LIMITS: tuple[_Limit, ...] = (
    _openai(_REQUESTS, b"-requests"),
    _openai(_TOKENS, b"-tokens"),
    _openai(_REQUESTS, b""),
    _anthropic(_REQUESTS, b"requests"),
    _anthropic(_TOKENS, b"tokens"),
    _anthropic(_TOKENS, b"input-tokens"),
    _anthropic(_TOKENS, b"output-tokens"),
)

_REMAINING = frozenset(remaining for _, remaining, _, _ in _LIMITS)

_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_GO_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(h|ms|m|s|us|µs|ns)")
_GO_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_RFC_3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}")
_LONGEST_DATE = 40  # characters
_EPOCH_S, _EPOCH_MS = 1e9, 1e12  # from here on a number is a moment, not a wait: the year 2001 in either unit


def read_rate_limits(status: int, headers: Mapping[bytes, bytes], unix_s: float) -> RateLimitNotice | None:
    """What an answer's head says about limits; None: nothing that concerns the account.

    A 429 always does; a 503 or 529 when it says how long to wait (else it is the breaker's matter); a success when
    a limit is used up by now. `headers`: names in lower case. `unix_s`: the time now, to which moments in headers
    are compared. What cannot be read is as if it were not there.
    """
    if status in _SUCCESSES:
        return _used_up(headers, unix_s) if speaks_of_limits(headers) else None
    if status != _TOO_MANY_REQUESTS and status not in _OVERLOADED:
        return None
    wait_s = _retry_after_s(headers, unix_s)
    if wait_s is not None:
        return RateLimitNotice(refused=True, wait_s=wait_s, source=NoticeSource.RETRY_AFTER)
    if status != _TOO_MANY_REQUESTS:
        return None
    resets = [(reset_s, source) for source, reset_s, _ in _empty_limits(headers, unix_s)]
    if not resets:
        return _UNSAID
    wait_s, source = max(resets)
    return RateLimitNotice(refused=True, wait_s=wait_s, source=source)


def speaks_of_limits(headers: Mapping[bytes, bytes]) -> bool:
    """True when an answer says how much of a limit is left."""
    return not _REMAINING.isdisjoint(headers)


def _used_up(headers: Mapping[bytes, bytes], unix_s: float) -> RateLimitNotice | None:
    """The longest wait until another call fits.

    Resets tell when a limit is *full* again. Limits refill evenly, so one request fits after the time of one, and
    a call's tokens after a share of it: waiting for all would leave a busy account idle most of the time.
    """
    waits = [
        (reset_s / limit if source is NoticeSource.REQUESTS_RESET else reset_s * _TOKEN_SHARE, source)
        for source, reset_s, limit in _empty_limits(headers, unix_s)
    ]
    if not waits:
        return None
    wait_s, source = max(waits)
    return RateLimitNotice(refused=False, wait_s=wait_s, source=source)


def _empty_limits(headers: Mapping[bytes, bytes], unix_s: float) -> Iterator[tuple[NoticeSource, float, float]]:
    """Limits of which nothing is left: what is limited, seconds until it is full again, how much it is then."""
    for source, remaining, reset, limit in _LIMITS:
        if headers.get(remaining) == b"0":
            reset_s = _wait_s(headers.get(reset, b""), unix_s)
            if reset_s is not None:
                yield source, reset_s, max(1.0, _number(_text(headers.get(limit, b""))) or 1.0)


def _retry_after_s(headers: Mapping[bytes, bytes], unix_s: float) -> float | None:
    """`retry-after-ms` (OpenAI, Azure), else `retry-after` (RFC 9110, section 10.2.3)."""
    wait_ms = _number(_text(headers.get(b"retry-after-ms", b"")))
    if wait_ms is not None:
        return min(wait_ms / 1000, MAX_WAIT_S)
    return _wait_s(headers.get(b"retry-after", b""), unix_s)


def _wait_s(value: bytes, unix_s: float) -> float | None:
    """Seconds from now, from any form in use: `20`, `6m0s`, `120ms`, an HTTP-date, RFC 3339, Unix time."""
    text = _text(value)
    wait_s = _number(text)
    if wait_s is None:
        wait_s = _go_duration_s(text)
        moment_s = _date_s(text) if wait_s is None else None
    else:
        moment_s = wait_s / 1000 if wait_s >= _EPOCH_MS else wait_s if wait_s >= _EPOCH_S else None
    if moment_s is not None:
        wait_s = max(0.0, moment_s - unix_s)
    return None if wait_s is None else min(wait_s, MAX_WAIT_S)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").strip()


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _go_duration_s(text: str) -> float | None:
    """As Go's time.Duration writes it; None when it is none."""
    parts = list(_GO_PART.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        return None
    return sum(float(part[1]) * _GO_UNITS_S[part[2]] for part in parts)


def _date_s(text: str) -> float | None:
    """Unix time of an RFC 3339 or HTTP date; None when it is none."""
    parse = datetime.fromisoformat if _RFC_3339.match(text) else parsedate_to_datetime
    if len(text) > _LONGEST_DATE or (parse is parsedate_to_datetime and not text[:1].isalpha()):
        return None
    try:
        moment = parse(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


class AccountAdmission(StrEnum):
    """Whether a call may be made with an account now."""

    ALLOWED = "allowed"
    PROBE = "probe"  # allowed; its result decides about the others, so report it with `probe=True`
    LEFT_ALONE = "left_alone"
    PROBE_BUSY = "probe_busy"

    @property
    def allowed(self) -> bool:
        """True for both kinds of yes."""
        return self is AccountAdmission.ALLOWED or self is AccountAdmission.PROBE


class AccountBackoff:
    """One account. `now_ns` is monotonic."""

    __slots__ = ("_lease_ns", "_probe_next", "_resting", "_source", "refusals", "until_ns")

    def __init__(self) -> None:
        self._resting = False
        self._probe_next = False  # after the rest
        self._lease_ns: int | None = None  # when the running probe loses its place; None: none is running
        self._source = NoticeSource.NOT_SAID
        self.until_ns = 0  # the end of the last or current rest
        self.refusals = 0  # in a row, those of rule 4 not counted

    def admit(self, now_ns: int) -> AccountAdmission:
        """Whether a call may be made; a PROBE takes the one place until it is recorded or abandoned."""
        admission = self.would_admit(now_ns)
        if admission is AccountAdmission.PROBE:
            self._lease_ns = now_ns + int(PROBE_LEASE_S * _SECOND_NS)
        elif admission is AccountAdmission.ALLOWED:
            self._resting = False
        return admission

    def would_admit(self, now_ns: int) -> AccountAdmission:
        """What `admit` would say; changes nothing."""
        if not self._resting:
            return AccountAdmission.ALLOWED
        if now_ns < self.until_ns:
            return AccountAdmission.LEFT_ALONE
        if not self._probe_next:
            return AccountAdmission.ALLOWED
        busy = self._lease_ns is not None and now_ns < self._lease_ns
        return AccountAdmission.PROBE_BUSY if busy else AccountAdmission.PROBE

    def record(self, notice: RateLimitNotice | None, now_ns: int, *, probe: bool) -> None:
        """Take note of what an answer said; None: it was accepted, and nothing is used up.

        For answers only: a call that failed in another way says nothing about limits and is abandoned.
        """
        probe = probe and self._lease_ns is not None
        if probe:
            self._lease_ns = None
        if notice is None or not notice.refused:
            if probe:
                self._resting = self._probe_next = False
                self.refusals = 0
            if notice is not None:
                self._rest(notice, notice.wait_s or 0.0, now_ns)
            return
        under_way = self._probe_next and not probe
        if not under_way:
            self.refusals += 1
        self._probe_next = True
        self._rest(notice, self._refused_wait_s(notice), now_ns)

    def abandon(self, *, probe: bool) -> None:
        """Forget a call whose end says nothing about limits, and free its place if it was the probe."""
        if probe:
            self._lease_ns = None

    @property
    def resting(self) -> bool:
        """False when `admit` says yes without more ado."""
        return self._resting

    @property
    def changes_at_ns(self) -> int | None:
        """When time alone turns a no into a yes; None when no call is held back."""
        if not self._resting:
            return None
        return self.until_ns if self._lease_ns is None else max(self.until_ns, self._lease_ns)

    def explain(self, now_ns: int) -> str:
        """A sentence for operators."""
        admission = self.would_admit(now_ns)
        if admission is AccountAdmission.ALLOWED:
            return "Not limited."
        if admission is AccountAdmission.PROBE:
            return "Waiting for a call that shows whether the provider accepts calls again."
        if admission is AccountAdmission.PROBE_BUSY:
            return "One call is under way that shows whether the provider accepts calls again."
        why = {
            NoticeSource.RETRY_AFTER: "the provider asked for it (Retry-After)",
            NoticeSource.REQUESTS_RESET: "its limit of requests is used up",
            NoticeSource.TOKENS_RESET: "its limit of tokens is used up",
            NoticeSource.NOT_SAID: "the provider refused a call (429) without saying how long",
        }[self._source]
        return f"Left alone for {(self.until_ns - now_ns) / _SECOND_NS:.1f} s more: {why}."

    def _refused_wait_s(self, notice: RateLimitNotice) -> float:
        """Rules 1 and 2. What the provider said counts alone the first time: it may be less than a second."""
        if notice.wait_s is None:
            return _GUESS.ceiling_s(self.refusals)
        return max(notice.wait_s, _GUESS.ceiling_s(self.refusals - 1) if self.refusals > 1 else 0.0)

    def _rest(self, notice: RateLimitNotice, wait_s: float, now_ns: int) -> None:
        until_ns = now_ns + int(min(wait_s, MAX_WAIT_S) * _SECOND_NS)
        if not self._resting or until_ns > self.until_ns:
            self.until_ns = until_ns
            self._source = notice.source
        self._resting = True
