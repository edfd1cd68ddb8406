"""Who is measured, in which order, and when a run gives up."""

import os

import pytest
from harness.contestants.podium import Podium
from harness.contestants.podium_bare import PodiumBare
from harness.lab import QUICK, Lab
from harness.metrics.base import Outcome, takes_part
from harness.place import Place
from harness.processes import BenchError, NotThere
from harness.report import render
from harness.series import Plan, measure_series, new_series


class FakeMetric:
    """Has the name of a metric with aims, and loads nobody."""

    name = "requests"
    rounds = 2

    def __init__(self):
        self.order = []
        self.fails = {}

    def lasts_s(self, loads):
        return 60.0

    def takes(self, contestant):
        return takes_part(contestant, self.name)

    def measure(self, lab, contestant, number):
        self.order.append((number, contestant.name))
        if self.fails.get(contestant.name) == number:
            raise BenchError("it fell over")
        return Outcome({"requests_per_s": 1.0})


class FakePodium(Podium):
    """Is prepared at once, or cannot be."""

    def __init__(self, fails="", error=BenchError):
        super().__init__()
        self._fails, self._error = fails, error

    def prepare(self, place):
        if self._fails:
            raise self._error(self._fails)


class FakeBare(PodiumBare):
    def __init__(self, fails="", rounds=1000):
        self._fails = fails
        self.rounds = rounds

    def prepare(self, place):
        if self._fails:
            raise BenchError(self._fails)


@pytest.fixture
def measure(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.series.wait_idle", lambda cores, limit_s: 0.0)
    monkeypatch.setattr("harness.series.calibrate_ms", lambda core: 1.0)
    cores = sorted(os.sched_getaffinity(0))
    lab = Lab(Place(tmp_path, tmp_path, cores[0], cores[-1], 1, 2, 3), QUICK)

    def run(metric, *contestants, rounds=3):
        plan = Plan(metrics=[metric], contestants=contestants, rounds=rounds, quick=True, idle_wait_s=0)
        series = new_series(plan)
        measure_series(plan, lab, series, keep=lambda: None)
        return series

    return run


def test_order_changes_every_second_round_and_ends_with_the_metrics_rounds(measure):
    metric = FakeMetric()
    measure(metric, FakePodium(), FakeBare())
    assert metric.order == [(1, "podium"), (1, "podium-bare"), (2, "podium-bare"), (2, "podium")]


def test_a_contestant_may_have_fewer_rounds(measure):
    metric = FakeMetric()
    measure(metric, FakePodium(), FakeBare(rounds=1))
    assert metric.order == [(1, "podium"), (1, "podium-bare"), (2, "podium")]


def test_without_a_contestant_that_aims_are_about_nothing_is_measured(measure):
    metric = FakeMetric()
    with pytest.raises(BenchError, match=r"podium cannot take part.*control ended with 1: Traceback"):
        measure(metric, FakePodium(fails="control ended with 1: Traceback"), FakeBare())
    assert metric.order == []


def test_a_contestant_whose_subject_is_not_there_is_left_out_and_the_page_says_why(measure):
    metric = FakeMetric()
    series = measure(metric, FakePodium(fails="there is no such setting", error=NotThere), FakeBare())
    assert {name for _, name in metric.order} == {"podium-bare"}
    assert "| - | not measured: there is no such setting |" in render(series)


def test_a_contestant_that_no_aim_is_about_may_be_missing(measure):
    metric = FakeMetric()
    series = measure(metric, FakePodium(), FakeBare(fails="no luck"))
    assert series.missing == {"podium-bare": "could not take part: no luck"}
    assert {name for _, name in metric.order} == {"podium"}


def test_a_contestant_that_cannot_be_measured_in_the_first_round_ends_the_run(measure):
    metric = FakeMetric()
    metric.fails = {"podium": 1}
    with pytest.raises(BenchError, match=r"podium cannot take part.*it fell over"):
        measure(metric, FakePodium(), FakeBare())
    assert metric.order == [(1, "podium")]


def test_a_later_failure_is_told_and_the_run_goes_on(measure):
    metric = FakeMetric()
    metric.fails = {"podium": 2}
    series = measure(metric, FakePodium(), FakeBare())
    assert [run.problems for run in series.of("requests", "podium")] == [(), ("could not be measured: it fell over",)]


def test_how_long_it_takes_is_told_before_it_begins(measure, capsys):
    measure(FakeMetric(), FakePodium(), FakeBare())
    assert capsys.readouterr().out.startswith("3 rounds, about 4 minutes\n")
