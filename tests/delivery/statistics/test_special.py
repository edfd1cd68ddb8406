"""The distribution functions agree with scipy's."""

from math import inf, log

import pytest
from scipy import special as scipy_special
from scipy import stats

from podium.delivery.statistics.special import (
    beta_cdf,
    chi_square_survival,
    log_beta,
    log_normal_cdf,
    normal_cdf,
    normal_quantile,
    student_quantile,
    student_survival,
)


@pytest.mark.parametrize("z", [-300.0, -40.0, -30.0, -29.9, -8.0, -1.0, 0.0, 0.3, 5.0])
def test_the_normal_agrees_with_scipy(z):
    assert normal_cdf(z) == pytest.approx(stats.norm.cdf(z), rel=1e-12)
    assert log_normal_cdf(z) == pytest.approx(stats.norm.logcdf(z), rel=1e-8)


@pytest.mark.parametrize("p", [1e-12, 0.001, 0.3, 0.5, 0.975, 1 - 1e-9])
def test_the_normal_quantile_agrees_with_scipy(p):
    assert normal_quantile(p) == pytest.approx(stats.norm.ppf(p), rel=1e-9, abs=1e-12)


def test_the_normal_has_no_end():
    assert normal_quantile(0) == -inf
    assert normal_quantile(1) == inf


@pytest.mark.parametrize("degrees", [1, 2, 3, 7, 40, 999])
@pytest.mark.parametrize("x", [0.0, 1e-9, 0.5, 3.84, 10.83, 60.0, 1200.0])
def test_chi_square_agrees_with_scipy(degrees, x):
    assert chi_square_survival(x, degrees) == pytest.approx(stats.chi2.sf(x, degrees), rel=1e-9, abs=1e-14)


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (1, 1), (3, 500), (2000, 8000), (1e5, 3e6)])
@pytest.mark.parametrize("x", [0.0, 1e-6, 0.03, 0.2, 0.5, 0.999, 1.0])
def test_beta_agrees_with_scipy(a, b, x):
    assert beta_cdf(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), rel=1e-7, abs=1e-12)
    assert log_beta(a, b) == pytest.approx(scipy_special.betaln(a, b), rel=1e-9)


@pytest.mark.parametrize("degrees", [1.0, 2.5, 10.0, 99.0, 5e4])
@pytest.mark.parametrize("t", [-4.0, -0.1, 0.0, 1.96, 12.0])
def test_student_agrees_with_scipy(degrees, t):
    assert student_survival(t, degrees) == pytest.approx(stats.t.sf(t, degrees), rel=1e-8, abs=1e-14)


@pytest.mark.parametrize("degrees", [1.0, 2.5, 10.0, 99.0, 9_999.0, 10_000.0, 5e4, 1e9])
@pytest.mark.parametrize("p", [1e-9, 0.0005, 0.3, 0.5, 0.51, 0.975, 0.9999])
def test_student_quantiles_agree_with_scipy(degrees, p):
    assert student_quantile(p, degrees) == pytest.approx(stats.t.ppf(p, degrees), rel=1e-8, abs=1e-12)


def test_far_to_the_left_both_ways_to_the_logarithm_meet():
    assert log_normal_cdf(-29.999) == pytest.approx(log(normal_cdf(-29.999)))
    assert log_normal_cdf(-30.001) == pytest.approx(log_normal_cdf(-29.999), rel=1e-3)
