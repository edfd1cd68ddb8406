import pytest

from podium.traffic.limits import Limiter
from podium.traffic.rules import LimitRule
from podium.traffic.standing import _duration, standing_headers

SECOND = 1_000_000_000


def shown(outcome, now_ns=0):
    lines = standing_headers(outcome, now_ns).split(b"\r\n")
    assert lines.pop() == b""
    return [tuple(line.split(b": ")) for line in lines]


def test_without_limits_by_the_minute_there_are_no_headers():
    limiter = Limiter()
    assert shown(limiter.acquire((), 1, 0)) == []
    assert shown(limiter.acquire((LimitRule("key:a", concurrency=1),), 1, 0)) == []


def test_a_grant_shows_what_is_left_of_the_tightest_rule():
    limiter, rules = Limiter(), (LimitRule("tenant:t", 60, 6000), LimitRule("key:k", 120, 3000))
    grant = limiter.acquire(rules, 1500, 0)
    assert shown(grant) == [
        (b"x-ratelimit-limit-requests", b"60"),
        (b"x-ratelimit-remaining-requests", b"59"),
        (b"x-ratelimit-reset-requests", b"1s"),
        (b"x-ratelimit-limit-tokens", b"3000"),
        (b"x-ratelimit-remaining-tokens", b"1500"),
        (b"x-ratelimit-reset-tokens", b"30s"),
    ]
    limiter.settle(grant, 500, 0)
    assert dict(shown(grant, SECOND // 2))[b"x-ratelimit-remaining-tokens"] == b"2525"


def test_a_refusal_shows_nothing_left():
    limiter, rules = Limiter(), (LimitRule("key:k", 1),)
    limiter.acquire(rules, 1, 0)
    assert shown(limiter.acquire(rules, 1, 0)) == [
        (b"x-ratelimit-limit-requests", b"1"),
        (b"x-ratelimit-remaining-requests", b"0"),
        (b"x-ratelimit-reset-requests", b"1m0s"),
    ]


def test_debt_over_the_limit_shows_as_nothing_left():
    limiter, rules = Limiter(), (LimitRule("key:k", tokens_per_minute=10),)
    grant = limiter.acquire(rules, 1, 0)
    limiter.settle(grant, 20, 0)
    headers = dict(shown(grant))
    assert headers[b"x-ratelimit-remaining-tokens"] == b"0"
    assert headers[b"x-ratelimit-reset-tokens"] == b"2m0s"


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, b"0s"),
        (1, b"1ms"),
        (12_000_000, b"12ms"),
        (8_640_000_000, b"8.64s"),
        (59_999_999_999, b"1m0s"),
        (90_500_000_000, b"1m30.5s"),
    ],
)
def test_durations_are_written_as_go_writes_them(ns, text):
    assert _duration(ns) == text
