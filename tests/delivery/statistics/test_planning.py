"""Plans agree with statsmodels, and with what simulations then see."""

from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import NormalIndPower, normal_power_het, normal_sample_size_one_tail, tt_ind_solve_power

from podium.delivery.statistics.intervals import Side
from podium.delivery.statistics.planning import (
    Expected,
    Look,
    days,
    detection_power,
    minimum_detectable_effect,
    sample_size,
    subjects_of,
)
from podium.delivery.statistics.sequences import multiplier
from podium.delivery.statistics.sums import Subject, Sums


@settings(deadline=None)
@given(st.floats(0.02, 1.5), st.integers(2, 5000), st.floats(0.001, 0.2), st.floats(0.2, 5))
def test_power_of_means_agrees_with_statsmodels(effect, samples, alpha, ratio):
    mean = Expected.of_mean(10, 2)
    for side, word in ((Side.BOTH, "two-sided"), (Side.LOWER, "larger")):
        expected = NormalIndPower().power(effect / 2, samples, alpha, ratio, word)

        found = detection_power(mean, effect, samples, Look(alpha=alpha, side=side, ratio=ratio))

        assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("effect", "power"), [(0.5, 0.8), (0.1, 0.9), (2, 0.5)])
def test_samples_for_means_agree_with_statsmodels(effect, power):
    found = sample_size(Expected.of_mean(10, 2), effect, power=power)

    assert found - 1 <= NormalIndPower().solve_power(effect / 2, None, 0.05, power) <= found
    assert tt_ind_solve_power(effect / 2, None, 0.05, power) == pytest.approx(
        found, abs=3
    )  # Student's needs 1 or 2 more


@pytest.mark.parametrize(("rate", "effect"), [(0.01, 0.01), (0.3, -0.05), (0.5, 0.02)])
def test_samples_for_rates_agree_with_statsmodels(rate, effect):
    deviation = sqrt(rate * (1 - rate) + (rate + effect) * (1 - rate - effect))
    look = Look(side=Side.LOWER if effect > 0 else Side.UPPER)

    found = sample_size(Expected.of_rate(rate), effect, look=look)

    expected = normal_sample_size_one_tail(abs(effect), 0.8, 0.05, deviation, std_alternative=deviation)
    assert found - 1 <= expected <= found
    assert detection_power(Expected.of_rate(rate), effect, 500, look) == pytest.approx(
        normal_power_het(abs(effect), 500, 0.05, deviation, deviation, "larger"), abs=1e-6
    )


@settings(deadline=None)
@given(
    st.sampled_from([Expected.of_mean(300, 200), Expected.of_rate(0.02), Expected.of_rate(0.4, 3)]),
    st.integers(200, 10**6),
    st.sampled_from([None, 5000.0, 100_000.0]),
    st.booleans(),
    st.booleans(),
)
def test_what_so_many_samples_can_show_needs_so_many(expected, samples, tuning, falls, relative):
    look = Look(tuning=tuning, side=Side.UPPER if falls else Side.LOWER, relative=relative)

    effect = minimum_detectable_effect(expected, samples, look=look, falls=falls)

    if effect is not None:
        assert (effect < 0) == falls
        assert detection_power(expected, effect, samples, look) == pytest.approx(0.8, abs=1e-6)
        assert sample_size(expected, effect, look=look) == pytest.approx(samples, abs=2)


def test_a_small_rate_cannot_fall_far():
    assert minimum_detectable_effect(Expected.of_rate(0.001), 500, falls=True) is None
    assert minimum_detectable_effect(Expected.of_rate(0.0), 500, falls=True) is None


def test_what_lies_within_the_margin_is_never_seen():
    look = Look(margin=0.01, side=Side.LOWER)

    assert sample_size(Expected.of_rate(0.02), 0.01, look=look) is None
    assert sample_size(Expected.of_rate(0.02), 0.02, look=look) > sample_size(Expected.of_rate(0.02), 0.02)
    assert minimum_detectable_effect(Expected.of_rate(0.02), 1000, look=look) > 0.01


def test_looking_all_the_time_costs_samples_but_not_many_times_as_many():
    once = sample_size(Expected.of_mean(300, 200), 30)
    always = sample_size(Expected.of_mean(300, 200), 30, look=Look(tuning=2000))

    assert once < always < 3 * once


def test_a_relative_effect_is_a_share_of_the_value():
    mean = Expected.of_mean(200, 50)

    relative = sample_size(mean, 0.1, look=Look(relative=True))

    assert relative > sample_size(mean, 20)  # the baseline that it is a share of is uncertain too
    assert relative == pytest.approx(sample_size(mean, 20), rel=0.15)


def test_against_a_known_value_half_the_samples_do():
    mean = Expected.of_mean(0.5, 0.4)

    known = sample_size(mean, -0.05, look=Look(known_baseline=True))

    assert known == pytest.approx(sample_size(mean, -0.05) / 2, abs=1)


def test_history_saves_samples():
    mean = Expected.of_mean(10, 2)

    assert sample_size(mean.with_history(0.8), 0.1) == pytest.approx(0.36 * sample_size(mean, 0.1), rel=0.01)


def test_traffic_as_it_is_says_what_a_sample_is_worth():
    random = np.random.default_rng(1)
    x = random.integers(1, 20, 5000)
    rates = Sums.of(Subject(float(y), float(k)) for y, k in zip(random.binomial(x, 0.1), x, strict=True))
    means = Sums.of(Subject(float(k * own), float(k)) for k, own in zip(x, random.normal(50, 5, 5000), strict=True))

    rate, mean = Expected.of_sums(rates, rate=True), Expected.of_sums(means)

    assert rate.value == pytest.approx(0.1, rel=0.05)
    assert rate.design_effect == pytest.approx(1, abs=0.1)
    assert mean.variance == pytest.approx(25 * (x**2).mean() / x.mean(), rel=0.1)
    assert subjects_of(mean, 1000) == pytest.approx(100, abs=3)
    assert Expected.of_sums(Sums()) is None


def test_of_few_subjects_a_variance_is_rarely_taken_for_less_than_it_is():
    random = np.random.default_rng(10)
    taken = [Expected.of_sums(Sums.of(map(Subject, random.normal(5, 2, 60).tolist()))).variance for _ in range(300)]

    assert sum(variance < 4 for variance in taken) <= 300 * 0.05
    assert np.median(taken) < 8


def test_a_rate_that_was_never_hit_has_a_plan_too():
    never = Expected.of_sums(Sums.of([Subject(0, 1)] * 1000), rate=True)

    assert 100 < sample_size(never, 0.02, look=Look(side=Side.LOWER)) < 2000


def test_days_at_this_traffic():
    assert days(5000, samples_per_day=20_000, share=0.05) == 5
    assert days(1, samples_per_day=0, share=0.5) == inf


@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_by_the_stated_sample_as_many_are_seen_as_stated_or_more(power):
    """Looked at 200 times on the way there."""
    random = np.random.default_rng(9)
    look = Look(tuning=2000, side=Side.LOWER)
    stated = sample_size(Expected.of_mean(0, 1), 0.15, power=power, look=look)
    looks = np.unique(np.linspace(10, stated, 200).astype(int))
    bounds = np.array([multiplier(2 * n, alpha=0.05, tuning=2000, side=Side.LOWER) for n in looks])
    differences = random.normal(0.15, sqrt(2), (1500, stated)).cumsum(axis=1)[:, looks - 1] / looks

    seen = (differences / np.sqrt(2 / looks) > bounds).any(axis=1).mean()

    assert power - 0.03 <= seen <= power + 0.15
