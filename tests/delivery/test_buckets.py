import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from podium.core.rollouts import BUCKETS, Arm, Progress, Rollout, Step
from podium.delivery.buckets import arms_at, handed_over, shares_by_weight, steps_of, with_weights


def owners(shares, names=None):
    """Whose each bucket is; None: nobody's. Fails when two arms have one."""
    owner = [None] * BUCKETS
    for share in shares:
        if names is not None and share.name not in names:
            continue
        for bucket in range(share.first, share.first + share.count):
            assert owner[bucket] is None
            owner[bucket] = share.name
    return owner


@given(st.lists(st.floats(0, 100), min_size=1, max_size=4))
def test_while_a_canary_grows_nobody_who_has_the_candidate_loses_it_and_baselines_are_as_big(percents):
    steps = tuple(Step(percent=percent) for percent in [*sorted(percents), 100])
    rollout = Rollout(model="m", candidate="new", steps=steps)
    had = [None] * BUCKETS
    for index in range(len(steps)):
        shares = arms_at(rollout, index, "old")
        has = owners(shares)
        assert all(now == "candidate" for before, now in zip(had, has, strict=True) if before == "candidate")
        candidate, baseline = has.count("candidate"), has.count("baseline")
        assert baseline == (min(candidate, BUCKETS - candidate) if candidate else BUCKETS)
        assert {share.name: share.version for share in shares}.items() <= {
            "candidate": "new",
            "baseline": "old",
        }.items()
        had = has


def test_until_half_of_all_baselines_keep_their_subjects_too():
    rollout = Rollout(model="m", candidate="new")
    five, quarter = (owners(arms_at(rollout, index, "old")) for index in (0, 1))
    assert all(now == before for before, now in zip(five, quarter, strict=True) if before is not None)


@pytest.mark.parametrize("strategy", ["shadow", "blue_green", "ab"])
def test_strategies_have_as_many_steps_as_they_need(strategy):
    arms = (Arm(name="a", version="v1"), Arm(name="b", version="v2"))
    more = {"arms": arms} if strategy == "ab" else {"candidate": "new"}
    rollout = Rollout(model="m", strategy=strategy, **more)
    expected = [0, 100] if strategy == "blue_green" else [100]
    assert [step.percent for step in steps_of(rollout)] == expected
    own = replace(rollout, steps=(Step(percent=20),))
    assert [step.percent for step in steps_of(own)] == ([0, 20] if strategy == "blue_green" else [20])


weights = st.lists(st.integers(0, 100), min_size=2, max_size=6).filter(any)


@given(weights, st.integers(0, BUCKETS))
def test_arms_have_shares_by_weight_to_the_bucket(given_weights, count):
    arms = tuple(Arm(name=f"a{index}", version="v", weight=one) for index, one in enumerate(given_weights))
    owner = owners(shares_by_weight(arms, count))
    assert all(one is not None for one in owner[:count])
    assert all(one is None for one in owner[count:])
    for arm in arms:
        assert abs(owner.count(arm.name) - count * arm.weight / sum(given_weights)) < 1


many_weights = st.lists(st.lists(st.integers(0, 100), min_size=4, max_size=4).filter(any), min_size=2, max_size=5)


@given(many_weights)
def test_when_weights_change_only_those_move_who_have_to(many):
    arms = tuple(Arm(name=f"a{index}", version=f"v{index}") for index in range(len(many[0])))
    rollout = Rollout(model="m", strategy="ab", arms=arms)
    progress = Progress(phase="running", before="v", salt="s", arms=shares_by_weight(arms, 5000))
    for one in many:
        new = with_weights(rollout, progress, {arm.name: weight for arm, weight in zip(arms, one, strict=True)})
        was, now = owners(progress.arms), owners(new)
        moved = sum(before != after for before, after in zip(was, now, strict=True))
        assert moved == sum(max(0, now.count(arm.name) - was.count(arm.name)) for arm in arms)
        assert sum(share.count for share in new) == 5000
        progress = replace(progress, arms=new)


@given(st.lists(st.integers(0, 100), min_size=2, max_size=6), st.data())
def test_when_an_arm_hands_over_its_subjects_nobody_else_gets_another_arm(weights, data):
    if not any(weights):
        weights[0] = 1
    arms = tuple(Arm(name=f"arm{n}", version=f"v{n}", weight=weight) for n, weight in enumerate(weights))
    gone = data.draw(st.sets(st.sampled_from([arm.name for arm in arms[1:]])))
    shares = shares_by_weight(arms, data.draw(st.integers(1, BUCKETS)))
    had, left = owners(shares), handed_over(shares, gone, arms[0])
    has = owners(left)

    assert [("arm0" if name in gone else name) for name in had] == has
    assert {share.name: share.version for share in left}.items() <= {arm.name: arm.version for arm in arms}.items()
