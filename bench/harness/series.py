"""Interleaved rounds: who is measured by what, in which order."""

import datetime as dt
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.contestants.base import Contestant
from harness.figures import FIGURES
from harness.lab import Lab, Loads
from harness.machine import calibrate_ms, describe_machine, wait_idle
from harness.metrics.base import Metric
from harness.metrics.choice import Choice
from harness.metrics.engine import Engine
from harness.metrics.keys import ManyKeys
from harness.metrics.latency import Latency
from harness.metrics.overload import Overload
from harness.metrics.requests import Requests
from harness.metrics.rollouts import Rollouts
from harness.metrics.slow import SlowBackend
from harness.metrics.soak import Soak
from harness.metrics.start import Start
from harness.metrics.streams import FastStreams, PacedStreams
from harness.metrics.translation import Translation
from harness.metrics.two_gateways import TwoGateways
from harness.place import REPOSITORY
from harness.processes import BenchError, NotThere
from harness.results import Run, Series

__all__ = ["METRICS", "Plan", "measure_series", "new_series"]

METRICS: tuple[Metric, ...] = (
    Requests(),
    Latency(),
    FastStreams(),
    Translation(),
    PacedStreams(),
    Start(),
    Soak("soak"),
    Soak("failover-soak"),
    SlowBackend(),
    Choice(),
    Rollouts(),
    ManyKeys(),
    Overload(),
    TwoGateways(),
    Engine(),
)
_PREPARE_S = 4.0  # a contestant, when what it needs is installed


@dataclass(frozen=True, slots=True)
class Plan:
    """What a series consists of."""

    metrics: Sequence[Metric]
    contestants: Sequence[Contestant]
    rounds: int
    quick: bool
    idle_wait_s: float  # longest wait for an idle machine before a measurement

    def takers(self, metric: Metric, number: int) -> list[Contestant]:
        """Who is measured by a metric in a round, in the order of measuring."""
        takers = [
            contestant
            for contestant in self.contestants
            if metric.takes(contestant) and number <= min(metric.rounds, contestant.rounds)
        ]
        return takers if number % 2 else takers[::-1]

    def judged(self) -> set[str]:
        """The contestants that aims of these metrics are about; some may not take part."""
        metrics = {metric.name for metric in self.metrics}
        aims = [aim for figure in FIGURES if figure.metric in metrics for aim in figure.aims]
        return {name for aim in aims for name in (aim.subject, aim.beside) if name is not None}

    def lasts_s(self, loads: Loads) -> float:
        """About how long all of it takes on an idle machine."""
        measured = sum(
            metric.lasts_s(loads) * len(self.takers(metric, number))
            for number in range(1, self.rounds + 1)
            for metric in self.metrics
        )
        return measured + _PREPARE_S * len(self.contestants)


def new_series(plan: Plan) -> Series:
    """An empty series that knows machine and contestants."""
    takers = [one for one in plan.contestants if any(metric.takes(one) for metric in plan.metrics)]
    return Series(
        started=_now(),
        commit=_commit(),
        quick=plan.quick,
        rounds=plan.rounds,
        machine=describe_machine(),
        versions={},
        titles={contestant.name: contestant.title for contestant in takers},
        abouts={contestant.name: contestant.about for contestant in takers},
        beside={contestant.name: contestant.beside for contestant in takers if contestant.beside is not None},
    )


def measure_series(plan: Plan, lab: Lab, series: Series, keep: Callable[[], None]) -> None:
    """Measure all rounds into `series`; `keep` is called after each measurement.

    BenchError: a contestant that the aims are about cannot be measured.
    """
    print(f"{plan.rounds} rounds, about {plan.lasts_s(lab.loads) / 60:.0f} minutes", flush=True)
    plan = replace(plan, contestants=_prepare(plan, lab, series))
    judged = plan.judged()
    cores = (lab.place.gateway_core, lab.place.load_core)
    for number in range(1, plan.rounds + 1):
        wait_idle(set(cores), limit_s=plan.idle_wait_s)
        series.calibration_ms.append({core: round(calibrate_ms(core), 2) for core in cores})
        for metric in plan.metrics:
            for contestant in plan.takers(metric, number):
                waited_s = wait_idle(set(cores), limit_s=plan.idle_wait_s)
                run = _measure(metric, lab, contestant, number, waited_s)
                series.runs.append(run)
                _tell(run, plan.rounds)
                keep()
                if number == 1 and not run.values and contestant.name in judged:
                    raise _cannot_take_part(contestant, run.problems[0])
    series.ended = _now()
    keep()


def _prepare(plan: Plan, lab: Lab, series: Series) -> list[Contestant]:
    ready: list[Contestant] = []
    judged = plan.judged()
    for contestant in plan.contestants:
        if not any(metric.takes(contestant) for metric in plan.metrics):
            continue
        try:
            series.versions[contestant.name] = contestant.version()
            contestant.prepare(lab.place)
        except NotThere as error:
            series.missing[contestant.name] = f"not measured: {error}"
            print(f"{contestant.name} is not measured: {error}", flush=True)
        except BenchError as error:
            if contestant.name in judged:
                raise _cannot_take_part(contestant, str(error)) from error
            series.missing[contestant.name] = f"could not take part: {error}"
            print(f"{contestant.name} cannot take part: {error}", flush=True)
        else:
            ready.append(contestant)
    if not ready:
        raise BenchError("no contestant can be measured")
    return ready


def _cannot_take_part(contestant: Contestant, why: str) -> BenchError:
    return BenchError(
        f"{contestant.name} cannot take part, and aims are about it, so nothing more is measured."
        f" (`--contestants` with the others leaves it out.) {why}"
    )


def _measure(metric: Metric, lab: Lab, contestant: Contestant, number: int, waited_s: float) -> Run:
    try:
        outcome = metric.measure(lab, contestant, number)
    except BenchError as error:
        return Run(
            metric=metric.name,
            contestant=contestant.name,
            round=number,
            values={},
            problems=(f"could not be measured: {error}",),
            waited_s=waited_s,
        )
    reading = outcome.reading
    return Run(
        metric=metric.name,
        contestant=contestant.name,
        round=number,
        values=outcome.values,
        problems=outcome.problems,
        waited_s=waited_s,
        load_core_busy=reading.load_core_busy if reading else 0.0,
        other_cores=reading.other_cores if reading else 0.0,
        stolen_cores=reading.stolen_cores if reading else 0.0,
    )


def _tell(run: Run, rounds: int) -> None:
    figures = "  ".join(f"{name} {value:,.6g}" for name, value in run.values.items())
    state = f"  [others used {run.other_cores:.2f} cores]" if run.disturbed else ""
    print(f"{run.round}/{rounds}  {run.metric:13} {run.contestant:18} {figures}{state}", flush=True)
    for problem in run.problems:
        print(f"      ! {problem}", flush=True)


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(REPOSITORY), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout.strip()

    dirty = ", with changes that are not committed" if git("status", "--porcelain", "--", "src") else ""
    return f"{git('rev-parse', '--short=12', 'HEAD') or 'unknown'}{dirty}"


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
