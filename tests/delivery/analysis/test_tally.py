import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from podium.core.rollouts import Step
from podium.delivery.analysis.measures import INDEX
from podium.delivery.analysis.observed import comparable, observed_of, windows
from podium.delivery.analysis.tally import (
    CLUSTERS,
    WIDTH,
    CellKey,
    Tally,
    bucket_ms,
    cluster_of,
    own_backend,
    span_of,
    span_us,
)
from podium.delivery.buckets import arms_at
from podium.delivery.statistics.effect import compare
from podium.delivery.statistics.sums import Subject, Sums
from podium.testing.events import make_call, make_event


def test_subjects_are_spread_over_all_groups():
    groups = [cluster_of(f"{number:016x}") for number in range(20 * CLUSTERS)]
    assert {min(groups), max(groups)} == {0, CLUSTERS - 1}
    assert max(groups.count(group) for group in range(CLUSTERS)) < 60


def test_a_span_begins_when_gateways_have_heard_of_its_step():
    spans = (span_us(100.0), span_us(200.0))
    at = lambda unix_s: span_of(int(unix_s * 1e9), spans)  # noqa: E731 - a word for a table
    assert at(99.9) is None
    assert at(100.0) == at(150) == at(201.9) == spans[0]
    assert at(202.0) == at(9e6) == spans[1]
    assert span_of(5 * 10**9, ()) is None


def test_the_cell_of_an_exchange_is_its_last_own_backends():
    trail = (make_call(backend="p/a"), make_call(backend="p/b", kind="retry"), make_call(backend="q/c", model="o"))
    assert own_backend(make_event(backend="q/c", fallbacks=1, served_model="o", trail=trail)) == "p/b"
    assert own_backend(make_event(backend="q/c", fallbacks=1, served_model="o")) == ""
    assert own_backend(make_event(backend="p/z")) == "p/z"


def test_calls_are_counted_where_they_were_made():
    trail = (make_call(backend="p/a", reason="upstream_error"), make_call(backend="p/b", kind="retry"))
    tally = Tally()
    tally.add(make_event(rollout="r", arm="x", subject="s", backend="p/b", trail=trail, attempts=2), 1)
    seen = observed_of(tally)
    assert seen.backends == {"x": ("p/a", "p/b")}
    assert seen.sums("x", "call_failure_rate", only="p/a").ratio == 1
    assert seen.sums("x", "call_failure_rate", only="p/b").ratio == 0
    assert seen.sums("x", "error_rate").total_x == 1
    assert seen.exposures("x")[0] == 1
    (arm,) = seen.arms
    assert arm.told() == {
        "exchanges": 1,
        "callers_faults": 0,
        "callers_gone": 0,
        "uncalled": 0,
        "retried": 1,
        "hedged": 0,
        "fallen_back": 0,
    }


@given(some.lists(some.tuples(some.integers(0, 30), some.integers(0, 10**7)), min_size=5, max_size=60))
def test_sums_of_few_subjects_are_those_of_the_statistics(exchanges):
    tally, totals = Tally(), {}
    for subject, cost in exchanges:
        tally.add(make_event(rollout="r", arm="a", subject=str(subject), cost_nanousd=cost), 1)
        group = cluster_of(str(subject))
        y, x = totals.get(group, (0, 0))
        totals[group] = (y + cost, x + 1)
    seen, wanted = observed_of(tally).sums("a", "cost_nanousd"), Sums.of(Subject(y, x) for y, x in totals.values())
    for name in ("n", "y", "x", "yy", "xx", "xy"):
        assert getattr(seen, name) == pytest.approx(getattr(wanted, name), rel=1e-9, abs=1e-6 * (1 + wanted.yy))


def test_grouping_subjects_keeps_the_variance_valid():
    """Of 20,000 subjects who are busier and slower than each other: grouped and ungrouped variances agree."""
    chance = random.Random(5)
    tally, ungrouped = Tally(), {"a": [], "b": []}
    at = 2 * INDEX["cost_nanousd"] + 1
    for number in range(20_000):
        arm, weight, level = "ab"[number % 2], 1 + int(chance.expovariate(0.5)), chance.lognormvariate(8, 1)
        values = [level * chance.uniform(0.5, 1.5) for _ in range(weight)]
        ungrouped[arm].append(Subject(sum(values), weight))
        subject = f"{chance.getrandbits(64):016x}"
        row = tally.cells.setdefault(CellKey("r", 1, arm, "p", cluster_of(subject)), [0.0] * WIDTH)
        row[at] += sum(values)
        row[at + 1] += weight
    seen = observed_of(tally)
    grouped = compare(seen.sums("a", "cost_nanousd"), seen.sums("b", "cost_nanousd"))
    exact = compare(Sums.of(ungrouped["a"]), Sums.of(ungrouped["b"]))
    assert grouped.estimate == pytest.approx(exact.estimate)
    assert grouped.variance == pytest.approx(exact.variance, rel=0.15)


def test_what_exposures_squares_add_up_to_is_seen_through_the_groups():
    tally = Tally()
    event = make_event(rollout="r", arm="a")
    for number in range(6000):
        one = msgspec.structs.replace(event, subject=f"{number:016x}")
        tally.add(one, 1)
    for _ in range(6000):
        tally.add(msgspec.structs.replace(event, subject="busy"), 1)
    whole, squares = observed_of(tally).exposures("a")
    assert whole == 12_000
    assert squares == pytest.approx(6000 + 6000**2, rel=0.02)


def test_buckets_of_times_touch_each_other():
    assert all(bucket_ms(bucket)[1] == pytest.approx(bucket_ms(bucket + 1)[0]) for bucket in range(160))


def test_only_steps_with_the_same_shares_are_taken_together(kit):
    rollout = kit.rollout(steps=(Step(percent=5), Step(percent=25), Step(percent=75), Step(percent=100)))
    began = kit.START_S
    spans = {span_us(began - 500): 0} | {span_us(began + 100 * step): step for step in range(4)}

    def at(step):
        progress = kit.progress(step=step, step_unix_s=began + 100 * step, arms=arms_at(rollout, step, "old"))
        return [spans[span] for span in comparable(rollout, progress, spans)]

    assert [at(step) for step in range(4)] == [[0], [0, 1], [2], [3]]
    assert windows(rollout, "old") == 2
    assert windows(kit.rollout(), "old") == 1
