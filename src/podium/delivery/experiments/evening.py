"""Exchanges of several spans, in which arms had other shares, weighed so that they may be taken together.

Added up as they are, a day that was bad for everybody would be in one arm more than in the other (Simpson's paradox).
So each arm's exchanges of a span are weighed such that every span has the same part in every arm: the part that it has
in all of them. That is the estimate by strata, with strata of time; shares depend on what was seen before, never on the
span's own exchanges, so within each span arms differ by chance alone (Zhang, Janson and Murphy, "Inference for batched
bandits", NeurIPS 2020).
"""

from collections.abc import Collection, Iterable, Mapping

from podium.delivery.analysis.observed import ArmSeen, Cell

__all__ = ["Factors", "even_factors", "weighed"]

Factors = Mapping[tuple[str, int], float]  # by arm and span; what is not in here is left out
_FEWEST = 10  # exchanges of each arm in a span: fewer would count for very many
_GRAIN = 2.0**20  # factors are whole numbers of these, so that sums of counts stay exact


def even_factors(seen: Iterable[ArmSeen], arms: Collection[str]) -> dict[tuple[str, int], float]:
    """The factor of each arm in each span in which all of `arms` had some exchanges, ten at least.

    Each arm has as many weighed exchanges as it had in these spans.
    """
    counts: dict[int, dict[str, int]] = {}
    for one in seen:
        if one.name in arms and one.exchanges >= _FEWEST:
            counts.setdefault(one.span_us, {})[one.name] = one.exchanges
    common = {span: by_arm for span, by_arm in counts.items() if len(by_arm) == len(set(arms))}
    everything = sum(sum(by_arm.values()) for by_arm in common.values())
    totals = {arm: sum(by_arm[arm] for by_arm in common.values()) for arm in set(arms)}
    return {
        (arm, span): round(sum(by_arm.values()) / everything * totals[arm] / count * _GRAIN) / _GRAIN
        for span, by_arm in sorted(common.items())
        for arm, count in sorted(by_arm.items())
    }


def weighed(cells: Iterable[tuple[int, Cell]], factors: Factors) -> tuple[Cell, ...]:
    """Cells with the spans that they are of, weighed and added up: what a database does, in memory."""
    found: dict[tuple[str, str, int], list[float]] = {}
    for span, cell in cells:
        factor = factors.get((cell.arm, span))
        if factor is None:
            continue
        row = found.setdefault((cell.arm, cell.backend, cell.cluster), [0.0] * len(cell.totals))
        for at, total in enumerate(cell.totals):
            row[at] += factor * total
    return tuple(Cell(*place, tuple(row)) for place, row in sorted(found.items()))
