"""What several metrics at once cost: corrections of p-values, and of the levels of intervals.

Holm (1979) keeps the chance of any false alarm, Benjamini and Hochberg (1995) the share of false ones among alarms.
Always-valid p-values may be corrected like others. Intervals are not ordered by what they show: theirs is Bonferroni's.
"""

from collections.abc import Sequence

__all__ = ["benjamini_hochberg", "bonferroni", "holm", "split_alpha"]


def bonferroni(p_values: Sequence[float]) -> list[float]:
    """Each times how many there are."""
    return [min(1.0, p_value * len(p_values)) for p_value in p_values]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the same order: never larger than Bonferroni's, and as safe."""
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(_ascending(p_values)):
        worst = max(worst, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = worst
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the same order; those at most q are discoveries, a share q of them false."""
    adjusted, best = [0.0] * len(p_values), 1.0
    for rank, place in reversed(list(enumerate(_ascending(p_values), start=1))):
        best = min(best, p_values[place] * len(p_values) / rank)
        adjusted[place] = best
    return adjusted


def split_alpha(alpha: float, weights: Sequence[float]) -> list[float]:
    """Each interval's level, in proportion to the weights, so that all hold together but for `alpha`."""
    whole = sum(weights)
    return [alpha * weight / whole for weight in weights] if whole else [0.0] * len(weights)


def _ascending(p_values: Sequence[float]) -> list[int]:
    return sorted(range(len(p_values)), key=p_values.__getitem__)
