import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.delivery.analysis.observed import ArmSeen, Cell, Observed
from podium.delivery.analysis.tally import WIDTH
from podium.delivery.experiments.effects import effect_of
from podium.delivery.experiments.evening import even_factors, weighed


def seen(counts):
    """Counts by span and arm."""
    return [
        ArmSeen(arm, span, 0, "v", 0, 0, (count, 0, 0, 0, 0, 0, 0))
        for span, arms in counts.items()
        for arm, count in arms.items()
    ]


@given(
    st.dictionaries(
        st.integers(1, 40),
        st.dictionaries(st.sampled_from("abc"), st.integers(0, 10_000), min_size=1),
        min_size=1,
        max_size=12,
    )
)
def test_every_span_has_the_same_part_in_every_arm_and_no_arm_grows(counts):
    factors = even_factors(seen(counts), "ab")
    common = [span for span, arms in counts.items() if min(arms.get("a", 0), arms.get("b", 0)) >= 10]

    assert {span for _, span in factors} == set(common)
    weights = {arm: {span: factors[arm, span] * counts[span][arm] for span in common} for arm in "ab"}
    for arm in "ab":
        total = sum(counts[span][arm] for span in common)
        assert sum(weights[arm].values()) == pytest.approx(total, rel=1e-3)
        for span in common:
            everybody = counts[span]["a"] + counts[span]["b"]
            part = everybody / sum(counts[one]["a"] + counts[one]["b"] for one in common)
            assert weights[arm][span] / total == pytest.approx(part, rel=1e-2, abs=1e-2)


def test_shares_that_never_changed_are_left_as_they_are():
    assert even_factors(seen({1: {"a": 20, "b": 60}, 2: {"a": 10, "b": 30}}), "ab") == {
        ("a", 1): 1.0,
        ("b", 1): 1.0,
        ("a", 2): 1.0,
        ("b", 2): 1.0,
    }


def test_nothing_in_common_is_nothing():
    assert even_factors(seen({1: {"a": 100}, 2: {"b": 50}, 3: {"a": 9, "b": 5000}}), "ab") == {}
    assert even_factors([], "ab") == {}
    assert weighed([(1, Cell("a", "", 0, (1.0,) * WIDTH))], {}) == ()


def test_a_bad_day_on_which_shares_were_others_does_not_look_like_an_effect(world, lonely):
    """Both arms are alike on each day; added up as they are, short looks twice as dear."""
    chance = random.Random(1)
    it = world()
    cells = []
    subjects = lonely(400)
    for day, cost, share in ((1, 1e6, 0.2), (2, 3e6, 0.8)):
        for subject in subjects:
            arm = "short" if chance.random() < share else "long"
            it.see(arm, subject, span_s=day, cost_nanousd=int(chance.gauss(cost, 1e5)))
    naive = effect_of(it.rollout, it.observed, "short", "cost_nanousd")
    for key, row in it.tally.cells.items():
        cells.append((key.span_us, Cell(key.arm, key.backend, key.cluster, tuple(row))))
    arms = it.observed.arms
    even = Observed(arms, weighed(cells, even_factors(arms, {"long", "short"})))
    evened = effect_of(it.rollout, even, "short", "cost_nanousd")

    assert naive.effect > 0.5
    assert naive.finding == "worse"
    assert abs(evened.effect) < 0.02
    assert evened.finding == "no_difference_seen"
