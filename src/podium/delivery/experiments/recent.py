"""What a model's recent exchanges tell of a measure, before any experiment: its level, and how subjects differ."""

from collections.abc import Iterable
from dataclasses import dataclass

from podium.core.event import Event
from podium.core.measures import MetricName
from podium.delivery.analysis.compared import RATES
from podium.delivery.analysis.measures import INDEX, measures_of
from podium.delivery.statistics.planning import Expected
from podium.delivery.statistics.sums import Subject, Sums

__all__ = ["Recent", "recent_of"]

# Of all exchanges. What answers were like is noted of those that a rollout chose the version for.
_ALWAYS_KNOWN = frozenset(
    {"error_rate", "ttft_ms", "time_per_output_token_ms", "duration_ms", "cost_nanousd", "input_tokens"}
    | {"output_tokens"}
)
_NOBODY_ELSES = frozenset({"thumbs_up_rate", "feedback_score", "task_done_rate", "judge_score"})  # in no event


@dataclass(frozen=True, slots=True)
class Recent:
    """A measure of recent exchanges."""

    expected: Expected
    exchanges: int  # that were looked at
    samples: float  # of the measure, in them
    subjects: int
    by_subject: bool = True  # False: one subject only, so exchanges were taken for independent

    @property
    def samples_per_exchange(self) -> float:
        """Time to first token is known of streams only, and time per token has a sample for each token."""
        return self.samples / self.exchanges


def recent_of(events: Iterable[Event], measure: MetricName) -> Recent | None:
    """None: nothing is known of it. Subjects are users of tenants, else keys: sessions are in no event."""
    if measure in _NOBODY_ELSES:
        return None
    at, exchanges = INDEX[measure], 0
    found: list[Subject] = []
    by_subject: dict[tuple[str, str, str], tuple[float, float]] = {}
    for event in events:
        if measure not in _ALWAYS_KNOWN and not event.rollout:
            continue
        exchanges += 1
        for told in measures_of(event):
            if told.measure == at:
                subject = (event.tenant, event.user, "" if event.user else event.key_id)
                y, x = by_subject.get(subject, (0.0, 0.0))
                by_subject[subject] = y + told.y, x + told.x
                found.append(Subject(told.y, told.x))
    rate = measure in RATES
    sums = Sums.of(Subject(y, x) for y, x in by_subject.values())
    expected = Expected.of_sums(sums, rate=rate)
    if expected is not None:
        return Recent(expected, exchanges, sums.total_x, sums.n)
    alone = Expected.of_sums(Sums.of(found), rate=rate)
    return Recent(alone, exchanges, sums.total_x, sums.n, by_subject=False) if alone is not None else None
