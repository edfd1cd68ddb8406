"""What was seen of a rollout's arms, as it is read from its sums, and the statistics' view of it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_of
from functools import cached_property
from math import fsum

from msgspec.structs import replace

from podium.core.rollouts import ArmShare, Progress, Rollout
from podium.delivery.analysis.history import Past, covariates
from podium.delivery.analysis.measures import INDEX
from podium.delivery.analysis.tally import CLUSTERS, COUNTS, Tally, span_us
from podium.delivery.buckets import BASELINE, arms_at, steps_of
from podium.delivery.statistics.sums import Sums

__all__ = [
    "ArmSeen",
    "Cell",
    "Observed",
    "comparable",
    "last_comparison",
    "observed_of",
    "reference_of",
    "run_us",
    "shares_of",
    "windows",
]


@dataclass(frozen=True, slots=True)
class Cell:
    """A group of subjects at one backend, all spans together."""

    arm: str
    backend: str
    cluster: int
    totals: tuple[float, ...]  # as podium.delivery.analysis.tally lays them out


@dataclass(frozen=True, slots=True)
class ArmSeen:
    """An arm in one span."""

    name: str
    span_us: int
    step: int
    version: str
    first_unix_ns: int
    last_unix_ns: int
    counts: tuple[int, ...]  # podium.delivery.analysis.tally.COUNTS

    @property
    def exchanges(self) -> int:
        """All of them, however they ended."""
        return self.counts[0]

    def told(self) -> dict[str, int]:
        """The counts by name."""
        return dict(zip(COUNTS, self.counts, strict=True))


@dataclass(frozen=True)
class Observed:
    """All that a look at a rollout reads. `cells` are of the spans that may be taken together: see `comparable`."""

    arms: tuple[ArmSeen, ...] = ()  # of all spans of the run
    cells: tuple[Cell, ...] = ()
    past: Past | None = None  # what subjects did before, where that is known

    @cached_property
    def backends(self) -> dict[str, tuple[str, ...]]:
        """Each arm's backends."""
        found: dict[str, set[str]] = {}
        for cell in self.cells:
            found.setdefault(cell.arm, set()).add(cell.backend)
        return {arm: tuple(sorted(names - {""})) for arm, names in sorted(found.items())}

    def sums(self, arm: str, measure: str, *, only: str | None = None, without: Collection[str] = frozenset()) -> Sums:
        """What the statistics need of one measure: of all of an arm's backends, of one, or of all but some.

        With `z` where there is history; single backends have none.
        """
        at = 2 * INDEX[measure] + 1
        if only is not None:
            ys, xs = self._column(arm, only, at), self._column(arm, only, at + 1)
        else:
            ys, xs = self._all_but(arm, without, at), self._all_but(arm, without, at + 1)
        seen = {cluster: pair for cluster, pair in enumerate(zip(ys, xs, strict=True)) if pair[1] > 0}
        before = self.past.of(arm, measure) if self.past is not None and only is None else None
        zs = covariates([before.get(cluster, (0.0, 0.0)) for cluster in seen]) if before else None
        return _sums(list(seen.values()), zs)

    def exposures(self, arm: str) -> tuple[float, float]:
        """How many there were, and the sum of squares of each subject's.

        Groups are drawn by a hash: how their totals vary tells what their subjects' squares add up to.
        """
        totals = self._all_but(arm, (), 0)
        whole = fsum(totals)
        mean = whole / CLUSTERS
        return whole, fsum((one - mean) ** 2 for one in totals) * CLUSTERS / (CLUSTERS - 1)

    @cached_property
    def _by_backend(self) -> dict[str, dict[str, list[Cell]]]:
        found: dict[str, dict[str, list[Cell]]] = {}
        for cell in self.cells:
            found.setdefault(cell.arm, {}).setdefault(cell.backend, []).append(cell)
        return found

    @cached_property
    def _columns(self) -> dict[tuple[str, str | None, int], list[float]]:
        return {}

    def _column(self, arm: str, backend: str | None, at: int) -> list[float]:
        """One of the totals by group; None: all backends together."""
        known = self._columns.get((arm, backend, at))
        if known is None:
            known = self._columns[arm, backend, at] = [0.0] * CLUSTERS
            of_arm = self._by_backend.get(arm, {})
            for cells in of_arm.values() if backend is None else [of_arm.get(backend, [])]:
                for cell in cells:
                    known[cell.cluster] += cell.totals[at]
        return known

    def _all_but(self, arm: str, without: Collection[str], at: int) -> list[float]:
        """Counts are whole numbers, so that nothing is left where nothing should be."""
        left = self._column(arm, None, at)
        for backend in set(without) & self._by_backend.get(arm, {}).keys():
            left = [one - less for one, less in zip(left, self._column(arm, backend, at), strict=True)]
        return left


def _sums(pairs: Sequence[tuple[float, float]], zs: Sequence[float] | None = None) -> Sums:
    """In two passes, which loses no digits."""
    n = len(pairs)
    if not n:
        return Sums()
    mean_y, mean_x = fsum(y for y, _ in pairs) / n, fsum(x for _, x in pairs) / n
    apart = [(y - mean_y, x - mean_x) for y, x in pairs]
    sums = Sums(
        n,
        mean_y,
        mean_x,
        yy=fsum(y * y for y, _ in apart),
        xx=fsum(x * x for _, x in apart),
        xy=fsum(y * x for y, x in apart),
    )
    if zs is None:
        return sums
    mean_z = fsum(zs) / n
    of_z = [z - mean_z for z in zs]
    return replace_of(
        sums,
        z=mean_z,
        zz=fsum(z * z for z in of_z),
        zy=fsum(z * y for z, (y, _) in zip(of_z, apart, strict=True)),
        zx=fsum(z * x for z, (_, x) in zip(of_z, apart, strict=True)),
    )


def observed_of(tally: Tally, steps: Mapping[int, int] | None = None) -> Observed:
    """Of exchanges that were added up in memory: for simulations and tests. `steps`: of its spans."""
    merged: dict[tuple[str, str, int], list[float]] = {}
    for key, row in tally.cells.items():
        place = (key.arm, key.backend, key.cluster)
        known = merged.get(place)
        merged[place] = list(row) if known is None else [one + more for one, more in zip(known, row, strict=True)]
    arms = (
        ArmSeen(
            key.arm,
            key.span_us,
            (steps or {}).get(key.span_us, 0),
            arm.version,
            arm.first_unix_ns,
            arm.last_unix_ns,
            tuple(arm.counts),
        )
        for key, arm in sorted(tally.arms.items(), key=lambda item: item[0])
    )
    return Observed(tuple(arms), tuple(Cell(*place, tuple(row)) for place, row in sorted(merged.items())))


def shares_of(arms: Iterable[ArmShare]) -> dict[str, int]:
    """How many buckets each arm has."""
    counts: dict[str, int] = {}
    for share in arms:
        counts[share.name] = counts.get(share.name, 0) + share.count
    return {name: count for name, count in counts.items() if count}


def reference_of(rollout: Rollout) -> str:
    """The arm that the others are compared to."""
    return rollout.arms[0].name if rollout.strategy == "ab" else BASELINE


def run_us(progress: Progress) -> int:
    """From which span on everything is of the run that goes on now."""
    return span_us(progress.started_unix_s)


def comparable(rollout: Rollout, progress: Progress, spans: Mapping[int, int]) -> tuple[int, ...]:
    """The spans that may be taken together with the one of now, of those given with their steps.

    Only those in which arms had the same shares of the subjects: else a day that was bad for everybody would be in one
    arm more than in the other. (Taken together, that would be Simpson's paradox.)
    """
    now, began = span_us(progress.step_unix_s), run_us(progress)
    wanted = _ratio(shares_of(progress.arms))
    last = len(steps_of(rollout)) - 1
    return tuple(
        span
        for span, step in sorted(spans.items())
        if began <= span <= now
        and (span == now or (step <= last and _ratio(_shares(rollout, step, progress.before)) == wanted))
    )


def last_comparison(rollout: Rollout, progress: Progress, seen: Iterable[ArmSeen]) -> Progress:
    """As it stands, or where nothing is compared any more, as it stood at the last step that did; for reports."""
    reference = reference_of(rollout)
    if reference in shares_of(progress.arms):
        return progress
    for span, step in sorted({(arm.span_us, arm.step) for arm in seen}, reverse=True):
        shares = _shares(rollout, step, progress.before) if step < len(steps_of(rollout)) else {}
        if reference in shares and len(shares) > 1:
            arms = arms_at(rollout, step, progress.before)
            return replace(progress, step=step, step_unix_s=span / 1e6, arms=arms)
    return progress


def windows(rollout: Rollout, before: str) -> int:
    """How often the comparison begins anew, at least 1: each time spends its part of the false alarms."""
    ratios = {
        _ratio(shares) for step in range(len(steps_of(rollout))) if len(shares := _shares(rollout, step, before)) > 1
    }
    return max(1, len(ratios))


def _shares(rollout: Rollout, step: int, before: str) -> dict[str, int]:
    return shares_of(arms_at(rollout, step, before))


def _ratio(shares: Mapping[str, int]) -> tuple[tuple[str, float], ...]:
    whole = sum(shares.values())
    return tuple((name, round(count / whole, 3)) for name, count in sorted(shares.items()))
