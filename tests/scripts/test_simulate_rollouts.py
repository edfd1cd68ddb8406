"""The simulation runs, writes what it says, and is the same for the same seed."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "simulate_rollouts.py"


def run(*arguments):
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    done = run("--rollouts", 4, "--worse", 2, "--processes", 1, "--output", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_rollouts_of_equal_versions_go_through_and_worse_ones_are_returned_in_time(simulated):
    figures = json.loads((simulated / "simulated-rollouts.json").read_text())

    assert (figures["equal"]["rollouts"], figures["equal"]["looks"], figures["equal"]["returned"]) == (4, 60, 0)
    assert [change["metric"] for change in figures["worse"]] == ["ttft_ms", "error_rate", "judge_score"]
    for change in figures["worse"]:
        assert change["within_stated"] == 1
        assert list(change["by_metric"]) == [change["metric"]]
        assert 0 < change["samples"][0] <= change["samples"][-1] == change["largest"] <= change["stated"]


def test_plots_are_pictures_and_the_tables_are_in_the_page(simulated):
    for name in ("simulated-equal.svg", "simulated-worse.svg"):
        assert ET.fromstring((simulated / name).read_text()).tag.endswith("svg")
    page = (simulated / "rollouts.md").read_text()
    assert page.count("| --- |") == 1
    assert "4 rollouts of a candidate" in page
    assert page.index("simulated: begin") < page.index("time to first token +20%") < page.index("simulated: end")


def test_plots_and_tables_can_be_written_again_from_figures(simulated, tmp_path):
    (tmp_path / "rollouts.md").write_text(
        "# Rollouts\n\n<!-- simulated: begin -->\nold\n<!-- simulated: end -->\n\nMore.\n"
    )

    done = run("--figures", simulated / "simulated-rollouts.json", "--output", tmp_path)

    page = (tmp_path / "rollouts.md").read_text()
    assert done.returncode == 0
    assert "old" not in page
    assert page.endswith("<!-- simulated: end -->\n\nMore.\n")
    for name in ("simulated-rollouts.json", "simulated-equal.svg", "simulated-worse.svg"):
        assert (tmp_path / name).read_text() == (simulated / name).read_text()


def test_a_page_without_a_place_for_tables_is_left_alone(simulated, tmp_path):
    (tmp_path / "rollouts.md").write_text("# Rollouts\n")

    done = run("--figures", simulated / "simulated-rollouts.json", "--output", tmp_path)

    assert done.returncode != 0
    assert "simulated: begin" in done.stderr
    assert (tmp_path / "rollouts.md").read_text() == "# Rollouts\n"
