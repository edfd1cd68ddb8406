"""Simulate rollouts and judge each of them at every look, with the function that Podium judges by.

    python scripts/simulate_rollouts.py                       # 1,000 rollouts of equal versions, 200 of each worse one
    python scripts/simulate_rollouts.py --rollouts 50 --worse 10 --output /tmp/simulated

Equal versions: a candidate that is the version before by another name goes through 5, 25 and 75 percent, with no
tolerance at all; whoever is returned is returned wrongly. Worse versions: what planning says of the sample that shows
them, and at which sample they were returned. Writes figures, plots, and the tables of docs/rollouts.md. Equal
arguments give equal figures.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import log, log1p
from pathlib import Path
from time import monotonic

import numpy as np
from simulated_report import AAResult, WorseResult, read, write
from simulated_traffic import JUDGED, SAME, Change, Floats, Traffic

from podium.core.rollouts import BUCKETS, Analysis, ArmShare, Metric, MetricName, Progress, Rollout, Step
from podium.delivery.analysis.judge import Evidence, judge
from podium.delivery.analysis.measures import INDEX
from podium.delivery.analysis.observed import ArmSeen, Cell, Observed, comparable
from podium.delivery.analysis.tally import COUNTS, span_us
from podium.delivery.analysis.verdict import Verdict
from podium.delivery.buckets import arms_at
from podium.delivery.statistics.intervals import Side
from podium.delivery.statistics.planning import Expected, Look, sample_size
from podium.delivery.statistics.sums import Subject, Sums

ROOT = Path(__file__).parent.parent
SEED = 20_261_122
BEGIN_UNIX_S, LOOK_S = 1_800_000_000.0, 10.0
SUBJECTS = 2000  # of equal versions
SLOWLY, QUICKLY = 0.1, 0.5  # subjects that leave between two looks: of equal versions, of worse ones
LOOKS_A_STEP = 20
LOOKS_TO_STATED, MOST_LOOKS = 40, 400  # of worse versions
POWER = 0.99  # of the stated sample: all but one in a hundred is to be returned by then
SHARE = 25.0  # percent of the subjects that get the worse version
HISTORY_LOOKS, HISTORY_SUBJECTS = 100, 5000


@dataclass(frozen=True)
class Worse:
    """A change for the worse, and what shows it."""

    name: str
    change: Change
    metric: MetricName
    effect: float  # on the scale of the interval
    look: Look
    rate: bool = False
    samples_per_exchange: float = 1.0


WORSE = (
    Worse(
        "time to first token +20%",
        Change(ttft_factor=1.2),
        "ttft_ms",
        log(1.2),
        Look(side=Side.LOWER, margin=log1p(0.1)),
    ),
    Worse("errors +1 point", Change(errors=0.01), "error_rate", 0.01, Look(side=Side.LOWER, margin=0.005), rate=True),
    Worse(
        "judge score -5%",
        Change(judge=-0.05),
        "judge_score",
        -0.05,
        Look(side=Side.UPPER, relative=True, known_baseline=True),
        samples_per_exchange=JUDGED,
    ),
)


def rollout_of(steps: tuple[float, ...], *, tolerant: bool) -> Rollout:
    """A canary that is watched by four metrics."""
    tolerance = (0.005, 0.01, 0.1) if tolerant else (0.0, 0.0, 0.0)
    metrics = (
        Metric(name="error_rate", tolerance=tolerance[0], absolute=True),
        Metric(name="empty_rate", tolerance=tolerance[1], absolute=True),
        Metric(name="ttft_ms", tolerance=tolerance[2]),
        Metric(name="judge_score"),
    )
    return Rollout(
        model="m",
        candidate="new",
        steps=tuple(Step(percent=percent) for percent in (*steps, 100.0)),
        analysis=Analysis(metrics=metrics, judge_model="judge", judge_share=JUDGED),
    )


class Watched:
    """A rollout that goes on, and all that was seen of it."""

    def __init__(self, rollout: Rollout, traffic: Traffic, change: Change) -> None:
        self._rollout, self._traffic, self._change = rollout, traffic, change
        self._now_s = BEGIN_UNIX_S
        self._totals: dict[tuple[int, str], Floats] = {}
        self._spans: dict[int, int] = {}
        self.enter(0)

    def enter(self, step: int) -> None:
        """Begin a step."""
        arms = arms_at(self._rollout, step, "old")
        self._progress = Progress(
            phase="running",
            before="old",
            salt="s",
            step=step,
            arms=arms,
            started_unix_s=BEGIN_UNIX_S,
            step_unix_s=self._now_s,
            changed_unix_s=self._now_s,
        )
        self._spans[span_us(self._now_s)] = step

    def look(self) -> Verdict:
        """Let some time go by, and judge."""
        self._now_s += LOOK_S
        span = span_us(self._progress.step_unix_s)
        for arm, totals in self._traffic.look(self._progress.arms, self._change).items():
            known = self._totals.get((span, arm))
            self._totals[span, arm] = totals if known is None else known + totals
        return judge(self._rollout, self._progress, Evidence(self._observed()), self._now_s)

    def _observed(self) -> Observed:
        together = comparable(self._rollout, self._progress, self._spans)
        cells = [
            Cell(arm, "", cluster, tuple(row))  # no backend is named: which one is to blame is not asked
            for arm in {share.name for share in self._progress.arms}
            for cluster, row in enumerate(sum(self._totals[span, arm] for span in together).tolist())  # type: ignore[union-attr]
            if row[0]
        ]
        seen = (
            ArmSeen(
                arm,
                span,
                self._spans[span],
                "new" if arm == "candidate" else "old",
                int(BEGIN_UNIX_S * 1e9),
                int(self._now_s * 1e9),
                (int(totals[:, 0].sum()), *(0 for _ in COUNTS[1:])),
            )
            for (span, arm), totals in sorted(self._totals.items())
        )
        return Observed(tuple(seen), tuple(cells))


def equal(index: int, *, seed: int) -> tuple[int | None, str, int, bool]:
    """The look at which it was returned wrongly (None: never), the metrics, all looks, whether shares were doubted."""
    random = np.random.default_rng([seed, 0, index])
    watched = Watched(rollout_of((5.0, 25.0, 75.0), tolerant=False), Traffic(random, SUBJECTS, SLOWLY), SAME)
    doubted, number = False, 0
    for step in range(3):
        if step:
            watched.enter(step)
        for _ in range(LOOKS_A_STEP):
            number += 1
            verdict = watched.look()
            doubted = doubted or (verdict.shares is not None and verdict.shares.mismatch)
            if verdict.outcome == "failed":
                return number, _worse_metrics(verdict), number, doubted
    return None, "", number, doubted


def worse(index: int, *, seed: int, which: int, stated: int) -> tuple[float, str]:
    """The metric's sample at which the candidate was returned, and by which metrics."""
    one = WORSE[which]
    random = np.random.default_rng([seed, 1 + which, index])
    subjects = round(stated / one.samples_per_exchange / LOOKS_TO_STATED / (SHARE / 100))
    watched = Watched(rollout_of((SHARE,), tolerant=True), Traffic(random, subjects, QUICKLY), one.change)
    for _ in range(MOST_LOOKS):
        verdict = watched.look()
        if verdict.outcome == "failed":
            return next(result.samples for result in verdict.metrics if result.name == one.metric), _worse_metrics(
                verdict
            )
    raise AssertionError(f"{one.name}: never returned")


def _worse_metrics(verdict: Verdict) -> str:
    return " ".join(result.name for result in verdict.metrics if result.decision == "worse")


def stated_samples(seed: int) -> Iterator[int]:
    """What planning says of each change, from the traffic of before and the level at which rollouts are judged."""
    random = np.random.default_rng([seed, 99])
    traffic = Traffic(random, HISTORY_SUBJECTS, QUICKLY)
    everybody = (ArmShare(name="all", version="old", first=0, count=BUCKETS),)
    history = sum(traffic.look(everybody, SAME)["all"] for _ in range(HISTORY_LOOKS))
    rollout = rollout_of((SHARE,), tolerant=True)
    alpha = Watched(rollout, Traffic(random, SUBJECTS, QUICKLY), SAME).look().metrics[0].alpha
    assert rollout.analysis is not None
    for one in WORSE:
        at = 2 * INDEX[one.metric] + 1
        sums = Sums.of(Subject(float(row[at]), float(row[at + 1])) for row in np.asarray(history))
        expected = Expected.of_sums(sums, rate=one.rate)
        look = Look(
            alpha=alpha,
            side=one.look.side,
            tuning=2.0 * rollout.analysis.target_samples,
            margin=one.look.margin,
            relative=one.look.relative,
            known_baseline=one.look.known_baseline,
        )
        stated = expected and sample_size(expected, one.effect, power=POWER, look=look)
        assert stated, "each change can be seen"
        yield stated


def main() -> None:
    """Run, write, and fail when a claim does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rollouts", type=int, default=1000, help="of equal versions")
    parser.add_argument("--worse", type=int, default=200, help="of each worse version")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, help="a folder for everything (default: the repository's docs)")
    parser.add_argument("--figures", type=Path, help="only write plots and tables again, from figures of before")
    options = parser.parse_args()
    if options.figures:
        write(*read(options.figures), options.output, ROOT, power=POWER)
        return
    began_s = monotonic()
    with ProcessPoolExecutor(options.processes) as pool:
        equals = list(pool.map(partial(equal, seed=options.seed), range(options.rollouts), chunksize=5))
        same = AAResult.of(equals)
        changes = []
        for which, (one, stated) in enumerate(zip(WORSE, stated_samples(options.seed), strict=True)):
            run = partial(worse, seed=options.seed, which=which, stated=stated)
            returned = list(pool.map(run, range(options.worse), chunksize=5))
            changes.append(WorseResult.of(one.name, one.metric, stated, returned))
    claims = write(same, changes, options.output, ROOT, power=POWER)
    print(f"{monotonic() - began_s:.0f} s")
    if not all(claims):
        sys.exit("a claim does not hold")


if __name__ == "__main__":
    main()
