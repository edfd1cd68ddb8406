import re

import pytest
from harness.contestants.all import CONTESTANTS
from harness.figures import AIM_GROUPS, FIGURES, METRIC_TITLES
from harness.lab import FULL
from harness.place import BENCH
from harness.series import METRICS, Plan

from podium.traffic.balancing.registry import STRATEGIES

README = (BENCH / "README.md").read_text()


@pytest.mark.parametrize("name", [one.name for one in METRICS] + [one.name for one in CONTESTANTS])
def test_every_metric_and_contestant_is_in_the_readme(name):
    assert re.search(rf"^\|[^|]*`{name}`", README, re.MULTILINE)


def test_every_metric_has_a_title_and_figures():
    names = {metric.name for metric in METRICS}
    assert names == set(METRIC_TITLES) == {figure.metric for figure in FIGURES}


def test_an_aim_is_about_contestants_that_are_measured_by_its_metric():
    metrics = {metric.name: metric for metric in METRICS}
    contestants = {contestant.name: contestant for contestant in CONTESTANTS}
    for figure in FIGURES:
        for aim in figure.aims:
            assert aim.group in AIM_GROUPS
            for name in (aim.subject, aim.beside):
                assert name is None or metrics[figure.metric].takes(contestants[name])


def test_a_contestant_with_metrics_of_its_own_is_measured_by_these_and_no_others():
    for contestant in CONTESTANTS:
        if contestant.metrics is not None:
            assert {metric.name for metric in METRICS if metric.takes(contestant)} == contestant.metrics


def test_every_strategy_is_timed():
    timed = {figure.value for figure in FIGURES if figure.metric == "choice"}
    assert timed == {f"{name}_us" for name in STRATEGIES}


def test_a_whole_run_takes_about_75_minutes_at_most():
    plan = Plan(metrics=METRICS, contestants=CONTESTANTS, rounds=7, quick=False, idle_wait_s=60)
    assert plan.lasts_s(FULL) < 75 * 60


def test_the_environment_of_the_peer_is_pinned_with_hashes():
    lines = (BENCH / "peers" / "vllm-router.txt").read_text().splitlines()
    packages = [number for number, line in enumerate(lines) if re.match(r"[a-z0-9]", line)]
    assert any(lines[number].startswith("vllm-router==0.1.17 ") for number in packages)
    for number in packages:
        assert re.match(r"[a-z0-9._-]+==[^ ;]+ (; .+ )?\\$", lines[number])
        assert lines[number + 1].strip().startswith("--hash=sha256:")
