import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.reasons import Reason
from podium.traffic.limiting.buckets import Bucket, Refusal, Standing, charge_of
from podium.traffic.limiting.limiter import Grant, Limiter
from podium.traffic.limiting.standing import anthropic_headers, openai_headers, retry_headers

SECOND = 10**9
MINUTE = 60 * SECOND


def standing(what, amount, left, reset_s=0.0):
    return Standing(Bucket(what, what, amount, MINUTE), left, int(reset_s * SECOND))


def refusal(retry_after_s):
    bucket = Bucket("b", "requests", 1, MINUTE)
    return Refusal(bucket, Reason.REQUESTS_LIMITED, "No.", retry_after_s, ())


def lines(headers):
    assert not headers or headers.endswith(b"\r\n")
    return headers.decode().splitlines()


def test_nothing_limited_is_nothing_said():
    assert openai_headers(()) == anthropic_headers((), 0) == b""
    assert openai_headers([standing("concurrency", 5, 2)]) == b""


def test_openai_shows_the_tightest_of_requests_and_of_all_tokens():
    found = [
        standing("requests", 60, 59, 1),
        standing("requests", 1000, 5, 90.5),
        standing("tokens", 10_000, 700, 8.64),
        standing("output_tokens", 900, 300, 0.012),
        standing("concurrency", 2, 0),
    ]
    assert lines(openai_headers(found)) == [
        "x-ratelimit-limit-requests: 1000",
        "x-ratelimit-remaining-requests: 5",
        "x-ratelimit-reset-requests: 1m30.5s",
        "x-ratelimit-limit-tokens: 900",
        "x-ratelimit-remaining-tokens: 300",
        "x-ratelimit-reset-tokens: 12ms",
    ]


def test_anthropic_shows_each_kind_of_tokens_and_when_it_resets():
    found = [standing("requests", 60, 0, 30), standing("input_tokens", 500, 400, 0.5), standing("tokens", 800, 450, 7)]
    assert lines(anthropic_headers(found, 1_760_000_000 * SECOND)) == [
        "anthropic-ratelimit-requests-limit: 60",
        "anthropic-ratelimit-requests-remaining: 0",
        "anthropic-ratelimit-requests-reset: 2025-10-09T08:53:50Z",
        "anthropic-ratelimit-tokens-limit: 500",
        "anthropic-ratelimit-tokens-remaining: 400",
        "anthropic-ratelimit-tokens-reset: 2025-10-09T08:53:21Z",
        "anthropic-ratelimit-input-tokens-limit: 500",
        "anthropic-ratelimit-input-tokens-remaining: 400",
        "anthropic-ratelimit-input-tokens-reset: 2025-10-09T08:53:21Z",
    ]


def test_of_equally_tight_ones_the_later_reset_is_shown():
    headers = openai_headers(
        [standing("requests", 9, 3, 5), standing("requests", 8, 3, 60), standing("requests", 7, 3, 2)]
    )
    assert b"limit-requests: 8\r\n" in headers


@pytest.mark.parametrize(
    ("reset_s", "text"),
    [
        (0, "0s"),
        (0.0001, "1ms"),
        (1, "1s"),
        (60, "1m0s"),
        (3600, "1h0m0s"),
        (90061.25, "25h1m1.25s"),
        (59.9999, "1m0s"),
    ],
)
def test_durations_are_written_as_go_writes_them(reset_s, text):
    assert f"reset-requests: {text}\r\n".encode() in openai_headers([standing("requests", 1, 0, reset_s)])


def test_waits_are_rounded_up():
    assert retry_headers(refusal(1.0)) == b"retry-after: 1\r\nretry-after-ms: 1000\r\n"
    assert retry_headers(refusal(1.00001)) == b"retry-after: 2\r\nretry-after-ms: 1001\r\n"
    assert retry_headers(refusal(None)) == b"x-should-retry: false\r\n"


buckets = st.builds(
    lambda what, amount, window_ns, algorithm: Bucket(what + algorithm, what, amount, window_ns, algorithm),
    st.sampled_from(["requests", "tokens", "input_tokens"]),
    st.integers(1, 1000),
    st.integers(SECOND, 10**15),
    st.sampled_from(["gcra", "sliding_window"]),
)


@given(
    st.lists(buckets, min_size=1, max_size=5, unique_by=lambda bucket: bucket.key),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 10**11)), min_size=1, max_size=30),
)
def test_who_waits_as_the_header_says_is_admitted(held, script):
    limiter, now = Limiter(), 0
    for tokens, passed in script:
        now += passed
        outcome = limiter.acquire(held, charge_of(tokens, 0), now)
        if isinstance(outcome, Refusal) and outcome.retry_after_s is not None:
            now += int(lines(retry_headers(outcome))[1].partition(": ")[2]) * 1_000_000
            assert isinstance(limiter.acquire(held, charge_of(tokens, 0), now), Grant)
