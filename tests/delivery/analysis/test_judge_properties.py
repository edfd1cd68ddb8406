"""Whatever was seen, a look ends with a verdict that JSON carries."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as some

from podium.core.rollouts import Analysis, ArmShare, Metric, MetricName, Rollout, Step
from podium.delivery.analysis.before import Reference
from podium.delivery.analysis.compared import LOGARITHMS, RATES
from podium.delivery.analysis.judge import Evidence, judge
from podium.delivery.analysis.measures import MEASURES
from podium.delivery.analysis.observed import ArmSeen, Cell, Observed, last_comparison
from podium.delivery.analysis.report import effects_of
from podium.delivery.analysis.tally import CLUSTERS, COUNTS, span_us
from podium.delivery.analysis.verdict import Verdict

ARMS = some.sampled_from(["candidate", "baseline", "stranger"])
LOGS = some.floats(-5, 40)
LEVELS = some.floats(-50, 1e9) | some.sampled_from([0.0, 1.0, 1e-9])


@some.composite
def totals(draw):
    exposures = draw(some.integers(0, 10**6))
    row = [float(exposures)]
    for measure in MEASURES:
        x = draw(some.sampled_from([0, 0, 1, 2, exposures]))
        level = draw(some.floats(0, 1) if measure in RATES else LOGS if measure in LOGARITHMS else LEVELS)
        row += [round(x * level) if measure in RATES else x * level, float(x)]
    return tuple(row)


CELLS = some.lists(
    some.builds(Cell, ARMS, some.sampled_from(["p/a", "p/b", ""]), some.integers(0, CLUSTERS - 1), totals()),
    max_size=12,
    unique_by=lambda cell: (cell.arm, cell.backend, cell.cluster),
)
ANY = {
    "name": some.sampled_from(MetricName.__args__),
    "tolerance": some.floats(0, 2),
    "absolute": some.booleans(),
    "role": some.sampled_from(["guardrail", "goal", "info"]),
}
METRICS = some.lists(
    some.builds(Metric, **ANY, higher_is_better=some.none() | some.booleans())
    | some.builds(Metric, **ANY, higher_is_better=some.booleans(), limit=some.floats(1e-3, 1e9)),
    max_size=5,
).map(tuple)
SEEN = some.lists(
    some.builds(
        ArmSeen,
        ARMS,
        some.just(span_us(1000.0)),
        some.integers(0, 9),
        some.just("v"),
        some.integers(0, 2**62),
        some.integers(0, 2**62),
        some.tuples(*[some.integers(0, 10**9)] * len(COUNTS)),
    ),
    max_size=3,
).map(tuple)


@settings(max_examples=25, deadline=None)
@given(CELLS, SEEN, METRICS, some.integers(0, 1), some.floats(0, 1e6), some.floats(0, 100), some.integers(0, 400))
def test_any_look_ends_with_a_verdict(kit, cells, seen, metrics, step, later_s, lag_s, exchanges):
    rollout = Rollout(
        model="m",
        candidate="new",
        steps=(Step(percent=25, minimum_s=5), Step(percent=100)),
        analysis=Analysis(metrics=metrics),
    )
    arms = (ArmShare(name="candidate", version="new", first=0, count=2500),)
    arms += () if step else (ArmShare(name="baseline", version="old", first=7500, count=2500),)
    progress = kit.progress(step=step, arms=arms, started_unix_s=1000.0, step_unix_s=1000.0)
    observed = Observed(seen, tuple(cells))
    before = Reference("old", observed, exchanges, 0.0, 900.0) if step else None
    verdict = judge(rollout, progress, Evidence(observed, lag_s=lag_s, before=before), 1000.0 + later_s)
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict
    assert verdict.detail
    again = Evidence(Observed(seen, tuple(cells)), lag_s=lag_s, before=before)
    assert judge(rollout, progress, again, 1000.0 + later_s) == verdict
    effects = effects_of(rollout, last_comparison(rollout, progress, seen), observed)
    assert msgspec.json.encode(effects)
