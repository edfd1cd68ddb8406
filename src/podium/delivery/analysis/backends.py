"""Which backend of a version answers worse than the others of the same version do.

Looked at is what a single replica can spoil: failed calls, empty answers, answers that are not the JSON that was asked
for, refusals, and what judges and users think of it. Text that is fluent and wrong shows in judges' scores and users'
feedback only. Times are left to balancing and breakers: replicas on slower machines are slower, and no worse.

Each backend is compared with all the others of its version together, by the same sequences as arms are, at a level that
is shared out over backends and measures. With two replicas of which one is broken, the other one is its witness.
"""

from collections.abc import Collection

import msgspec

from podium.core.rollouts import Metric, MetricName
from podium.delivery.analysis.compared import Look, MetricResult, compared
from podium.delivery.analysis.observed import Observed

__all__ = ["BACKEND_MARGIN", "FAILURE_MARGIN", "BackendFinding", "worse_backends"]

BACKEND_MARGIN = 0.05  # of rates and scores: replicas of one version differ by less unless one is broken
FAILURE_MARGIN = 0.2  # of failed calls: what fails for a while is a breaker's to keep away, and comes back by itself
_FEWEST = 2
_TUNING = 500.0  # samples: what is broken is to be found soon, not what is a little worse

_WATCHED: tuple[tuple[str, MetricName], ...] = (
    ("call_failure_rate", "error_rate"),
    ("empty_rate", "empty_rate"),
    ("invalid_format_rate", "invalid_format_rate"),
    ("refusal_rate", "refusal_rate"),
    ("judge_score", "judge_score"),
    ("thumbs_up_rate", "thumbs_up_rate"),
    ("task_done_rate", "task_done_rate"),
    ("feedback_score", "feedback_score"),
)
_METRICS = tuple(
    (
        measure,
        Metric(
            name=name,
            tolerance=FAILURE_MARGIN if measure == "call_failure_rate" else BACKEND_MARGIN,
            absolute=True,
        ),
    )
    for measure, name in _WATCHED
)


class BackendFinding(msgspec.Struct, frozen=True, kw_only=True):
    """A backend that is worse than the others of its version."""

    arm: str
    backend: str  # provider/upstream model
    others: tuple[str, ...]
    shown_by: tuple[MetricResult, ...]  # `reference` is the others'

    @property
    def sentence(self) -> str:
        """For people."""
        told = ", ".join(f"{one.name} {one.value:.3g} against {one.reference:.3g}" for one in self.shown_by)
        return f"backend `{self.backend}` of arm `{self.arm}` is worse than the other {len(self.others)}: {told}"


def worse_backends(
    observed: Observed, look: Look, *, arms: Collection[str], taken_out: Collection[str] = frozenset()
) -> tuple[BackendFinding, ...]:
    """Those of the arms that are surely worse. `taken_out`: not looked at, and no witnesses.

    Of a version never all: what is wrong with each of them is wrong with the version. The level is shared out over
    backends; over measures too, unless `look` is the only one: then it is about an arm that has failed already.
    """
    present = {
        arm: [name for name in names if name not in taken_out]
        for arm, names in observed.backends.items()
        if arm in arms
    }
    tests = sum(len(names) for names in present.values() if len(names) >= _FEWEST)
    if not tests:
        return ()
    alpha = look.alpha / tests / (1 if look.once else len(_METRICS))
    each = msgspec.structs.replace(look, alpha=alpha, tuning=_TUNING)
    found: list[BackendFinding] = []
    for arm, names in present.items():
        if len(names) < _FEWEST:
            continue
        of_arm = [
            finding
            for backend in names
            if (finding := _looked_at(observed, arm, backend, tuple(n for n in names if n != backend), each, taken_out))
        ]
        found += of_arm if len(of_arm) < len(names) else []
    return tuple(found)


def _looked_at(
    observed: Observed, arm: str, backend: str, others: tuple[str, ...], look: Look, taken_out: Collection[str]
) -> BackendFinding | None:
    shown = []
    for measure, metric in _METRICS:
        own = observed.sums(arm, measure, only=backend)
        if not own.n:
            continue
        rest = observed.sums(arm, measure, without={*taken_out, backend, ""})
        if not rest.n:
            continue
        result = compared(metric, arm, rest, own, look, name=measure)
        if result.decision == "worse":
            shown.append(result)
    return BackendFinding(arm=arm, backend=backend, others=others, shown_by=tuple(shown)) if shown else None
