"""Shares for the arms of an adaptive experiment: each gets traffic as likely as it is the best one.

Thompson, "On the likelihood that one unknown probability exceeds another" (1933). What sampling would get on average is
computed by integration instead: the same sums always give the same shares. Which arms may take part at all (guardrails)
is the caller's to say. Shares of subjects who keep their arm move slowly by nature.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import cos, exp, log, log1p, pi, prod, sqrt

from podium.delivery.statistics.special import beta_cdf, log_beta, normal_cdf
from podium.delivery.statistics.sums import Sums

__all__ = ["BetaBelief", "NormalBelief", "best_probabilities", "thompson_weights"]

_NODES = 16  # of Gauss's rule, on each piece
_CUTS = (-9.0, -3.0, 0.0, 3.0, 9.0)  # standard deviations from a belief's middle, where pieces begin
_FAR = (-30.0, *_CUTS, 30.0)  # a beta's tails are longer: 30 leave e^-31
_NOTHING = 1e-12  # less than this of the whole is left out


@dataclass(frozen=True, slots=True)
class BetaBelief:
    """What is known of a rate after hits and misses, from a uniform prior on."""

    hits: float
    misses: float

    def marks(self) -> list[float]:
        """Rates among which nearly all of the belief lies, and where its density bends."""
        a, b = self.hits + 1, self.misses + 1
        middle, deviation = a / (a + b), sqrt(a * b / (a + b + 1)) / (a + b)
        return [min(max(middle + cut * deviation, 0.0), 1.0) for cut in _FAR]

    def density(self, rate: float) -> float:
        """Of the rate, which is neither 0 nor 1."""
        return exp(self.hits * log(rate) + self.misses * log1p(-rate) - log_beta(self.hits + 1, self.misses + 1))

    def below(self, rate: float) -> float:
        """The probability of a lower rate."""
        return beta_cdf(rate, self.hits + 1, self.misses + 1)


@dataclass(frozen=True, slots=True)
class NormalBelief:
    """What is known of a mean: its estimate, and how sure that is."""

    mean: float
    deviation: float  # of the estimate, not of the samples

    @classmethod
    def of_sums(cls, sums: Sums) -> "NormalBelief | None":
        """Of a ratio metric; None as long as its variance cannot be told."""
        ratio = sums.ratio
        if ratio is None or sums.n <= 1:
            return None
        residual = max(0.0, sums.yy - 2 * ratio * sums.xy + ratio * ratio * sums.xx)
        return cls(ratio, sqrt(residual / (sums.n - 1) / sums.n) / sums.x) if residual else None

    def marks(self) -> list[float]:
        """Means among which nearly all of the belief lies, and where its density bends."""
        return [self.mean + cut * self.deviation for cut in _CUTS]

    def density(self, value: float) -> float:
        """Of the mean."""
        z = (value - self.mean) / self.deviation
        return exp(-z * z / 2) / (self.deviation * sqrt(2 * pi))

    def below(self, value: float) -> float:
        """The probability of a lower mean."""
        return normal_cdf((value - self.mean) / self.deviation)


def best_probabilities(beliefs: Sequence[BetaBelief | NormalBelief], *, higher_is_better: bool = True) -> list[float]:
    """How likely each arm is the best one; they add up to 1."""
    raw = [_chance(place, beliefs, higher_is_better=higher_is_better) for place in range(len(beliefs))]
    whole = sum(raw)
    return [chance / whole for chance in raw]


def thompson_weights(
    beliefs: Sequence[BetaBelief | NormalBelief | None], *, floor: float, higher_is_better: bool = True
) -> list[float]:
    """Each arm's share: `floor` for each, the rest as likely as it is best. Even, while anything is unknown (None)."""
    count = len(beliefs)
    if not 0 <= floor * count <= 1:
        raise ValueError("the arms' floors together lie between nothing and everything")
    known = [belief for belief in beliefs if belief is not None]
    if len(known) < count:
        return [1 / count] * count
    chances = best_probabilities(known, higher_is_better=higher_is_better)
    return [floor + (1 - floor * count) * chance for chance in chances]


def _chance(place: int, beliefs: Sequence[BetaBelief | NormalBelief], *, higher_is_better: bool) -> float:
    """The integral of an arm's density times the probability that all others are worse, piece by piece."""
    own = beliefs[place]
    others = [belief for other, belief in enumerate(beliefs) if other != place]
    low, *_, high = own.marks()
    cuts = sorted({mark for belief in beliefs for mark in belief.marks() if low <= mark <= high})
    total = 0.0
    for begin, end in pairwise(cuts):
        half, middle = (end - begin) / 2, (begin + end) / 2
        for node, weight in _gauss():
            value = middle + half * node
            if (share := weight * half * own.density(value)) > _NOTHING:
                total += share * prod(
                    other.below(value) if higher_is_better else 1 - other.below(value) for other in others
                )
    return total


@cache
def _gauss() -> list[tuple[float, float]]:
    """Nodes and weights of the Gauss-Legendre rule on [-1, 1], by Newton's rule on the polynomial."""
    found = []
    for k in range(_NODES):
        x, slope = cos(pi * (k + 0.75) / (_NODES + 0.5)), 1.0
        for _ in range(10):
            before, now = 1.0, x
            for degree in range(2, _NODES + 1):
                before, now = now, ((2 * degree - 1) * x * now - (degree - 1) * before) / degree
            slope = _NODES * (x * now - before) / (x * x - 1)
            x -= now / slope
        found.append((x, 2 / ((1 - x * x) * slope * slope)))
    return found
