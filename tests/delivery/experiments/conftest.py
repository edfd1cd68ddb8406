"""Experiments of which everything is known: each subject has one exchange and is a group of its own."""

import pytest

from podium.core.event import AnswerFlag
from podium.core.experiments import Adaptive, Experiment
from podium.core.rollouts import Analysis, Arm, Metric, Progress, Rollout, Step
from podium.delivery.analysis.observed import observed_of
from podium.delivery.analysis.tally import CLUSTERS, Tally, cluster_of, span_us
from podium.delivery.buckets import arms_at
from podium.testing.events import make_event

START_S = 1_760_000_000.0


def lonely_subjects(count):
    """Subjects of which no two are in one group: at most as many as there are groups."""
    found, number = {}, 0
    assert count <= CLUSTERS
    while len(found) < count:
        found.setdefault(cluster_of(f"{number:016x}"), f"{number:016x}")
        number += 1
    return list(found.values())[:count]


class World:
    """An experiment `prompts` of the arms long and short, and what was seen of it."""

    def __init__(self, arms=("long", "short"), weights=None, *, steps=(), metrics=(), **design):
        fields = {
            "hypothesis": "Short is cheaper.",
            "primary": "cost_nanousd",
            "effect": -0.1,
            "samples": 100,
            **design,
        }
        if adaptive := fields.get("adaptive"):
            fields["adaptive"] = Adaptive(**adaptive)
        self.rollout = Rollout(
            model="chat",
            strategy="ab",
            arms=tuple(
                Arm(name=name, version=f"v-{name}", weight=weight)
                for name, weight in zip(arms, weights or [1] * len(arms), strict=True)
            ),
            steps=steps or (Step(percent=100, minimum_s=1),),
            analysis=Analysis(metrics=metrics or (Metric(name="error_rate", tolerance=0.01, absolute=True),)),
            experiment=Experiment(**fields),
        )
        self.progress = Progress(
            phase="running",
            before="v-long",
            salt="s",
            arms=arms_at(self.rollout, 0, "v-long"),
            started_unix_s=START_S,
            step_unix_s=START_S,
            design="d" * 64,
        )
        self.tally = Tally()
        self.spans = {span_us(START_S): 0}

    def see(self, arm, subject, *, at_s=10.0, span_s=START_S, **changes):
        """An exchange of an arm."""
        event = make_event(
            started_unix_ns=int((START_S + at_s) * 1e9),
            rollout="prompts",
            arm=arm,
            subject=subject,
            finish_reason="stop",
            **changes,
        )
        self.spans[span_us(span_s)] = 0
        self.tally.add(event, span_us(span_s))

    def see_costs(self, arm, costs, *, subjects=None, **more):
        """An exchange of each subject, with these costs."""
        for subject, cost in zip(subjects or lonely_subjects(len(costs)), costs, strict=True):
            self.see(arm, subject, cost_nanousd=int(cost), **more)

    @property
    def observed(self):
        return observed_of(self.tally, self.spans)


@pytest.fixture
def world():
    return World


@pytest.fixture
def lonely():
    return lonely_subjects


@pytest.fixture
def empty():
    return {"answer_flags": int(AnswerFlag.EMPTY)}
