"""Did each arm get its share of the subjects? If not, what is seen in the arms may be the doing of the split.

Subjects are counted, each once: exchanges of one subject come in bursts, and would cry wolf. Two tests: Pearson's
chi-square for reports, which are looked at once, and the mixture of multinomials of Lindon and Malek, "Anytime-valid
inference for multinomial count data" (NeurIPS 2022, arXiv:2011.03567), which stays valid at every tick.

An arm is judged once 8 of its subjects were to be expected (GrowthBook's minimum); that it has none is seen too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, fsum, lgamma, log

from podium.delivery.statistics.special import chi_square_survival

__all__ = ["ALPHA", "MINIMUM_EXPECTED", "SampleRatio", "chi_square_p_value", "sample_ratio", "sequential_p_value"]

ALPHA = 0.001  # usual for this check: it is looked at much more often than it is wrong
MINIMUM_EXPECTED = 8.0
_CONCENTRATION = (
    100.0  # of the mixture around the declared shares; half a point off is found after some 100,000 subjects
)


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """How the arms' subjects compare to their shares."""

    counts: tuple[int, ...]
    expected: tuple[float, ...]
    p_value: float  # of one look
    sequential_p_value: float  # of any number of looks
    enough: bool  # each arm should have had some subjects by now
    mismatch: bool  # by the sequential test


def sample_ratio(counts: Sequence[int], shares: Sequence[float], *, alpha: float = ALPHA) -> SampleRatio:
    """Compare counts of subjects to shares; these need not add up to 1. Arms without a share are left out."""
    pairs = [(count, share) for count, share in zip(counts, shares, strict=True) if share > 0]
    if not pairs:
        return SampleRatio((), (), 1.0, 1.0, enough=False, mismatch=False)
    seen, meant = [count for count, _ in pairs], [share for _, share in pairs]
    expected = tuple(sum(seen) * share / sum(meant) for share in meant)
    enough = len(pairs) > 1 and min(expected) >= MINIMUM_EXPECTED
    always_valid = sequential_p_value(seen, meant)
    return SampleRatio(
        tuple(seen), expected, chi_square_p_value(seen, meant), always_valid, enough, enough and always_valid < alpha
    )


def chi_square_p_value(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Pearson's; 1 when nothing was counted. Shares are positive."""
    total, whole = sum(counts), fsum(shares)
    if not total:
        return 1.0
    expected = [total * share / whole for share in shares]
    statistic = fsum((count - mean) ** 2 / mean for count, mean in zip(counts, expected, strict=True))
    return chi_square_survival(statistic, len(counts) - 1) if len(counts) > 1 else 1.0


def sequential_p_value(counts: Sequence[int], shares: Sequence[float]) -> float:
    """One over the Bayes factor against the shares: at no time does chance make it large often. Shares are positive."""
    whole = fsum(shares)
    priors = [_CONCENTRATION * share / whole for share in shares]
    log_odds = (
        fsum(lgamma(prior + count) - lgamma(prior) for prior, count in zip(priors, counts, strict=True))
        - lgamma(_CONCENTRATION + sum(counts))
        + lgamma(_CONCENTRATION)
        - fsum(count * log(share / whole) for count, share in zip(counts, shares, strict=True))
    )
    return exp(min(0.0, -log_odds))
