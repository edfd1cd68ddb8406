"""Whether arms got their shares, over periods of different shares. Subjects stick, some of them are far busier."""

import random

import pytest
from msgspec.structs import replace

from podium.core.experiments import ArmEnd
from podium.core.rollouts import BUCKETS
from podium.delivery.analysis.observed import ArmSeen, Cell, Observed, shares_of
from podium.delivery.analysis.tally import CLUSTERS, COUNTS, span_us
from podium.delivery.buckets import handed_over, with_weights
from podium.delivery.experiments.course import rearranged
from podium.delivery.experiments.ratio import expected_exchanges, share_check
from podium.delivery.statistics.sample_ratio import sample_ratio

START_S = 1_760_000_000.0
DAY_S = 86_400.0


class Course:
    """Periods of an experiment, and what subjects do in each."""

    def __init__(self, world, seed=0, arms=("a", "b", "c"), **design):
        it = world(arms=arms, **design)
        self.rollout, self.progress, self.chance = it.rollout, it.progress, random.Random(seed)
        self.exchanges, self.cells = {}, {}

    def subjects(self, count, busiest=200):
        """Each with a bucket, a group and how busy it is: a few are far busier than all others."""
        chance = self.chance
        return [
            (chance.randrange(BUCKETS), chance.randrange(CLUSTERS), min(busiest, int(chance.paretovariate(1.2))))
            for _ in range(count)
        ]

    def see(self, subjects, *, lost="", part=0.0, by=None):
        """A period's exchanges. `lost`: an arm that loses this part of its subjects; `by`: shares that they go by."""
        span = span_us(self.progress.step_unix_s)
        owner = [""] * BUCKETS
        for share in by or self.progress.arms:
            owner[share.first : share.first + share.count] = [share.name] * share.count
        for bucket, cluster, busy in subjects:
            arm = owner[bucket]
            if arm == lost and self.chance.random() < part:
                continue
            self.exchanges[arm, span] = self.exchanges.get((arm, span), 0) + busy
            self.cells[arm, cluster] = self.cells.get((arm, cluster), 0) + busy

    def change(self, arms, after_s=DAY_S, ended=()):
        self.progress = rearranged(self.progress, arms, self.progress.step_unix_s + after_s, ended)

    def weigh(self, **weights):
        self.change(with_weights(self.rollout, self.progress, weights))

    def end(self, arm, reason="metric_failed"):
        left = handed_over(self.progress.arms, {arm}, self.rollout.arms[0])
        self.change(left, ended=[ArmEnd(arm=arm, reason=reason)])

    @property
    def observed(self):
        seen = (
            ArmSeen(arm, span, 0, "", 0, 0, (count, *[0] * (len(COUNTS) - 1)))
            for (arm, span), count in sorted(self.exchanges.items())
        )
        cells = (Cell(arm, "", cluster, (float(count),)) for (arm, cluster), count in self.cells.items())
        return Observed(tuple(seen), tuple(cells))

    @property
    def check(self):
        return share_check(self.rollout, self.progress, self.observed)


@pytest.fixture
def course(world):
    def make(seed=0, **more):
        return Course(world, seed, **more)

    return make


def moving(it, subjects, **more):
    """Four periods; half of the subjects come in all of them."""
    returning = it.subjects(subjects // 2)
    for weights in ({}, {"a": 2, "b": 1, "c": 1}, {"a": 6, "b": 1, "c": 1}, {"a": 1, "b": 1, "c": 1}):
        if weights:
            it.weigh(**weights)
        it.see([*returning, *it.subjects(subjects // 2)], **more)


def test_chance_alone_is_no_mismatch_though_shares_change_and_subjects_come_again(course):
    found, naive = 0, 0
    for seed in range(150):
        it = course(seed)
        moving(it, 300)
        found += it.check.mismatch
        totals = {name: sum(n for (arm, _), n in it.exchanges.items() if arm == name) for name in "abc"}
        now = shares_of(it.progress.arms)
        naive += sample_ratio([totals[name] // 10 for name in "abc"], [now[name] for name in "abc"]).mismatch

    assert found == 0
    assert naive > 100  # by the present shares alone


@pytest.mark.parametrize("seed", range(5))
def test_an_arm_that_loses_subjects_is_seen(course, seed):
    it = course(seed)
    moving(it, 4000, lost="b", part=0.5)

    assert it.check.mismatch
    assert it.check.counts["b"] < it.check.expected["b"]


def test_what_is_expected_is_each_periods_share_of_its_exchanges(course):
    it = course()
    it.see([(bucket, bucket % CLUSTERS, 1) for bucket in range(BUCKETS)])
    it.weigh(a=2, b=1, c=1)
    it.see([(bucket, bucket % CLUSTERS, 2) for bucket in range(BUCKETS)])

    assert expected_exchanges(it.rollout, it.progress, it.observed) == pytest.approx(
        {"a": 3334 + 10_000, "b": 3333 + 5000, "c": 3333 + 5000}, abs=1
    )
    assert it.check.p_value == 1.0


def test_after_an_arm_has_ended_the_first_one_has_its_share(course):
    it = course()
    it.see(it.subjects(2000, 5))
    it.end("c")
    it.see(it.subjects(8000, 5))
    shares = shares_of(it.progress.arms)

    assert shares == {"a": 6667, "b": 3333}
    assert not it.check.mismatch
    assert it.check.expected["a"] / it.check.expected["b"] == pytest.approx(9 / 5, rel=0.05)
    assert it.check.expected["c"] > 0


def test_an_arm_that_gateways_took_out_by_themselves_is_left_out(course):
    it = course()
    subjects = it.subjects(3000, 5)
    it.see(subjects, lost="c", part=0.9)  # until control heard of it
    it.end("c", "burst")
    it.see(it.subjects(1000, 5))

    assert not it.check.mismatch
    assert set(it.check.expected) == {"a", "b"}


def test_what_gateways_did_in_the_seconds_until_they_heard_of_a_change_is_no_mismatch(course):
    it = course()
    it.see(it.subjects(3000, 5))
    before = it.progress
    later = with_weights(it.rollout, before, {"a": 8, "b": 1, "c": 1})
    it.see(it.subjects(1000, 5), by=later)  # counted in the period before
    it.change(later, after_s=8.0)
    it.see(it.subjects(3000, 5))
    assert not it.check.mismatch

    it.progress = replace(it.progress, step_unix_s=START_S, arms=before.arms, changes=())
    it.change(later, after_s=800.0)  # two of so many seconds are nothing
    it.exchanges = {
        (arm, span if span == span_us(START_S) else span_us(START_S + 800)): n
        for (arm, span), n in it.exchanges.items()
    }
    assert it.check.mismatch


def test_one_subject_that_makes_most_of_the_traffic_is_no_mismatch(course):
    it = course()
    busy = (0, 7, 5000)
    it.see([busy, *it.subjects(500, 5)])
    it.weigh(a=2, b=1, c=1)
    it.see([busy, *it.subjects(500, 5)])

    assert not it.check.mismatch


def test_of_a_run_whose_changes_were_not_noted_nothing_is_told(course):
    it = course()
    it.see(it.subjects(300))
    it.weigh(a=2, b=1, c=1)
    it.see(it.subjects(300))
    it.progress = replace(it.progress, changes=())

    assert it.check is None


def test_before_anything_was_seen_nothing_is_told(course):
    assert course().check is None
