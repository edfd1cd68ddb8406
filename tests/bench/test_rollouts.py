"""The metric of rollouts, in small, on this machine."""

import os

import pytest
from harness.contestants.all import CONTESTANTS
from harness.figures import FIGURES
from harness.lab import QUICK, Lab
from harness.metrics.rollouts import Rollouts
from harness.place import Place


@pytest.fixture
def lab(tmp_path):
    cores = sorted(os.sched_getaffinity(0))
    return Lab(Place(tmp_path, tmp_path, cores[0], cores[-1], 1, 2, 3), QUICK)


def test_every_figure_of_it_is_measured(lab):
    podium = next(one for one in CONTESTANTS if one.name == "podium")
    assert Rollouts().takes(podium)
    outcome = Rollouts().measure(lab, podium, 1)
    assert outcome.problems == ()
    assert set(outcome.values) == {figure.value for figure in FIGURES if figure.metric == "rollouts"}
    assert all(0 < value < 1000 for value in outcome.values.values())
