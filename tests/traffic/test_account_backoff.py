"""Headers as providers send them, step tables, and the account against a plain reference."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from podium.traffic.account_backoff import (
    MAX_WAIT_S,
    AccountAdmission,
    AccountBackoff,
    NoticeSource,
    RateLimitNotice,
    read_rate_limits,
)

SECOND = 1_000_000_000
NOW = 1_792_567_680.0  # Wed, 21 Oct 2026 07:28:00 GMT
ALLOWED, PROBE = AccountAdmission.ALLOWED, AccountAdmission.PROBE
ALONE, BUSY = AccountAdmission.LEFT_ALONE, AccountAdmission.PROBE_BUSY
AFTER, REQUESTS, TOKENS = NoticeSource.RETRY_AFTER, NoticeSource.REQUESTS_RESET, NoticeSource.TOKENS_RESET


def refusal(wait_s=None, source=AFTER):
    return RateLimitNotice(refused=True, wait_s=wait_s, source=source if wait_s is not None else NoticeSource.NOT_SAID)


def headers(text):
    return dict(tuple(part.strip().encode() for part in line.split(": ", 1)) for line in text.strip().splitlines())


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("20", 20.0),
        ("0", 0.0),
        ("1.5", 1.5),
        (" 7 ", 7.0),
        ("3600", 3600.0),
        ("86400", MAX_WAIT_S),
        ("999999999999999", MAX_WAIT_S),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:27:30 GMT", 0.0),
        ("Wednesday, 21-Oct-26 07:28:30 GMT", 30.0),
        ("2026-10-21T07:29:00Z", 60.0),
        ("2026-10-21T09:29:00+02:00", 60.0),
        ("Wed, 21 Oct 2099 07:28:30 GMT", MAX_WAIT_S),
        ("1792567690", 10.0),
        ("1792567690500", 10.5),
        ("6m0s", 360.0),
        ("120ms", 0.12),
        ("1h0m0s", 3600.0),
        ("2m59.56s", 179.56),
    ],
)
def test_a_refusal_says_how_long_in_any_of_these_forms(value, wait_s):
    notice = read_rate_limits(429, {b"retry-after": value.encode()}, NOW)
    assert notice == RateLimitNotice(refused=True, wait_s=pytest.approx(wait_s), source=AFTER)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "-1",
        "+5",
        "1e9",
        "nan",
        "inf",
        "1_000",
        "٣",
        "5 s",
        "6m 0s",
        "m",
        "12x",
        "--",
        "\xff",
        "1" * 400,
        "Wed" * 50,
    ],
)
def test_nonsense_is_as_if_it_were_not_there(value):
    for encoded in (value.encode(), value.encode("latin-1", "ignore")):
        assert read_rate_limits(429, {b"retry-after": encoded}, NOW) == refusal()
        assert read_rate_limits(503, {b"retry-after": encoded}, NOW) is None


@pytest.mark.parametrize(
    ("status", "text", "notice"),
    [
        (429, "", refusal()),
        (429, "retry-after-ms: 1250\nretry-after: 20", refusal(1.25)),
        (429, "retry-after-ms: many\nretry-after: 20", refusal(20.0)),
        (503, "retry-after: 20", refusal(20.0)),
        (529, "retry-after: 20", refusal(20.0)),
        (503, "", None),
        (529, "", None),
        (500, "retry-after: 20", None),
        (400, "x-ratelimit-remaining-requests: 0\nx-ratelimit-reset-requests: 20s", None),
        # OpenAI, refused without Retry-After: the limit that is used up
        (
            429,
            (
                "x-ratelimit-remaining-requests: 12\nx-ratelimit-reset-requests: 1s\n"
                "x-ratelimit-remaining-tokens: 0\nx-ratelimit-reset-tokens: 6m0s"
            ),
            refusal(360.0, TOKENS),
        ),
        (
            429,
            (
                "x-ratelimit-remaining-requests: 0\nx-ratelimit-reset-requests: 8.64s\n"
                "x-ratelimit-remaining-tokens: 0\nx-ratelimit-reset-tokens: 120ms"
            ),
            refusal(8.64, REQUESTS),
        ),
        # Anthropic
        (
            429,
            (
                "anthropic-ratelimit-requests-remaining: 3\nanthropic-ratelimit-requests-reset: 2026-10-21T07:28:01Z\n"
                "anthropic-ratelimit-input-tokens-remaining: 0\n"
                "anthropic-ratelimit-input-tokens-reset: 2026-10-21T07:28:42Z"
            ),
            refusal(42.0, TOKENS),
        ),
        # Azure answers -1 and 0 when it knows nothing
        (429, "x-ratelimit-remaining-tokens: -1\nx-ratelimit-reset-tokens: 0", refusal()),
        (200, "x-ratelimit-remaining-tokens: -1\nx-ratelimit-reset-tokens: 0", None),
        (200, "x-ratelimit-remaining-tokens: 0", None),
        # accepted
        (200, "", None),
        (200, "x-ratelimit-remaining-requests: 59\nx-ratelimit-reset-requests: 1s", None),
        (
            200,
            "x-ratelimit-limit-requests: 60\nx-ratelimit-remaining-requests: 0\nx-ratelimit-reset-requests: 1m0s",
            RateLimitNotice(refused=False, wait_s=1.0, source=REQUESTS),
        ),
        (
            200,
            "anthropic-ratelimit-tokens-remaining: 0\nanthropic-ratelimit-tokens-reset: 2026-10-21T07:29:00Z",
            RateLimitNotice(refused=False, wait_s=6.0, source=TOKENS),
        ),
        (
            200,
            "x-ratelimit-remaining: 0\nx-ratelimit-reset: 1792567690000",
            RateLimitNotice(refused=False, wait_s=10.0, source=REQUESTS),
        ),
    ],
)
def test_what_an_answer_says_about_limits(status, text, notice):
    read = read_rate_limits(status, headers(text), NOW)
    if notice is not None and notice.wait_s is not None:
        assert read.wait_s == pytest.approx(notice.wait_s)
        read = RateLimitNotice(read.refused, notice.wait_s, read.source)
    assert read == notice


@given(
    st.sampled_from([200, 429, 503]),
    st.dictionaries(
        st.sampled_from(
            [
                b"retry-after",
                b"retry-after-ms",
                b"x-ratelimit-remaining-requests",
                b"x-ratelimit-reset-requests",
                b"x-ratelimit-limit-requests",
                b"anthropic-ratelimit-tokens-remaining",
                b"anthropic-ratelimit-tokens-reset",
            ]
        ),
        st.binary(max_size=30)
        | st.text("0123456789.:-TZhms, GMTOct", max_size=30).map(str.encode)
        | st.sampled_from([b"0", b"9999-12-31T23:59:59-23:59", b"0001-01-01T00:00:00+23:59"]),
    ),
)
def test_whatever_comes_the_wait_is_bounded(status, sent):
    notice = read_rate_limits(status, sent, NOW)
    if notice is not None and notice.wait_s is not None:
        assert 0.0 <= notice.wait_s <= MAX_WAIT_S


def test_a_refused_account_is_left_alone_then_probed_then_open():
    account = AccountBackoff()
    assert account.admit(0) is ALLOWED
    account.record(refusal(60.0), 0, probe=False)
    assert account.until_ns == 60 * SECOND
    assert [account.admit(0), account.admit(60 * SECOND - 1)] == [ALONE, ALONE]
    assert [account.admit(60 * SECOND) for _ in range(3)] == [PROBE, BUSY, BUSY]
    account.record(None, 61 * SECOND, probe=True)
    assert [account.admit(61 * SECOND) for _ in range(3)] == [ALLOWED] * 3


def test_a_refused_probe_extends_the_wait():
    account = AccountBackoff()
    account.record(refusal(10.0), 0, probe=False)
    assert account.admit(10 * SECOND) is PROBE
    account.record(refusal(30.0), 11 * SECOND, probe=True)
    assert account.until_ns == 41 * SECOND
    assert account.admit(40 * SECOND) is ALONE
    assert account.admit(41 * SECOND) is PROBE


def waits(notice):
    """Seconds of rest after each of ten refused probes in a row."""
    account, now, seen = AccountBackoff(), 0, []
    account.record(notice, now, probe=False)
    for _ in range(10):
        seen.append((account.until_ns - now) / SECOND)
        now = account.until_ns
        assert account.admit(now) is PROBE
        account.record(notice, now, probe=True)
    return seen


def test_without_a_word_the_wait_doubles_up_to_a_minute():
    assert waits(refusal()) == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_a_provider_that_always_says_now_is_not_asked_all_the_time():
    assert waits(refusal(0.0)) == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_what_the_provider_said_counts_where_it_is_longer():
    assert waits(refusal(5.0)) == [5, 5, 5, 5, 8, 16, 32, 60, 60, 60]


def test_nobody_is_left_alone_for_longer_than_an_hour():
    account = AccountBackoff()
    account.record(refusal(10.0**9), 0, probe=False)
    assert account.until_ns == MAX_WAIT_S * SECOND


def test_many_refusals_at_once_are_one_event():
    account = AccountBackoff()
    for _ in range(50):
        account.record(refusal(), 0, probe=False)
    assert account.refusals == 1
    assert account.until_ns == SECOND
    account.record(refusal(20.0), 0, probe=False)
    account.record(refusal(5.0), 0, probe=False)
    assert account.until_ns == 20 * SECOND


def test_an_accepted_call_that_was_under_way_opens_nothing():
    account = AccountBackoff()
    account.record(refusal(10.0), 0, probe=False)
    account.record(None, SECOND, probe=False)
    assert account.admit(2 * SECOND) is ALONE


def test_a_used_up_limit_rests_the_account_without_a_probe():
    account = AccountBackoff()
    account.record(RateLimitNotice(refused=False, wait_s=2.0, source=REQUESTS), 0, probe=False)
    assert account.admit(SECOND) is ALONE
    assert [account.admit(2 * SECOND) for _ in range(3)] == [ALLOWED] * 3
    assert account.refusals == 0


def test_a_probe_that_uses_up_the_limit_has_passed():
    account = AccountBackoff()
    account.record(refusal(10.0), 0, probe=False)
    account.admit(10 * SECOND)
    account.record(RateLimitNotice(refused=False, wait_s=2.0, source=REQUESTS), 11 * SECOND, probe=True)
    assert account.admit(12 * SECOND) is ALONE
    assert [account.admit(13 * SECOND) for _ in range(2)] == [ALLOWED] * 2
    assert account.refusals == 0


def test_a_probe_that_says_nothing_gives_its_place_to_the_next():
    account = AccountBackoff()
    account.record(refusal(10.0), 0, probe=False)
    assert [account.admit(10 * SECOND), account.admit(10 * SECOND)] == [PROBE, BUSY]
    account.abandon(probe=True)
    assert account.admit(10 * SECOND) is PROBE
    assert account.changes_at_ns == 70 * SECOND
    assert [account.admit(70 * SECOND - 1), account.admit(70 * SECOND)] == [BUSY, PROBE]


def test_operators_read_why():
    account = AccountBackoff()
    assert account.explain(0) == "Not limited."
    account.record(refusal(60.0), 0, probe=False)
    assert account.explain(SECOND) == "Left alone for 59.0 s more: the provider asked for it (Retry-After)."
    assert account.explain(60 * SECOND).startswith("Waiting for a call")
    account.admit(60 * SECOND)
    assert account.explain(60 * SECOND).startswith("One call is under way")


class AgainstReference(RuleBasedStateMachine):
    """Who may call, written down as plain facts: when free, since when refused, one probe at a time."""

    def __init__(self):
        super().__init__()
        self.account, self.now = AccountBackoff(), 0
        self.until, self.probing, self.refused, self.lease, self.row = 0, False, False, None, 0

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 3.0, 20.0, 61.0, 4000.0]))
    def time_passes(self, seconds):
        self.now += int(seconds * SECOND)

    @rule()
    def admit(self):
        if self.lease is not None and self.now >= self.lease:
            self.lease = None
        if self.now < self.until:
            expected = ALONE
        elif not self.refused:
            expected = ALLOWED
        else:
            expected = PROBE if self.lease is None else BUSY
        assert self.account.would_admit(self.now) is expected
        assert self.account.admit(self.now) is expected
        if expected is PROBE:
            self.lease = self.now + 60 * SECOND
            self.probing = True

    @rule(wait_s=st.sampled_from([None, 0.0, 0.3, 5.0, 45.0, 7200.0]), probe=st.booleans())
    def refuse(self, wait_s, probe):
        probe = probe and self.probing
        self.account.record(refusal(wait_s), self.now, probe=probe)
        if probe or not self.refused:
            self.row += 1
        own_s = (
            min(60.0, 2.0 ** (self.row - 1))
            if wait_s is None
            else 0.0
            if self.row < 2
            else min(60.0, 2.0 ** (self.row - 2))
        )
        self.until = max(self.until, self.now + int(min(3600.0, max(own_s, wait_s or 0.0)) * SECOND))
        self.refused = True
        if probe:
            self.probing, self.lease = False, None

    @rule(wait_s=st.sampled_from([None, 0.2, 6.0]), probe=st.booleans())
    def accept(self, wait_s, probe):
        probe = probe and self.probing
        notice = None if wait_s is None else RateLimitNotice(refused=False, wait_s=wait_s, source=TOKENS)
        self.account.record(notice, self.now, probe=probe)
        if probe:
            self.probing, self.lease, self.refused, self.row, self.until = False, None, False, 0, 0
        if wait_s is not None:
            self.until = max(self.until, self.now + int(wait_s * SECOND))

    @rule()
    def abandon(self):
        self.account.abandon(probe=True)
        self.probing, self.lease = False, None

    @invariant()
    def it_is_free_sooner_or_later(self):
        later = self.now + int((MAX_WAIT_S + 60) * SECOND)
        assert self.account.would_admit(later).allowed
        assert self.account.explain(self.now)


TestAgainstReference = AgainstReference.TestCase
TestAgainstReference.settings = settings(max_examples=100, stateful_step_count=50)
