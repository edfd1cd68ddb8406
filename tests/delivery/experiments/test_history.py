"""What reports say of history."""

from dataclasses import replace as with_fields

import msgspec
import numpy as np
import pytest

from podium.core.rollouts import Metric
from podium.delivery.analysis.history import HISTORY_MEASURES, HISTORY_WIDTH, Past
from podium.delivery.analysis.tally import cluster_of
from podium.delivery.experiments.effects import MEASURED, effect_of
from podium.delivery.experiments.history import history_of, reduction_text

START_S = 1_760_000_000.0
COST = 2 * HISTORY_MEASURES.index("cost_nanousd")


@pytest.fixture
def followed(world, lonely):
    """Costs follow those of before; of each subject one exchange then and now."""

    def make(subjects=300, **design):
        it, chance = world(**design), np.random.default_rng(8)
        past = {}
        for arm in (arm.name for arm in it.rollout.arms):
            names = lonely(subjects)
            before = chance.normal(2e6, 5e5, subjects)
            it.see_costs(arm, before + chance.normal(0, 2e5, subjects), subjects=names)
            rows = past[arm] = {}
            for name, cost in zip(names, before, strict=True):
                totals = [0.0] * HISTORY_WIDTH
                totals[COST : COST + 2] = float(cost), 1.0
                rows[cluster_of(name)] = tuple(totals)
        it.past = Past(START_S - 86_460, START_S - 60, 600, complete=True, arms=past)
        return it

    return make


def told(it, **changes):
    past = with_fields(it.past, **changes)
    observed = with_fields(it.observed, past=past)
    found = [effect_of(it.rollout, observed, arm.name, name) for arm in it.rollout.arms[1:] for name in MEASURED]
    effects = [row for row in found if row is not None]
    return history_of(it.rollout, it.progress, past, effects), effects


def test_what_history_took_out_is_said_of_the_measures_that_matter(followed):
    found, effects = told(followed())
    (primary,) = [row for row in effects if row.role == "primary"]

    assert found.used
    assert 0.6 < primary.variance_reduction < 0.95
    assert f"cost of an answer {reduction_text(primary)}." in found.sentence
    assert "600 exchanges from 2025-10-08 08:52Z to 2025-10-09 08:52Z" in found.sentence
    assert "Sessions have none" in found.sentence
    assert (found.exchanges, found.complete) == (600, True)
    assert {row.measure for row in effects if row.variance_reduction is not None} == {"cost_nanousd"}


def test_the_adjusted_interval_is_narrower(followed):
    it = followed()
    rows = [
        effect_of(it.rollout, observed, "short", "cost_nanousd")
        for observed in (it.observed, with_fields(it.observed, past=it.past))
    ]
    plain, adjusted = (row.sequential.upper - row.sequential.lower for row in rows)

    assert adjusted < 0.7 * plain
    assert (rows[0].value, rows[0].reference) == (rows[1].value, rows[1].reference)


def test_arms_are_named_where_there_are_several(followed):
    found, _ = told(followed(arms=("long", "short", "odd")))

    assert "cost of an answer of short" in found.sentence
    assert "cost of an answer of odd" in found.sentence


def test_what_is_not_used_is_said_with_the_reason(followed):
    it = followed()
    by_session = msgspec.structs.replace(it.rollout, sticky_by=("session",))
    few, _ = told(followed(40))

    assert not few.used
    assert "600 exchanges" in few.sentence
    assert "too little of these subjects" in few.sentence
    assert "none was read" in history_of(it.rollout, it.progress, None, ()).sentence
    assert "sessions first" in history_of(by_session, it.progress, it.past, ()).sentence
    assert "no exchange of the model" in told(it, exchanges=0, arms={})[0].sentence
    assert told(it, complete=False)[0].sentence.endswith("More of it is still being read.")


def test_what_is_only_shown_is_not_in_the_sentence(followed):
    it = followed(primary="output_tokens", metrics=(Metric(name="cost_nanousd", role="info"),), higher_is_better=False)
    found, effects = told(it)

    assert [row.role for row in effects if row.variance_reduction is not None] == ["info"]
    assert found.used
    assert "Variance" not in found.sentence
