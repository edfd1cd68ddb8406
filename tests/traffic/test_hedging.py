import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.hedging import HedgePlan, HedgePolicy, Hedger, HedgeReason

SECOND = 1_000_000_000


def hedger(ttfts_ms=(), **policy):
    """A hedger that has seen these, with traffic enough for a share."""
    made = Hedger(HedgePolicy(**({"max_share": 1.0} | policy)), 0)
    for ttft_ms in ttfts_ms:
        made.observe(ttft_ms, 0)
    return made


def test_few_samples_say_nothing_about_a_tail():
    assert hedger([100.0] * 49).plan(0) == HedgePlan(None, HedgeReason.TOO_FEW_SAMPLES)
    assert hedger([100.0] * 50).plan(0).why is HedgeReason.PERCENTILE


def test_the_delay_is_a_percentile_of_the_times_to_first_content():
    plan = hedger([100.0] * 90 + [2000.0] * 10, percentile=0.85).plan(0)
    assert plan.delay_s == pytest.approx(0.1, rel=0.1)
    plan = hedger([100.0] * 90 + [2000.0] * 10, percentile=0.95).plan(0)
    assert plan.delay_s == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize(
    ("ttft_ms", "expected"),
    [
        (10.0, HedgePlan(0.2, HedgeReason.MINIMUM_DELAY)),
        (50_000.0, HedgePlan(3.0, HedgeReason.MAXIMUM_DELAY)),
    ],
)
def test_the_delay_has_bounds(ttft_ms, expected):
    assert hedger([ttft_ms] * 100, minimum_delay_s=0.2, maximum_delay_s=3.0).plan(0) == expected


def test_the_delay_follows_the_model():
    made = hedger([100.0] * 100)
    assert made.plan(0).delay_s == pytest.approx(0.1, rel=0.1)
    for step in range(200):
        made.observe(1000.0, 2 * SECOND + step)
    assert made.plan(2 * SECOND + 200).delay_s == pytest.approx(1.0, rel=0.1)


def test_samples_that_are_too_old_are_forgotten():
    made = hedger([100.0] * 100)
    assert made.plan(0).delay_s is not None
    assert made.plan(121 * SECOND).why is HedgeReason.TOO_FEW_SAMPLES


def test_when_the_share_is_used_up_nobody_waits_for_a_second_call():
    made = hedger([100.0] * 100, max_share=0.05)
    plans = [made.plan(0) for _ in range(20)]
    assert [plan.why for plan in plans] == [HedgeReason.SHARE_USED_UP] * 19 + [HedgeReason.PERCENTILE]
    assert made.start(0)
    assert not made.start(0)
    assert made.plan(0) == HedgePlan(None, HedgeReason.SHARE_USED_UP)


@given(st.lists(st.tuples(st.integers(0, SECOND), st.booleans()), max_size=300), st.integers(1, 30))
def test_second_calls_never_exceed_their_share(exchanges, percent):
    made, now, started = hedger([100.0] * 60, max_share=percent / 100), 0, 0
    for number, (passed, slow) in enumerate(exchanges, 1):
        now += passed
        plan = made.plan(now)
        if slow and plan.delay_s is not None:
            started += made.start(now + int(plan.delay_s * SECOND))
        assert started <= number * percent / 100 + 1e-9


@pytest.mark.parametrize(
    "wrong",
    [{"percentile": 1}, {"percentile": 0}, {"max_share": 0}, {"minimum_delay_s": 11}, {"minimum_samples": 0}],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError):
        HedgePolicy(**wrong)
