import random

import pytest
from msgspec.structs import replace

from podium.core.rollouts import BUCKETS
from podium.delivery.analysis.observed import shares_of
from podium.delivery.buckets import with_weights
from podium.delivery.experiments.shares import MOST_SPANS, SharesReason, next_shares, without

START_S = 1_760_000_000.0
ADAPTIVE = {"floor": 0.1, "every_s": 60, "largest_step": 0.2, "minimum_samples": 50}


@pytest.fixture
def adaptive(world):
    """An experiment with costs of each arm that were seen in the first span."""

    def make(*means, count=200, seed=1, arms=None, **changes):
        names = arms or tuple("abcdef"[: len(means)])
        it = world(arms=names, adaptive=ADAPTIVE | changes)
        chance = random.Random(seed)
        for name, mean in zip(names, means, strict=True):
            it.see_costs(name, [chance.gauss(mean, 2e5) for _ in range(count)])
        return it

    return make


def later(it, seconds=120.0):
    return next_shares(it.rollout, it.progress, it.observed, START_S + seconds)


def test_the_better_arm_gets_more_by_one_bounded_step(adaptive):
    it = adaptive(2e6, 1e6)
    found = later(it)

    assert found.reason is SharesReason.CHANGED
    assert shares_of(found.arms) == {"a": 3000, "b": 7000}
    assert found.detail == "a 30.0%, b 70.0%"


def test_step_by_step_it_comes_to_the_floor_and_stays(adaptive):
    it = adaptive(2e6, 1e6)
    for _ in range(5):
        found = later(it)
        if found.arms:
            it.progress = replace(it.progress, arms=found.arms)

    assert shares_of(it.progress.arms) == {"a": 1000, "b": 9000}
    assert later(it).reason is SharesReason.SMALL


def test_arms_that_are_alike_stay_alike(adaptive):
    it = adaptive(2e6, 2e6)
    it.see_costs("a", [2e6])
    shares = shares_of(later(it).arms) or {"a": 5000, "b": 5000}

    assert all(2500 < count < 7500 for count in shares.values())


@pytest.mark.parametrize("seed", range(12))
def test_floors_hold_steps_are_bounded_and_as_few_as_possible_move(adaptive, seed):
    chance = random.Random(seed)
    floor, step = chance.uniform(0.01, 0.2), chance.uniform(0.05, 1.0)
    means = [chance.uniform(1e6, 3e6) for _ in range(chance.randrange(2, 6))]
    it = adaptive(*means, seed=seed, count=80, floor=floor, largest_step=step)
    before = shares_of(it.progress.arms)
    found = later(it)
    after = shares_of(found.arms) or before

    assert sum(after.values()) == BUCKETS
    assert min(after.values()) >= floor * BUCKETS - 1 or found.reason is SharesReason.SMALL
    grown = sum(max(0, after[name] - before[name]) for name in before)
    assert grown <= step * BUCKETS + len(before)
    if found.arms:
        assert moved(it.progress.arms, found.arms) <= grown + len(before)


def moved(before, after):
    """How many buckets have another arm."""

    def owners(arms):
        return {at: share.name for share in arms for at in range(share.first, share.first + share.count)}

    old, new = owners(before), owners(after)
    return sum(old[at] != new[at] for at in old)


@pytest.mark.parametrize(
    ("after_s", "changes", "count", "reason"),
    [
        (59, {}, 200, SharesReason.TOO_EARLY),
        (61, {"minimum_samples": 201}, 200, SharesReason.TOO_FEW_SAMPLES),
        (61, {}, 0, SharesReason.TOO_FEW_SAMPLES),
        (61, {"minimum_samples": 1}, 1, SharesReason.UNKNOWN),
        (61, {}, 200, SharesReason.CHANGED),
    ],
)
def test_it_waits_for_time_and_samples(adaptive, after_s, changes, count, reason):
    assert later(adaptive(2e6, 1e6, count=count, **changes), after_s).reason is reason


def test_it_waits_for_news_after_a_change(adaptive):
    it = adaptive(2e6, 1e6)
    it.progress = replace(it.progress, step_unix_s=START_S + 100)
    assert later(it, 200).reason is SharesReason.NOTHING_NEW

    it.see_costs("a", [2e6] * 60, span_s=START_S + 100)
    it.see_costs("b", [1e6] * 60, span_s=START_S + 100)
    assert later(it, 200).reason is SharesReason.CHANGED


def test_shares_do_not_change_for_ever(adaptive):
    it = adaptive(2e6, 1e6)
    for number in range(1, MOST_SPANS):
        it.see_costs("a", [2e6] * 100, span_s=START_S + number)
    it.progress = replace(it.progress, step_unix_s=START_S + MOST_SPANS - 1)
    it.see_costs("b", [1e6] * 500, span_s=START_S + MOST_SPANS - 1)
    it.see_costs("a", [1e6] * 500, span_s=START_S + MOST_SPANS - 1)

    assert later(it, 500).reason is SharesReason.MOST_CHANGES


def test_a_rate_is_believed_in_as_one(world, lonely, empty):
    it = world(primary="empty_rate", effect=0.1, adaptive=ADAPTIVE)
    for number, subject in enumerate(lonely(200)):
        it.see("long", subject, **(empty if number % 2 else {}))
        it.see("short", subject, **(empty if number % 20 == 0 else {}))

    assert shares_of(later(it).arms) == {"long": 3000, "short": 7000}


def test_experiments_with_a_fixed_split_keep_it(world):
    it = world()
    it.see_costs("long", [1000] * 300)

    assert later(it).reason is SharesReason.NOT_ADAPTIVE


def test_a_failed_arm_goes_and_the_others_share_what_it_had(adaptive):
    it = adaptive(2e6, 1e6, 1e6)
    it.progress = replace(it.progress, arms=with_weights(it.rollout, it.progress, {"a": 0.2, "b": 0.5, "c": 0.3}))
    found = without(it.rollout, it.progress, {"b"})

    assert found.reason is SharesReason.ARM_OUT
    assert shares_of(found.arms) == {"a": 4000, "c": 6000}
    it.progress = replace(it.progress, arms=found.arms)
    assert shares_of(later(it).arms).keys() == {"a", "c"}  # it never comes back


def test_where_shares_are_fixed_the_first_arm_has_what_a_failed_one_had(world):
    it = world(arms=("a", "b", "c"), weights=[1, 1, 2])
    found = without(it.rollout, it.progress, {"c"})

    assert shares_of(found.arms) == {"a": 7500, "b": 2500}
    assert moved(it.progress.arms, found.arms) == 5000  # of the failed one, and nobody else
    assert found.detail == "a 75.0%, b 25.0%"
    assert {share.version for share in found.arms if share.name == "a"} == {"v-a"}


@pytest.mark.parametrize("failed", [set(), {"x"}, {"b", "c"}, {"a"}])
def test_what_cannot_go_on_without_an_arm_stays_as_it_is(adaptive, failed):
    """None failed; an unknown one; too few are left; the one that all are compared to."""
    it = adaptive(2e6, 1e6, 1e6)

    assert without(it.rollout, it.progress, failed).arms == ()
