"""History: who was which subject before the start, and what that is good for."""

import msgspec
import numpy as np
import pytest
import statsmodels.api

from podium.core.event import AnswerFlag
from podium.core.experiments import Adaptive, Experiment, SharesChange
from podium.core.rollouts import Arm, Metric, Progress, Rollout, Segment, Step
from podium.delivery.analysis.compared import Look, compared
from podium.delivery.analysis.history import (
    HISTORY_MEASURES,
    HISTORY_WIDTH,
    LONGEST_S,
    HistoryTally,
    Past,
    covariates,
    period_of,
    stripes_in,
    stripes_of,
    why_none,
)
from podium.delivery.analysis.measures import INDEX
from podium.delivery.analysis.observed import Cell, Observed
from podium.delivery.analysis.tally import CLUSTERS, WIDTH, cluster_of
from podium.delivery.analysis.words import worse_sentence
from podium.delivery.buckets import arms_at
from podium.delivery.choose import Chooser
from podium.delivery.statistics.effect import compare
from podium.delivery.statistics.intervals import fixed_interval
from podium.testing.events import make_event

START_S = 1_760_000_000.0
DAY_S = 86_400.0
DESIGN = Experiment(hypothesis="h", primary="output_tokens", higher_is_better=False, effect=-0.1, samples=100)
PLAN = Rollout(
    model="m",
    strategy="ab",
    arms=(Arm(name="a", version="va"), Arm(name="b", version="vb", weight=2)),
    experiment=DESIGN,
)
CANARY = Rollout(model="m", candidate="new")
TOKENS = 2 * HISTORY_MEASURES.index("output_tokens")


def progress(rollout=PLAN, step=0, **changes):
    fields = {
        "phase": "running",
        "before": "va",
        "salt": "s",
        "step": step,
        "arms": arms_at(rollout, step, "va"),
        "started_unix_s": START_S,
        "step_unix_s": START_S,
    }
    return Progress(**(fields | changes))


def exchanges(count):
    """Callers of whom some name their users, and some do not."""
    for number in range(count):
        yield make_event(
            tenant=f"t{number % 3}",
            key_id=f"k{number % 7}",
            user=f"u{number}" if number % 4 else "",
            output_tokens=number,
        )


@pytest.mark.parametrize(("rollout", "step"), [(PLAN, 0), (CANARY, 0), (CANARY, 1), (CANARY, 2)])
def test_an_old_exchange_counts_for_the_subject_and_the_arm_that_it_has_now(rollout, step):
    now = progress(rollout, step)
    chooser = Chooser("x", rollout, now)
    stripes = stripes_of(rollout, "va")
    arms = stripes_in(rollout, "va", {1: step}, {1: 10})
    for event in exchanges(300):
        tally = HistoryTally(rollout, now)
        tally.add(event)
        chosen, subject = chooser.choose(event.tenant, event.key_id, event.user, "", "", "")
        ((first, cluster),) = tally.rows

        assert cluster == cluster_of(subject)
        assert first in stripes
        assert {arm for stripe, arm in arms if stripe == first} == ({chosen.arm} - {""})


def test_everything_is_added_up_that_any_exchange_tells():
    tally = HistoryTally(PLAN, progress())
    for event in exchanges(100):
        tally.add(event)
    totals = [sum(row[place] for row in tally.rows.values()) for place in range(HISTORY_WIDTH)]

    assert tally.exchanges == 100
    assert totals[TOKENS] == sum(range(100))
    assert {totals[2 * HISTORY_MEASURES.index(name) + 1] for name in ("error_rate", "cost_nanousd")} == {100}


@pytest.mark.parametrize(
    "changes",
    [
        {"answer_flags": int(AnswerFlag.MIRRORED)},
        {"answer_flags": int(AnswerFlag.OVERRIDDEN)},
        {"key_id": ""},
        {"tenant": "others"},
        {"user": "internal"},
    ],
)
def test_copies_tests_strangers_and_whom_the_rollout_is_not_about_are_no_history(changes):
    step = Step(percent=50, where=Segment(users=("", "u*")))
    about = msgspec.structs.replace(PLAN, where=Segment(tenants=("acme",), tiers=("gold",)), steps=(step,))
    tally = HistoryTally(about, progress())
    tally.add(make_event(**changes))

    assert (tally.rows, tally.exchanges) == ({}, 0)
    tally.add(make_event())
    assert tally.exchanges == 1


def test_the_period_ends_before_the_start_and_is_no_longer_than_the_experiment_may_be():
    for at_most_s, length_s in ((3 * DAY_S, 3 * DAY_S), (300 * DAY_S, LONGEST_S)):
        plan = msgspec.structs.replace(PLAN, experiment=msgspec.structs.replace(DESIGN, at_most_s=at_most_s))
        since_ns, until_ns = period_of(plan, progress())
        assert (until_ns / 1e9, (until_ns - since_ns) / 1e9) == (START_S - 60, length_s)
    assert (period_of(CANARY, progress())[1] - period_of(CANARY, progress())[0]) / 1e9 == 7 * DAY_S


def test_where_there_can_be_no_history_that_is_said():
    adaptive = msgspec.structs.replace(PLAN, experiment=msgspec.structs.replace(DESIGN, adaptive=Adaptive()))
    steps = tuple(Step(percent=percent) for percent in [*np.linspace(0.5, 99.5, 199).tolist(), 100.0])

    assert why_none(PLAN, progress()) == why_none(CANARY, progress(CANARY)) == ""
    assert "sessions" in why_none(msgspec.structs.replace(PLAN, sticky_by=("session", "user")), progress())
    assert "shares" in why_none(adaptive, progress())
    assert "shares" in why_none(PLAN, progress(changes=(SharesChange(unix_s=START_S, shares={"a": 10_000}),)))
    assert "subjects" in why_none(Rollout(model="m", candidate="new", strategy="shadow"), progress())
    assert "stretches" in why_none(Rollout(model="m", candidate="new", steps=steps), progress())


def test_stripes_count_by_the_exchanges_of_the_spans_in_which_they_were_an_arms():
    found = stripes_in(CANARY, "va", {1: 0, 2: 1, 9: 4}, {1: 30, 2: 70})

    assert found[0, "candidate"] == pytest.approx(1.0)
    assert found[500, "candidate"] == found[7500, "baseline"] == pytest.approx(0.7)
    assert found[9500, "baseline"] == pytest.approx(1.0)
    assert (2500, "candidate") not in found
    assert stripes_in(CANARY, "va", {1: 0}, {}) == {}


def test_too_little_to_go_by_is_no_history():
    alike = [(2.0, 1.0)] * 60
    various = [(float(number % 7), 1.0) for number in range(60)]

    assert covariates(various) is not None
    assert covariates(alike) is None  # nothing differs
    assert covariates(various[:49]) is None
    assert covariates([*various, (1e6, 1000.0)]) is None  # one has most of it
    assert covariates([*various, (1e6, 1.0)]) is None  # one is unlike all others
    assert covariates([(0.0, 0.0)] * 60) is None


def seen(arms, before):
    """As a look reads it. Of each arm: groups with y and x of output tokens; likewise before."""
    at = 2 * INDEX["output_tokens"] + 1
    cells = []
    for arm, groups in arms.items():
        for cluster, (y, x) in groups.items():
            totals = [0.0] * WIDTH
            totals[0], totals[at], totals[at + 1] = x, y, x
            cells.append(Cell(arm, "p/b", cluster, tuple(totals)))
    past = {}
    for arm, groups in before.items():
        rows = past[arm] = {}
        for cluster, (y, x) in groups.items():
            totals = [0.0] * HISTORY_WIDTH
            totals[TOKENS], totals[TOKENS + 1] = y, x
            rows[cluster] = tuple(totals)
    return Observed((), tuple(cells), Past(0.0, START_S, 1, complete=True, arms=past))


def grouped(groups, y, x):
    """Totals by group of those subjects that had any exchange."""
    totals_y, totals_x = (np.bincount(groups, weights=one, minlength=CLUSTERS) for one in (y, x))
    return {
        int(group): (float(totals_y[group]), float(totals_x[group])) for group in np.flatnonzero(np.bincount(groups))
    }


def house(chance, subjects, *, effect=0.0, known=0.7, share=0.5):
    """Subjects who differ, many exchanges of some and few of others; most were there before."""
    own = chance.lognormal(4, 0.6, subjects)
    often = chance.pareto(3, subjects) * 4 + 1
    arm, groups = chance.random(subjects) < share, chance.integers(0, CLUSTERS, subjects)
    found = {}
    for when in ("before", "after"):
        x = chance.poisson(often) + (when == "after")
        y = x * own * (1 + (arm & (when == "after")) * effect) + chance.normal(0, 10, subjects) * np.sqrt(x)
        here = chance.random(subjects) < known if when == "before" else np.full(subjects, fill_value=True)
        found[when] = {
            name: grouped(groups[mine & here], y[mine & here], x[mine & here])
            for name, mine in (("a", ~arm), ("b", arm))
        }
    return seen(found["after"], found["before"])


def test_the_adjusted_effect_agrees_with_a_regression_by_statsmodels():
    observed = house(np.random.default_rng(2), 3000, effect=0.05, share=0.3)
    arms = []
    for arm in "ab":
        of_z = observed.past.of(arm, "output_tokens")
        rows = [
            (*cell.totals[2 * INDEX["output_tokens"] + 1 :][:2], *of_z.get(cell.cluster, (0.0, 0.0)))
            for cell in observed.cells
            if cell.arm == arm
        ]
        y, x, y_before, x_before = np.array(rows).T
        ratio, ratio_before = y.sum() / x.sum(), y_before.sum() / x_before.sum()
        arms.append(
            (
                ratio + (y - ratio * x) / x.mean(),
                ratio_before + (y_before - ratio_before * x_before) / x_before.mean(),
            )
        )
    arm = np.repeat([0, 1], [len(y) for y, _ in arms])
    z = np.concatenate([z for _, z in arms])
    fit = statsmodels.api.OLS(np.concatenate([y for y, _ in arms]), np.column_stack([np.ones(len(z)), arm, z])).fit()

    found = compare(*(observed.sums(name, "output_tokens") for name in "ab"), cuped=True)

    assert found.estimate == pytest.approx(fit.params[1], rel=1e-6)
    assert found.variance**0.5 == pytest.approx(fit.bse[1], rel=0.05)  # which takes both arms' variances for one


def test_arms_that_are_alike_are_not_told_apart_and_intervals_are_narrower():
    chance, level = np.random.default_rng(17), 0.1
    estimates, wrong, widths = [], 0, []
    for _ in range(200):
        observed = house(chance, 900)
        sums = [observed.sums(arm, "output_tokens") for arm in "ab"]
        plain, adjusted = (
            fixed_interval(compare(*sums, relative=True, cuped=one), alpha=level) for one in (False, True)
        )
        estimates.append(adjusted.estimate)
        wrong += adjusted.above(0) or adjusted.below(0)
        widths.append((adjusted.upper - adjusted.lower) / (plain.upper - plain.lower))

    assert abs(np.mean(estimates)) < 3 * np.std(estimates) / 200**0.5
    assert wrong <= 200 * level + 3 * (200 * level * (1 - level)) ** 0.5
    assert np.mean(widths) < 0.85
    assert max(widths) < 1.01


def test_a_comparison_goes_by_history_and_says_how_much_that_took_out():
    metric = Metric(name="output_tokens", tolerance=0.01, higher_is_better=False)
    look = Look(alpha=0.05, proof_alpha=0.05, tuning=20_000, minimum_subjects=20)
    observed = house(np.random.default_rng(4), 3000, effect=0.1)
    bare = Observed(observed.arms, observed.cells)
    found, plain = (
        compared(metric, "b", *(one.sums(arm, "output_tokens") for arm in "ab"), look) for one in (observed, bare)
    )

    assert plain.variance_reduction is None
    assert 0.3 < found.variance_reduction < 1
    assert plain.lower < found.lower < 0.1
    assert "adjusted by what subjects did before the start" in worse_sentence(found)
    assert "adjusted" not in worse_sentence(plain)
    assert (found.value, found.reference) == (plain.value, plain.reference)


def test_history_of_one_arm_only_changes_nothing():
    observed = house(np.random.default_rng(4), 3000)
    half = Observed(observed.arms, observed.cells, Past(0, 0, 1, complete=True, arms={"a": observed.past.arms["a"]}))
    look = Look(alpha=0.05, proof_alpha=0.05, tuning=20_000, minimum_subjects=20)
    results = [
        compared(Metric(name="output_tokens"), "b", *(one.sums(arm, "output_tokens") for arm in "ab"), look)
        for one in (half, Observed(observed.arms, observed.cells))
    ]

    assert results[0] == results[1]


def test_single_backends_and_measures_that_nobody_knew_have_no_history():
    observed = house(np.random.default_rng(4), 3000)

    assert observed.sums("a", "output_tokens").zz > 0
    assert observed.sums("a", "output_tokens", only="p/b").zz == 0
    assert observed.past.of("a", "refusal_rate") is None
    assert observed.past.of("nobody", "output_tokens") is None
