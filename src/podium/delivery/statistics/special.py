"""Distribution functions that the standard library lacks, to some 12 digits.

Methods: series and continued fractions by Lentz's method, as in Numerical Recipes, 3rd edition, chapters 6.2 and 6.4.
"""

from math import erfc, exp, inf, lgamma, log, log1p, pi, sqrt
from statistics import NormalDist

__all__ = [
    "beta_cdf",
    "chi_square_survival",
    "log_beta",
    "log_normal_cdf",
    "normal_cdf",
    "normal_quantile",
    "student_quantile",
    "student_survival",
]

_TINY = 1e-300
_PRECISION = 1e-15
_MOST_TERMS = 10_000
_MOST_STEPS = 200
_SMALLEST_STEP = 1e-8  # of the whole; what is left after it is about its square
_MANY_DEGREES = 10_000
_FAR_LEFT = -30.0  # below, 1 - erf has few digits left
_NORMAL = NormalDist()


def normal_cdf(z: float) -> float:
    """The standard normal's probability below `z`."""
    return 0.5 * erfc(-z / sqrt(2))


def log_normal_cdf(z: float) -> float:
    """Its logarithm; far to the left by the asymptotic series."""
    if z > _FAR_LEFT:
        return log(normal_cdf(z))
    return -z * z / 2 - log(-z) - log(2 * pi) / 2 + log1p(-1 / (z * z) + 3 / z**4)


def normal_quantile(probability: float) -> float:
    """The `z` with this probability below it; infinite for 0 and 1."""
    if not 0 < probability < 1:
        return inf if probability >= 1 else -inf
    return _NORMAL.inv_cdf(probability)


def log_beta(a: float, b: float) -> float:
    """The logarithm of the beta function."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def chi_square_survival(statistic: float, degrees: int) -> float:
    """The probability that a chi-square variable of so many degrees of freedom is larger."""
    if statistic <= 0:
        return 1.0
    a, x = degrees / 2, statistic / 2
    scale = exp(a * log(x) - x - lgamma(a))
    return 1 - scale * _gamma_series(a, x) if x < a + 1 else scale * _gamma_fraction(a, x)


def beta_cdf(x: float, a: float, b: float) -> float:
    """The probability that a Beta(a, b) variable is below `x`."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    scale = exp(a * log(x) + b * log1p(-x) - log_beta(a, b))
    if x < (a + 1) / (a + b + 2):
        return scale * _beta_fraction(x, a, b) / a
    return 1 - scale * _beta_fraction(1 - x, b, a) / b


def student_survival(t: float, degrees: float) -> float:
    """The probability that Student's t with so many degrees of freedom is larger."""
    tail = 0.5 * beta_cdf(degrees / (degrees + t * t), degrees / 2, 0.5)
    return tail if t >= 0 else 1 - tail


def student_quantile(probability: float, degrees: float) -> float:
    """The `t` with this probability below it; infinite for 0 and 1."""
    if not 0 < probability < 1:
        return inf if probability >= 1 else -inf
    if probability == 0.5:  # noqa: PLR2004 - the middle
        return 0.0
    tail = min(probability, 1 - probability)
    t = _student_above(tail, degrees)
    return t if probability > 0.5 else -t  # noqa: PLR2004 - the right half


def _student_above(tail: float, degrees: float) -> float:
    """The `t` > 0 with this probability, below a half, above it.

    By Newton's method from the normal's quantile: to the right of 0 the survival is convex, so that all steps but the
    first go to the right and none goes too far. With many degrees of freedom by the expansion of Abramowitz and Stegun,
    26.7.5, whose next term is below 1e-12 there.
    """
    t = -normal_quantile(tail)
    if degrees >= _MANY_DEGREES:
        first, second = (t**3 + t) / 4, (5 * t**5 + 16 * t**3 + 3 * t) / 96
        third = (3 * t**7 + 19 * t**5 + 17 * t**3 - 15 * t) / 384
        return t + first / degrees + second / degrees**2 + third / degrees**3
    for _ in range(_MOST_STEPS):
        step = (student_survival(t, degrees) - tail) / _student_density(t, degrees)
        t = max(t + step, t / 2)
        if abs(step) <= _SMALLEST_STEP * t:
            break
    return t


def _student_density(t: float, degrees: float) -> float:
    return exp(-(degrees + 1) / 2 * log1p(t * t / degrees) - log_beta(degrees / 2, 0.5) - log(degrees) / 2)


def _gamma_series(a: float, x: float) -> float:
    term = total = 1 / a
    for k in range(1, _MOST_TERMS):
        term *= x / (a + k)
        total += term
        if term < total * _PRECISION:
            break
    return total


def _gamma_fraction(a: float, x: float) -> float:
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    result = d
    for k in range(1, _MOST_TERMS):
        numerator = -k * (k - a)
        b += 2
        d = 1 / _away_from_zero(numerator * d + b)
        c = _away_from_zero(b + numerator / c)
        result *= c * d
        if abs(c * d - 1) < _PRECISION:
            break
    return result


def _beta_fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    result = d
    for k in range(1, _MOST_TERMS):
        even = k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k))
        odd = -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1))
        for numerator in (even, odd):
            d = 1 / _away_from_zero(1 + numerator * d)
            c = _away_from_zero(1 + numerator / c)
            result *= c * d
        if abs(c * d - 1) < _PRECISION:
            break
    return result


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
