"""Effects agree with gbstats, scipy, statsmodels and the bootstrap.

gbstats is GrowthBook's engine. Its release 0.8.0 wants numpy < 2 and cannot stand beside ours, so what it said of the
rows below is written here.
"""

from dataclasses import replace
from math import sqrt
from statistics import NormalDist

import numpy as np
import pytest
import statsmodels.api
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from podium.delivery.statistics.effect import compare, variance_reduction
from podium.delivery.statistics.intervals import Side, fixed_interval, fixed_p_value
from podium.delivery.statistics.sequences import sequential_interval
from podium.delivery.statistics.sums import NO_SUMS, Subject, Sums

ROWS_A = [(3, 2), (7, 5), (1, 4), (9, 6), (4, 3), (2, 2), (8, 7), (5, 5)]
ROWS_B = [(5, 2), (9, 5), (3, 4), (9, 4), (6, 3), (4, 2), (12, 7), (6, 5), (10, 6)]


def ratios(rows):
    return Sums.of(Subject(y, x) for y, x in rows)


def means(values):
    return Sums.of(Subject(float(value)) for value in values)


@pytest.mark.parametrize(
    ("relative", "estimate", "variance"),
    [(False, 0.5371517027863777, 0.04299042520039764), (True, 0.46828609986504727, 0.050389437341575014)],
)
def test_ratio_metrics_agree_with_gbstats(relative, estimate, variance):
    effect = compare(ratios(ROWS_A), ratios(ROWS_B), relative=relative)

    assert (effect.estimate, effect.variance) == (pytest.approx(estimate), pytest.approx(variance))
    assert (effect.samples, effect.relative) == (34 + 38, relative)


@pytest.mark.parametrize(
    ("relative", "estimate", "variance"),
    [(False, 2.2361111111111107, 2.0636849647266318), (True, 0.4586894586894586, 0.13672516760341347)],
)
def test_means_agree_with_gbstats(relative, estimate, variance):
    effect = compare(means(y for y, _ in ROWS_A), means(y for y, _ in ROWS_B), relative=relative)

    assert (effect.estimate, effect.variance) == (pytest.approx(estimate), pytest.approx(variance))


def test_intervals_of_a_ratio_agree_with_gbstats():
    interval = fixed_interval(compare(ratios(ROWS_A), ratios(ROWS_B)))

    assert (interval.lower, interval.upper) == (
        pytest.approx(0.0952132272041663),
        pytest.approx(0.979090178368589),
    )


@settings(deadline=None)
@given(
    *[st.lists(st.integers(-50, 50), min_size=3, max_size=20).filter(lambda rows: len(set(rows)) > 1)] * 2,
    st.integers(-5, 5),
)
def test_means_agree_with_welchs_test_of_scipy(one, other, null):
    effect = compare(means(one), means(other))
    for side, alternative in ((Side.BOTH, "two-sided"), (Side.LOWER, "greater"), (Side.UPPER, "less")):
        expected = stats.ttest_ind(np.array(other) - null, one, equal_var=False, alternative=alternative)
        interval = expected.confidence_interval(0.9)

        found = fixed_interval(effect, alpha=0.1, side=side)

        assert fixed_p_value(effect, null=null, side=side) == pytest.approx(expected.pvalue, abs=1e-9)
        assert (found.lower + 0, found.upper + 0) == pytest.approx((interval.low + null, interval.high + null))


@settings(deadline=None)
@given(st.integers(2, 400), st.integers(2, 400), st.data())
def test_differences_of_rates_agree_with_statsmodels(one, other, data):
    hits = [data.draw(st.integers(1, trials - 1)) for trials in (one, other)]
    arms = [
        Sums.of([Subject(1)] * hit + [Subject(0)] * (trials - hit))
        for hit, trials in zip(hits, (one, other), strict=True)
    ]
    lower, upper = confint_proportions_2indep(hits[1], other, hits[0], one, method="wald", compare="diff")
    before, after = (sums.yy / sums.n**2 for sums in arms)  # statsmodels divides by n where samples have n - 1

    effect = compare(*arms)

    half_width = NormalDist().inv_cdf(0.975) * sqrt(before + after)
    assert effect.variance == pytest.approx(before * one / (one - 1) + after * other / (other - 1))
    assert (effect.estimate - half_width, effect.estimate + half_width) == pytest.approx((lower, upper), abs=1e-9)


def test_cuped_agrees_with_a_regression_by_statsmodels():
    random = np.random.default_rng(5)
    z = random.normal(10, 3, 400)
    arm = random.integers(0, 2, 400)
    y = 2 * z + arm * 0.7 + random.normal(0, 2, 400)
    fit = statsmodels.api.OLS(y, np.column_stack([np.ones(400), arm, z])).fit()
    sums = [
        Sums.of(Subject(float(a), 1.0, float(b)) for a, b in zip(y[arm == k], z[arm == k], strict=True)) for k in (0, 1)
    ]

    adjusted, plain = compare(*sums, cuped=True), compare(*sums)

    assert adjusted.estimate == pytest.approx(fit.params[1], rel=1e-9)
    assert sqrt(adjusted.variance) == pytest.approx(fit.bse[1], rel=0.01)
    assert adjusted.variance < plain.variance / 5
    assert (adjusted.baseline, adjusted.candidate) == (plain.baseline, plain.candidate)


def clustered(random, subjects, rate=None):
    """Exchanges of subjects who differ, many of some and few of others."""
    x = np.ceil(random.pareto(2.5, subjects) * 3 + 0.01)
    if rate is not None:
        return x, random.binomial(x.astype(int), random.beta(2, 2 / rate - 2, subjects)).astype(float)
    return x, x * random.lognormal(0, 0.4, subjects) + random.normal(0, 0.3, subjects) * np.sqrt(x)


@pytest.mark.parametrize("rate", [None, 0.05])
def test_the_variance_of_clustered_ratios_is_what_the_bootstrap_finds(rate):
    random = np.random.default_rng(11)
    x, y = clustered(random, 2000, rate)
    picks = random.integers(0, 2000, (2000, 2000))
    bootstrap = (y[picks].sum(axis=1) / x[picks].sum(axis=1)).std()
    sums = Sums.of(Subject(float(a), float(b)) for a, b in zip(y, x, strict=True))

    effect = compare(sums, sums, rate=rate is not None)

    assert sqrt(effect.variance / 2) == pytest.approx(bootstrap, rel=0.1)


def test_cuped_of_a_clustered_ratio_takes_out_what_subjects_did_before():
    random = np.random.default_rng(12)
    x = np.ceil(random.pareto(3, 4000) * 4 + 0.01)
    own = random.normal(10, 2, 4000)
    y = x * own + random.normal(0, 1, 4000) * np.sqrt(x)
    z = x * (own - 10)
    arms = [
        Sums.of(Subject(*map(float, row)) for row in zip(y[half], x[half], z[half], strict=True))
        for half in (slice(0, 2000), slice(2000, None))
    ]

    plain, adjusted = compare(*arms), compare(*arms, cuped=True)

    assert adjusted.variance < plain.variance / 5
    assert abs(adjusted.estimate) < 4 * sqrt(adjusted.variance)


def by_arm(random, sizes):
    """Ratios of subjects whose ratio of before is known: rows of y, x, y before, x before."""
    for size, level in sizes:
        x, x_before = (np.ceil(random.pareto(3, size) * 4 + 0.01) for _ in range(2))
        own = random.lognormal(level, 0.5, size)
        y, y_before = (many * own + random.normal(0, 1, size) * np.sqrt(many) for many in (x, x_before))
        yield np.array([y, x, y_before, x_before])


def with_ratio_before(rows):
    """`z` of each subject as podium.delivery.analysis.history makes it: its mean is the ratio of before."""
    y, x, y_before, x_before = rows
    ratio = y_before.sum() / x_before.sum()
    z = ratio + (y_before - ratio * x_before) / x_before.mean()
    return Sums.of(Subject(*map(float, row)) for row in zip(y, x, z, strict=True))


@pytest.mark.parametrize("relative", [False, True])
def test_cuped_of_ratios_agrees_with_the_delta_method_by_numpy(relative):
    arms = list(by_arm(np.random.default_rng(3), [(500, 0.0), (900, 0.2)]))
    means = [rows.mean(axis=1) for rows in arms]
    linear = [
        [(a - m[0] / m[1] * b) / m[1], (c - m[2] / m[3] * d) / m[3]]
        for (a, b, c, d), m in zip(arms, means, strict=True)
    ]
    theta = (  # one slope for both arms, each around its own mean
        statsmodels.api.OLS(np.concatenate([y for y, _ in linear]), np.concatenate([z for _, z in linear]))
        .fit()
        .params[0]
    )
    share = 900 / 1400

    def effect(at):
        before, after, z_before, z_after = at[0] / at[1], at[4] / at[5], at[2] / at[3], at[6] / at[7]
        middle = (1 - share) * z_before + share * z_after
        low, high = before - theta * (z_before - middle), after - theta * (z_after - middle)
        return high / low - 1 if relative else high - low

    at, step = np.concatenate(means), 1e-6
    slope = np.array([(effect(at + step * one) - effect(at - step * one)) / (2 * step) for one in np.eye(8)])
    variance = sum(
        slope[part] @ np.cov(rows) @ slope[part] / rows.shape[1]
        for part, rows in zip((slice(0, 4), slice(4, 8)), arms, strict=True)
    )

    found = compare(*map(with_ratio_before, arms), relative=relative, cuped=True)

    assert (found.estimate, found.variance) == (pytest.approx(effect(at), rel=1e-6), pytest.approx(variance, rel=1e-6))


def test_cuped_of_means_agrees_with_welchs_test_of_adjusted_values_by_scipy():
    random = np.random.default_rng(6)
    z = [random.normal(10, 3, size) for size in (300, 120)]
    y = [1.5 * one + random.normal(shift, 2, len(one)) for shift, one in zip((0, 0.5), z, strict=True)]
    arm = np.repeat([0, 1], (300, 120))
    fit = statsmodels.api.OLS(np.concatenate(y), np.column_stack([arm == 0, arm == 1, np.concatenate(z)])).fit()
    adjusted = [one - fit.params[2] * of_z for one, of_z in zip(y, z, strict=True)]
    expected = stats.ttest_ind(adjusted[1], adjusted[0], equal_var=False)
    interval = expected.confidence_interval(0.95)
    sums = [
        Sums.of(Subject(float(a), 1.0, float(b)) for a, b in zip(one, of_z, strict=True))
        for one, of_z in zip(y, z, strict=True)
    ]

    found = fixed_interval(compare(*sums, cuped=True))

    assert (found.lower, found.upper) == (pytest.approx(interval.low, rel=1e-6), pytest.approx(interval.high, rel=1e-6))
    assert fixed_p_value(compare(*sums, cuped=True)) == pytest.approx(expected.pvalue, rel=1e-6)
    plain, less = compare(*sums), compare(*sums, cuped=True)
    assert variance_reduction(*sums) == pytest.approx(1 - less.variance / plain.variance)
    assert variance_reduction(*sums) > 0.5


def test_an_arm_without_history_has_no_variance_taken_out():
    some = Sums.of([Subject(1, 1, 2), Subject(2, 1, 3), Subject(3, 1, 1)])

    assert variance_reduction(some, means([1, 2, 3])) is None
    assert variance_reduction(some, some) is not None
    assert variance_reduction(replace(some, n=1), some) is None


def test_without_a_history_cuped_changes_nothing():
    assert compare(ratios(ROWS_A), ratios(ROWS_B), cuped=True) == compare(ratios(ROWS_A), ratios(ROWS_B))


def test_no_errors_are_not_certainty():
    clean = Sums.of([Subject(0, 1)] * 100)

    effect = compare(clean, clean, rate=True)

    assert effect.variance == pytest.approx(2 * (1 / 102) * (101 / 102) / 100)
    assert compare(clean, clean).variance == 0


def test_an_arm_that_says_nothing_has_no_effect():
    some = ratios(ROWS_A)

    assert compare(NO_SUMS, some) is None
    assert compare(some, Sums.of([Subject(1)])) is None
    assert compare(some, Sums.of([Subject(0, 0), Subject(0, 0)])) is None
    assert compare(Sums.of([Subject(0)] * 9), some, relative=True) is None


def test_values_that_never_differ_do_not_differ_between_arms():
    one = Sums.from_totals(*(60, 60 * 0.1, 60, 60 * 0.1**2, 60, 60 * 0.1))
    other = Sums.of([Subject(0.1 * 7, 7)] * 100)

    effect = compare(one, other)

    assert abs(effect.estimate) < 1e-15
    assert not sequential_interval(effect, side=Side.LOWER).above(0)
    assert not sequential_interval(effect, side=Side.UPPER).below(0)
    assert sequential_interval(compare(one, Sums.of([Subject(0.11)] * 60))).above(0)


def test_certain_effects_have_certain_p_values():
    certain = compare(means([1] * 9), means([2] * 9))

    assert fixed_p_value(certain) < 1e-30
    assert fixed_p_value(certain, null=1) == 1
    assert fixed_p_value(certain, side=Side.LOWER) < 1e-30
    assert fixed_p_value(certain, side=Side.UPPER) == 1
    assert fixed_p_value(replace(certain, variance=0)) == 0
    assert fixed_p_value(replace(certain, variance=0), null=1) == 1
    assert fixed_p_value(replace(certain, variance=0), side=Side.UPPER) == 1
