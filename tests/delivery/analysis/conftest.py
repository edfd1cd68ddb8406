import random

import pytest

from podium.core.event import AnswerFlag
from podium.core.rollouts import Analysis, ArmShare, Metric, Progress, Rollout, Step
from podium.delivery.analysis.judge import Evidence, judge
from podium.delivery.analysis.observed import observed_of
from podium.delivery.analysis.tally import Tally, span_us
from podium.testing.events import make_event

START_S = 1_760_000_000.0


class Traffic:
    """Exchanges of both arms, by one seed: an exchange every `every_s`, each of one of `subjects` of its arm."""

    def __init__(self, seed, *, subjects=400, every_s=0.05, backends=("p/a",)):
        self.chance = random.Random(seed)
        self.subjects = subjects
        self.every_s = every_s
        self.backends = backends
        self.tally = Tally()
        self.now_s = START_S + 3.0
        self.turn = 0

    def run(self, count, *, candidate=None, baseline=None, bad_backend="", bad=None, share=0.5):
        """`candidate`, `baseline`: what makes an event's changes of a source of chance."""
        for _ in range(count):
            self.turn += 1
            arm = "candidate" if self.chance.random() < share else "baseline"
            backend = self.backends[self.turn % len(self.backends)]
            make = candidate if arm == "candidate" else baseline
            changes = plain(self.chance) | (make(self.chance) if make else {})
            if backend == bad_backend and arm == "candidate" and bad:
                changes |= bad(self.chance)
            event = make_event(
                started_unix_ns=int(self.now_s * 1e9),
                rollout="r",
                arm=arm,
                version=arm,
                backend=backend,
                subject=f"{arm}-{self.chance.randrange(self.subjects)}",
                **changes,
            )
            self.tally.add(event, span_us(START_S))
            self.now_s += self.every_s
        return self

    def evidence(self, **changes):
        return Evidence(observed_of(self.tally), **changes)


def plain(chance):
    first = int(chance.lognormvariate(0, 0.5) * 100e6)
    return {
        "first_byte_ns": first,
        "ended_ns": first + chance.randrange(10**8, 10**9),
        "finish_reason": "stop",
        "output_tokens": chance.randrange(2, 60),
        "cost_nanousd": chance.randrange(1000, 9000),
    }


def failing(rate):
    def make(chance):
        bad = chance.random() < rate
        return {"reason": "upstream_timeout", "fault": "upstream", "status": 504} if bad else {}

    return make


def empty(rate):
    return lambda chance: {"answer_flags": int(AnswerFlag.EMPTY) if chance.random() < rate else 0}


STEPS = (Step(percent=50, minimum_s=10, minimum_samples=50), Step(percent=100))


def a_rollout(*metrics, steps=STEPS, **changes):
    analysis = Analysis(**({"metrics": metrics} if metrics else {}), **changes)
    return Rollout(model="m", candidate="new", steps=steps, analysis=analysis)


def progress_of(**changes):
    fields = {
        "phase": "running",
        "before": "old",
        "salt": "s",
        "arms": (
            ArmShare(name="candidate", version="new", first=0, count=5000),
            ArmShare(name="baseline", version="old", first=5000, count=5000),
        ),
        "started_unix_s": START_S,
        "step_unix_s": START_S,
    }
    return Progress(**(fields | changes))


@pytest.fixture(scope="session")
def kit():
    """What tests of the analysis are made of."""

    class Kit:
        START_S = START_S
        Traffic = Traffic
        Metric = Metric
        failing = staticmethod(failing)
        empty = staticmethod(empty)
        rollout = staticmethod(a_rollout)
        progress = staticmethod(progress_of)

        @staticmethod
        def verdict(traffic, rollout, now_s=None, progress=None, **evidence):
            at = traffic.now_s if now_s is None else now_s
            return judge(rollout, progress or progress_of(), traffic.evidence(**evidence), at)

    return Kit
