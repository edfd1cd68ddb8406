"""Limits of quantiles: how long the slowest take."""

import math

import numpy as np
import pytest

from podium.core.rollouts import Metric
from podium.delivery.analysis.alone import LIMIT, against_limit, looks_worse
from podium.delivery.analysis.compared import Look
from podium.delivery.analysis.tally import bucket_ms
from podium.delivery.analysis.times import quantile_interval
from podium.delivery.statistics.sums import Subject, Sums

LOOK = Look(alpha=0.005, proof_alpha=0.05, tuning=10_000.0, minimum_subjects=20)
P95 = Metric(name="ttft_ms", limit=2000, limit_quantile=0.95)
SUBJECTS = 200


def bucket_of(ms):
    return next(bucket for bucket in range(200) if ms < bucket_ms(bucket)[1])


def counted(times):
    """Buckets and sums of times of a subject each."""
    buckets = {}
    for ms in times:
        buckets[bucket_of(ms)] = buckets.get(bucket_of(ms), 0) + 1
    return buckets, Sums.of(Subject(math.log(ms)) for ms in times)


def judged(times, metric=P95):
    buckets, sums = counted(times)
    return against_limit(metric, "candidate", sums, LOOK, buckets)


def test_the_slowest_decide_and_not_the_typical_one():
    quick, slow = [100.0 + n % 50 for n in range(900)], [5000.0] * 100  # one in ten takes 5 s
    told = judged(quick + slow)
    assert (told.name, told.role, told.decision, told.reference) == ("ttft_ms_p95", LIMIT, "worse", 2000)
    assert told.value == pytest.approx(5000, rel=0.12)
    assert 1 < told.lower <= told.effect  # more than twice the limit
    assert judged(quick + slow, Metric(name="ttft_ms", limit=2000)).decision == "undecided"  # the typical one is fine
    few = judged(quick + slow[:30])
    assert (few.decision, looks_worse(few)) == ("undecided", False)
    assert few.value < 200


def test_what_is_not_sure_looks_worse_and_nothing_is_no_data():
    told = judged([100.0 + n % 50 for n in range(60)] + [5000.0] * 5)
    assert (told.decision, looks_worse(told)) == ("undecided", True)
    assert judged([]).decision == "no_data"


def test_one_subject_decides_nothing():
    buckets, sums = {bucket_of(5000.0): 1000}, Sums.of([Subject(1000 * math.log(5000.0), 1000.0)])
    assert against_limit(P95, "candidate", sums, LOOK, buckets).decision == "undecided"
    interval = quantile_interval(buckets, sums, 0.95, alpha=0.005, minimum=50)
    assert math.exp(interval.estimate) == pytest.approx(5000, rel=0.12)


@pytest.mark.parametrize("change", [{"name": "error_rate"}, {"limit": None}, {"limit_quantile": None, "limit": -1}])
def test_limits_that_make_no_sense_are_refused(change):
    with pytest.raises(ValueError, match="limit"):
        Metric(**({"name": "ttft_ms", "limit": 2000, "limit_quantile": 0.95} | change))


def returned_after(seed, *, limit_over_p95):
    """Exchanges after which a limit returns it; None: not within 1,500, looked at each 50. Subjects are slow or quick."""
    chance = np.random.default_rng([20_261_122, seed])
    busy, slow = chance.lognormal(0, 0.5, SUBJECTS), chance.normal(5, 0.5, SUBJECTS)
    busy /= busy.sum()
    mixed = np.repeat(slow, 500) + chance.normal(0, 0.6, 500 * SUBJECTS)
    p95 = float(np.exp(np.sort(mixed)[np.searchsorted(np.cumsum(np.repeat(busy, 500)[np.argsort(mixed)]) / 500, 0.95)]))
    metric = Metric(name="ttft_ms", limit=p95 * limit_over_p95, limit_quantile=0.95)
    totals, buckets = np.zeros((2, SUBJECTS)), {}
    for look in range(1, 31):
        who = chance.choice(SUBJECTS, 50, p=busy)
        logs = slow[who] + chance.normal(0, 0.6, 50)
        np.add.at(totals[0], who, 1)
        np.add.at(totals[1], who, logs)
        for bucket in (logs / math.log(10) * 20).astype(int).tolist():
            buckets[bucket] = buckets.get(bucket, 0) + 1
        x, y = (column[totals[0] > 0] for column in totals)
        dx, dy = x - x.mean(), y - y.mean()
        sums = Sums(len(x), y.mean(), x.mean(), yy=dy @ dy, xx=dx @ dx, xy=dx @ dy)
        if against_limit(metric, "candidate", sums, LOOK, buckets).decision == "worse":
            return look * 50
    return None


def test_a_version_at_its_limit_is_not_returned_and_one_that_is_twice_beyond_it_is_soon():
    assert [returned_after(seed, limit_over_p95=1.0) for seed in range(30)] == [None] * 30
    beyond = [returned_after(seed, limit_over_p95=0.5) for seed in range(12)]
    assert None not in beyond
    assert sorted(beyond)[6] <= 400
