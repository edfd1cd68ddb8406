# ruff: noqa: D102, PLR2004 - the names of tests are their sentences, and numbers are their subject
"""What every limiter must do, in memory or in a shared store, as tests.

Subclass the suite in a test module and give it its fixture::

    class TestRedisLimiter(LimiterConformance):
        @pytest.fixture
        def limiter(self, redis): ...

Windows are hours long, so that a store with a clock of its own, which runs on while the tests run, decides the same.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

import pytest

from podium.core.reasons import Reason
from podium.traffic.limiting.buckets import Bucket, Charge, Refusal, Standing, charge_of

__all__ = ["AsyncLimiter", "LimiterConformance"]

_SECOND_NS = 1_000_000_000
_HOUR_NS = 3600 * _SECOND_NS
_ONE = charge_of(0, 0)
_SLACK_S = 20.0  # what a store's own clock may run on during a test


class AsyncLimiter(Protocol):
    """A limiter as the suite asks it. What `acquire` returns and is no Refusal is a grant."""

    lease_ns: int  # how long a grant lives that is neither renewed nor ended; 1 minute to 10 minutes

    async def acquire(self, buckets: Sequence[Bucket], charge: Charge) -> Any:
        """A grant, or a Refusal."""

    async def settle(self, grant: Any, facts: Charge) -> None:
        """End a grant with what it used."""

    async def release(self, grant: Any) -> None:
        """End a grant that cost nothing."""

    async def renew(self, grant: Any) -> bool:
        """Start a grant's lease anew; False: it has ended or lost a place."""

    async def standings(self, grant: Any) -> tuple[Standing, ...]:
        """How the buckets of a grant stand now, in their order."""

    async def advance(self, duration_ns: int) -> None:
        """Let time pass in the limiter, without waiting; negative: its clock steps back."""


def _requests(amount: int, **changes: Any) -> Bucket:
    fields: dict[str, Any] = {
        "key": "p|requests|k",
        "what": "requests",
        "amount": amount,
        "window_ns": _HOUR_NS,
        "per": ("key",),
    }
    return Bucket(**(fields | changes))


def _tokens(amount: int, **changes: Any) -> Bucket:
    return _requests(amount, **({"key": "p|tokens|k", "what": "tokens"} | changes))


def _places(amount: int, **changes: Any) -> Bucket:
    return _requests(amount, **({"key": "p|concurrency|k", "what": "concurrency", "window_ns": 0} | changes))


def _granted(outcome: Any) -> Any:
    assert not isinstance(outcome, Refusal), outcome.message
    return outcome


def _refused(outcome: Any) -> Refusal:
    assert isinstance(outcome, Refusal)
    return outcome


def _about(seconds: float, expected: float) -> bool:
    return expected - _SLACK_S <= seconds <= expected


async def _admitted(limiter: AsyncLimiter, buckets: Sequence[Bucket], charge: Charge, tries: int) -> int:
    """How many of so many equal requests, one after another, are admitted."""
    outcomes = [await limiter.acquire(buckets, charge) for _ in range(tries)]
    return sum(not isinstance(outcome, Refusal) for outcome in outcomes)


async def _together(*work: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*work)


class LimiterConformance:
    """Of a limiter. Fixture: `limiter`, empty for each test."""

    exact_corrections = True  # False: less may be given back than would be right, never more

    async def test_without_buckets_everything_is_admitted(self, limiter: AsyncLimiter) -> None:
        grant = _granted(await limiter.acquire((), charge_of(10**9, 10**9)))
        await limiter.settle(grant, charge_of(1, 1))
        assert await limiter.standings(grant) == ()

    @pytest.mark.parametrize("algorithm", ["gcra", "sliding_window"])
    async def test_a_windows_worth_comes_at_once(self, limiter: AsyncLimiter, algorithm: str) -> None:
        bucket = _requests(6, algorithm=algorithm)
        assert await _admitted(limiter, (bucket,), _ONE, 6) == 6
        refusal = _refused(await limiter.acquire((bucket,), _ONE))
        assert (refusal.bucket, refusal.reason) == (bucket, Reason.REQUESTS_LIMITED)
        assert refusal.message == "The limit of 6 requests an hour for this key is used up."
        assert [standing.left for standing in refusal.standings] == [0]

    async def test_gcra_lets_room_come_back_evenly(self, limiter: AsyncLimiter) -> None:
        bucket = _requests(6)
        await _admitted(limiter, (bucket,), _ONE, 6)
        retry_after_s = _refused(await limiter.acquire((bucket,), _ONE)).retry_after_s
        assert retry_after_s is not None
        assert _about(retry_after_s, 600)
        await limiter.advance(500 * _SECOND_NS)
        assert await _admitted(limiter, (bucket,), _ONE, 1) == 0
        await limiter.advance(101 * _SECOND_NS)
        assert await _admitted(limiter, (bucket,), _ONE, 2) == 1

    async def test_gcra_takes_no_more_at_once_than_its_burst(self, limiter: AsyncLimiter) -> None:
        bucket = _requests(3600, burst=5)
        assert await _admitted(limiter, (bucket,), charge_of(0, 0, requests=5), 1) == 1
        assert (await limiter.acquire((bucket,), charge_of(0, 0, requests=5))).retry_after_s <= 5
        await limiter.advance(6 * _SECOND_NS)
        assert await _admitted(limiter, (bucket,), charge_of(0, 0, requests=5), 1) == 1

    async def test_a_sliding_window_gives_nothing_back_before_it_has_passed(self, limiter: AsyncLimiter) -> None:
        bucket = _requests(6, algorithm="sliding_window")
        assert await _admitted(limiter, (bucket,), _ONE, 3) == 3
        await limiter.advance(_HOUR_NS // 2)
        assert await _admitted(limiter, (bucket,), _ONE, 4) == 3
        await limiter.advance(_HOUR_NS // 2 - 30 * _SECOND_NS)
        assert await _admitted(limiter, (bucket,), _ONE, 1) == 0
        await limiter.advance(_HOUR_NS // 16 + 31 * _SECOND_NS)
        assert await _admitted(limiter, (bucket,), _ONE, 4) == 3

    @pytest.mark.parametrize("algorithm", ["gcra", "sliding_window"])
    async def test_who_waits_as_told_is_admitted(self, limiter: AsyncLimiter, algorithm: str) -> None:
        bucket = _tokens(1000, algorithm=algorithm)
        for tokens in (300, 400, 300, 250, 900, 1000):
            outcome = await limiter.acquire((bucket,), charge_of(tokens, 0))
            if isinstance(outcome, Refusal):
                assert outcome.retry_after_s is not None
                await limiter.advance(int(outcome.retry_after_s * _SECOND_NS) + 1)
                _granted(await limiter.acquire((bucket,), charge_of(tokens, 0)))
            await limiter.advance(_HOUR_NS // 7)

    async def test_each_measure_is_counted_by_itself(self, limiter: AsyncLimiter) -> None:
        buckets = (
            _tokens(100, key="i", what="input_tokens"),
            _tokens(100, key="o", what="output_tokens"),
            _tokens(150, key="t"),
        )
        grant = _granted(await limiter.acquire(buckets, charge_of(80, 20)))
        assert [standing.left for standing in await limiter.standings(grant)] == [20, 80, 50]
        refusal = _refused(await limiter.acquire(buckets, charge_of(21, 0)))
        assert (refusal.bucket, refusal.reason) == (buckets[0], Reason.TOKENS_LIMITED)
        assert _refused(await limiter.acquire(buckets, charge_of(0, 60))).bucket == buckets[2]

    async def test_several_windows_hold_at_once(self, limiter: AsyncLimiter) -> None:
        buckets = (
            _requests(2, key="hour"),
            _requests(3, key="day", window_ns=24 * _HOUR_NS, algorithm="sliding_window"),
        )
        assert await _admitted(limiter, buckets, _ONE, 3) == 2
        await limiter.advance(_HOUR_NS)
        assert await _admitted(limiter, buckets, _ONE, 2) == 1
        assert _refused(await limiter.acquire(buckets, _ONE)).bucket == buckets[1]

    async def test_a_refused_exchange_takes_nothing_from_any(self, limiter: AsyncLimiter) -> None:
        roomy, tight = _requests(2), _tokens(10)
        places = _places(2)
        _granted(await limiter.acquire((roomy, tight, places), charge_of(10, 0)))
        for _ in range(20):
            _refused(await limiter.acquire((roomy, places, tight), charge_of(10, 0)))
        grant = _granted(await limiter.acquire((roomy, places), _ONE))
        assert [standing.left for standing in await limiter.standings(grant)] == [0, 0]

    async def test_a_refusal_names_the_longest_wait(self, limiter: AsyncLimiter) -> None:
        fast, slow = _requests(60), _tokens(60)
        _granted(await limiter.acquire((fast, slow), charge_of(60, 0, requests=60)))
        refusal = _refused(await limiter.acquire((fast, slow), charge_of(30, 0)))
        assert refusal.bucket == slow
        assert refusal.retry_after_s is not None
        assert _about(refusal.retry_after_s, 1800)

    async def test_a_refusal_names_the_highest_priority_and_still_the_longest_wait(self, limiter: AsyncLimiter) -> None:
        told, slow = _requests(60, priority=5), _tokens(60)
        _granted(await limiter.acquire((told, slow), charge_of(60, 0, requests=60)))
        refusal = _refused(await limiter.acquire((told, slow), charge_of(30, 0)))
        assert refusal.bucket == told
        assert refusal.retry_after_s is not None
        assert _about(refusal.retry_after_s, 1800)
        assert [standing.bucket for standing in refusal.standings] == [told, slow]

    @pytest.mark.parametrize("algorithm", ["gcra", "sliding_window"])
    async def test_waiting_does_not_help_who_asks_for_more_than_all(
        self, limiter: AsyncLimiter, algorithm: str
    ) -> None:
        refusal = _refused(await limiter.acquire((_tokens(1000, algorithm=algorithm),), charge_of(1000, 1)))
        assert (refusal.reason, refusal.retry_after_s) == (Reason.TOKENS_LIMITED, None)
        assert "larger than the whole limit of 1,000 tokens an hour" in refusal.message
        _granted(await limiter.acquire((_tokens(1000, algorithm=algorithm),), charge_of(1000, 0)))

    @pytest.mark.parametrize("algorithm", ["gcra", "sliding_window"])
    async def test_what_was_not_used_is_given_back(self, limiter: AsyncLimiter, algorithm: str) -> None:
        bucket = _tokens(600, algorithm=algorithm)
        grant = _granted(await limiter.acquire((bucket,), charge_of(100, 500)))
        _refused(await limiter.acquire((bucket,), charge_of(100, 0)))
        await limiter.settle(grant, charge_of(100, 0))
        assert await _admitted(limiter, (bucket,), charge_of(100, 0), 6) == 5

    @pytest.mark.parametrize("algorithm", ["gcra", "sliding_window"])
    async def test_what_was_used_above_the_estimate_is_owed(self, limiter: AsyncLimiter, algorithm: str) -> None:
        bucket = _tokens(600, algorithm=algorithm)
        grant = _granted(await limiter.acquire((bucket,), charge_of(100, 0)))
        await limiter.settle(grant, charge_of(100, 800))
        refusal = _refused(await limiter.acquire((bucket,), charge_of(10, 0)))
        assert refusal.standings[0].left == 0
        assert refusal.retry_after_s is not None
        assert refusal.retry_after_s > 1800
        await limiter.advance(int(refusal.retry_after_s * _SECOND_NS) + 1)
        _granted(await limiter.acquire((bucket,), charge_of(10, 0)))

    @pytest.mark.parametrize("algorithm", ["gcra", "sliding_window"])
    async def test_unused_reservations_cannot_be_saved_up(self, limiter: AsyncLimiter, algorithm: str) -> None:
        bucket = _tokens(100, algorithm=algorithm)
        grant = _granted(await limiter.acquire((bucket,), charge_of(100, 0)))
        await limiter.advance(_HOUR_NS + _HOUR_NS // 8)
        _granted(await limiter.acquire((bucket,), charge_of(100, 0)))
        await limiter.settle(grant, charge_of(0, 0))
        assert await _admitted(limiter, (bucket,), charge_of(10, 0), 1) == 0

    async def test_a_late_correction_of_a_busy_bucket_is_worth_all_of_it(self, limiter: AsyncLimiter) -> None:
        bucket = _tokens(600)
        grant = _granted(await limiter.acquire((bucket,), charge_of(300, 0)))
        _granted(await limiter.acquire((bucket,), charge_of(300, 0)))
        await limiter.advance(_HOUR_NS // 4)
        await limiter.settle(grant, charge_of(0, 0))
        admitted = await _admitted(limiter, (bucket,), charge_of(50, 0), 12)
        assert admitted == 9 if self.exact_corrections else 6 <= admitted <= 9

    async def test_released_is_as_never_taken(self, limiter: AsyncLimiter) -> None:
        buckets = (_requests(1), _tokens(10, algorithm="sliding_window"), _places(1))
        for _ in range(5):
            await limiter.release(_granted(await limiter.acquire(buckets, charge_of(5, 5))))
        _granted(await limiter.acquire(buckets, charge_of(5, 5)))

    async def test_a_second_end_does_nothing(self, limiter: AsyncLimiter) -> None:
        buckets = (_requests(3), _tokens(100), _places(1))
        grant = _granted(await limiter.acquire(buckets, charge_of(50, 0)))
        await limiter.settle(grant, charge_of(60, 0))
        held = _granted(await limiter.acquire(buckets, charge_of(40, 0)))
        await limiter.settle(grant, charge_of(0, 0))
        await limiter.release(grant)
        assert [standing.left for standing in await limiter.standings(held)] == [1, 0, 0]
        assert not await limiter.renew(grant)

    async def test_ends_at_the_same_time_are_one(self, limiter: AsyncLimiter) -> None:
        buckets = (_requests(5), _places(2))
        grant = _granted(await limiter.acquire(buckets, _ONE))
        held = _granted(await limiter.acquire(buckets, _ONE))
        await _together(limiter.release(grant), limiter.release(grant), limiter.settle(grant, _ONE))
        left = [standing.left for standing in await limiter.standings(held)]
        assert left in ([4, 1], [3, 1])

    async def test_places_are_freed_by_settle_and_by_release(self, limiter: AsyncLimiter) -> None:
        bucket = _places(2)
        one, two = [_granted(await limiter.acquire((bucket,), _ONE)) for _ in range(2)]
        refusal = _refused(await limiter.acquire((bucket,), _ONE))
        assert refusal.reason is Reason.CONCURRENCY_LIMITED
        assert refusal.message == "The limit of 2 exchanges at the same time for this key is used up."
        assert refusal.retry_after_s is not None
        await limiter.settle(one, _ONE)
        three = _granted(await limiter.acquire((bucket,), _ONE))
        await limiter.release(two)
        await limiter.release(three)
        assert await _admitted(limiter, (bucket,), _ONE, 3) == 2

    async def test_concurrent_requests_do_not_pass_one_check_together(self, limiter: AsyncLimiter) -> None:
        buckets = (_requests(20), _tokens(70), _places(9))
        outcomes = await _together(*(limiter.acquire(buckets, charge_of(5, 5)) for _ in range(50)))
        assert sum(not isinstance(outcome, Refusal) for outcome in outcomes) == 7

    async def test_a_place_that_nobody_gives_back_is_free_after_its_lease(self, limiter: AsyncLimiter) -> None:
        buckets = (_places(1), _requests(10))
        lost = _granted(await limiter.acquire(buckets, _ONE))
        await limiter.advance(limiter.lease_ns - 30 * _SECOND_NS)
        _refused(await limiter.acquire(buckets, _ONE))
        await limiter.advance(31 * _SECOND_NS)
        _granted(await limiter.acquire(buckets, _ONE))
        assert not await limiter.renew(lost)
        await limiter.settle(lost, _ONE)
        _refused(await limiter.acquire(buckets, _ONE))

    async def test_a_renewed_lease_lives_on(self, limiter: AsyncLimiter) -> None:
        bucket = _places(1)
        grant = _granted(await limiter.acquire((bucket,), _ONE))
        for _ in range(3):
            await limiter.advance(limiter.lease_ns * 2 // 3)
            assert await limiter.renew(grant)
            _refused(await limiter.acquire((bucket,), _ONE))
        await limiter.settle(grant, _ONE)
        _granted(await limiter.acquire((bucket,), _ONE))

    async def test_tokens_of_a_lost_grant_stay_charged(self, limiter: AsyncLimiter) -> None:
        bucket = _tokens(100, algorithm="sliding_window")
        _granted(await limiter.acquire((bucket,), charge_of(100, 0)))
        await limiter.advance(limiter.lease_ns + _SECOND_NS)
        assert await _admitted(limiter, (bucket,), charge_of(1, 0), 1) == 0

    @pytest.mark.parametrize("algorithm", ["gcra", "sliding_window"])
    async def test_a_changed_amount_keeps_what_was_used(self, limiter: AsyncLimiter, algorithm: str) -> None:
        few, many = _requests(5, algorithm=algorithm), _requests(8, algorithm=algorithm)
        assert await _admitted(limiter, (few,), _ONE, 6) == 5
        assert await _admitted(limiter, (many,), _ONE, 4) == 3
        _refused(await limiter.acquire((few,), _ONE))

    async def test_subjects_do_not_share(self, limiter: AsyncLimiter) -> None:
        for key in ("p|a", "p|b", "p|c"):
            assert await _admitted(limiter, (_requests(2, key=key), _places(9, key=key + "c")), _ONE, 3) == 2

    @pytest.mark.parametrize("algorithm", ["gcra", "sliding_window"])
    async def test_a_clock_that_steps_back_gives_no_room_and_takes_none(
        self, limiter: AsyncLimiter, algorithm: str
    ) -> None:
        buckets = (_requests(2, algorithm=algorithm), _places(3))
        await limiter.advance(24 * _HOUR_NS)
        assert await _admitted(limiter, buckets, _ONE, 3) == 2
        await limiter.advance(-10 * _HOUR_NS)
        assert await _admitted(limiter, buckets, _ONE, 1) == 0
        await limiter.advance(_HOUR_NS + _HOUR_NS // 8)
        assert await _admitted(limiter, buckets, _ONE, 3) == 2
