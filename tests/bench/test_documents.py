import re

import pytest
from harness.contestants.all import CONTESTANTS
from harness.figures import FIGURES, METRIC_TITLES
from harness.place import BENCH
from harness.series import METRICS

README = (BENCH / "README.md").read_text()


@pytest.mark.parametrize("name", [one.name for one in METRICS] + [one.name for one in CONTESTANTS])
def test_every_metric_and_contestant_is_in_the_readme(name):
    assert re.search(rf"^\|[^|]*`{name}`", README, re.MULTILINE)


def test_every_metric_has_a_title_and_figures():
    names = {metric.name for metric in METRICS}
    assert names == set(METRIC_TITLES) == {figure.metric for figure in FIGURES}


def test_an_aim_stands_beside_a_contestant_that_is_measured_by_the_same_metric():
    metrics = {metric.name: metric for metric in METRICS}
    contestants = {contestant.name: contestant for contestant in CONTESTANTS}
    for figure in FIGURES:
        if figure.aim is not None and figure.aim.beside is not None:
            assert metrics[figure.metric].takes(contestants[figure.aim.beside])


def test_the_environment_of_the_peer_is_pinned_with_hashes():
    lines = (BENCH / "peers" / "vllm-router.txt").read_text().splitlines()
    packages = [number for number, line in enumerate(lines) if re.match(r"[a-z0-9]", line)]
    assert any(lines[number].startswith("vllm-router==0.1.17 ") for number in packages)
    for number in packages:
        assert re.match(r"[a-z0-9._-]+==[^ ;]+ (; .+ )?\\$", lines[number])
        assert lines[number + 1].strip().startswith("--hash=sha256:")
