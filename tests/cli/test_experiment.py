"""`experiment` against the real admin application."""

import asyncio
import random

import pytest

from podium.control.rollouts.moves import Asked, moved
from podium.control.rollouts.standing import Standings
from podium.delivery.phases import Happening
from podium.testing.events import make_event
from podium.testing.experiment_store import MemoryExperimentStore

HOUSE = """
{kind: Provider, name: p, spec: {protocol: local}}
--- {kind: Version, name: v1, spec: {backends: [{provider: p, model: m}]}}
--- {kind: Version, name: v2, spec: {backends: [{provider: p, model: n}]}}
--- {kind: Model, name: chat, spec: {version: v1}}
--- {kind: Rollout, name: prompts, spec: {model: chat, strategy: ab,
    arms: [{name: long, version: v1}, {name: short, version: v2}],
    experiment: {hypothesis: Short is cheaper., primary: cost_nanousd, effect: -0.1, samples: 5000, method: fixed}}}
"""


@pytest.fixture
def declared(house):
    house.apply(HOUSE)
    house.plane.experiments._reports.store = MemoryExperimentStore(house.ledger.events.values)
    return house


@pytest.fixture
def running(podium, declared):
    """It was started by command, is prepared, and had 400 exchanges."""

    async def prepare():
        standings = Standings(declared.resource_store)
        standing = await standings.one("prompts")
        now_ns = declared.plane.clock.unix_ns()
        move = moved(standing, Happening.PREPARED, Asked("podium/rollouts", now_ns / 1e9))
        assert await standings.write(standing, move, author="podium/rollouts")

    told = podium("experiment", "start", "prompts", "-m", "half the prompt")
    assert told.out.splitlines()[0] == "prompts: preparing: half the prompt"
    asyncio.run_coroutine_threadsafe(prepare(), declared.loop).result(20)
    chance, now_ns = random.Random(1), declared.plane.clock.unix_ns()
    declared.record(
        *(
            make_event(
                started_unix_ns=now_ns,
                rollout="prompts",
                arm=("long", "short")[number % 2],
                subject=f"{number:016x}",
                model="chat",
                user=f"u{number}",
                cost_nanousd=int(chance.gauss((1e6, 0.8e6)[number % 2], 1e5)),
            )
            for number in range(400)
        )
    )


def test_the_list_tells_where_experiments_stand(podium, declared):
    row = podium("experiment", "list").out.splitlines()[2].split()
    assert row[:6] == ["prompts", "chat", "cost_nanousd", "fixed", "pending", "0/5,000"]
    assert len(row[6]) == 12
    assert podium("experiment", "list", "--json").json["experiments"][0]["hypothesis"] == "Short is cheaper."


def test_without_any_it_says_so(podium, house):
    assert podium("experiment", "list").out == "No experiment is declared.\n"


def test_a_plan_of_what_is_said(podium, declared):
    told = podium(
        *("experiment", "plan", "--model", "chat", "--measure", "error_rate"),
        *("--effect", "0.01", "--base", "0.02", "--per-day", "1000"),
    ).out
    assert told.startswith("Errors now: 2%, as given.\nTraffic: 1,000 exchanges a day.\n")
    assert "Planned for an effect of +1 points." in told
    rows = [line.split() for line in told.splitlines() if line.startswith(("fixed", "sequential"))]
    fixed, sequential = ([int(cell.replace(",", "")) for cell in row[1:3]] for row in rows)
    assert fixed[1] == pytest.approx(2 * fixed[0], abs=1)
    assert sequential[0] > fixed[0] > 3000
    as_json = podium("experiment", "plan", "prompts", "--base", "9e5", "--deviation", "1e5", "--json").json
    assert (as_json["measure"], as_json["effect"], as_json["known_from"]) == ("cost_nanousd", -0.1, "given")


def test_a_plan_of_what_the_ledger_knows(podium, running):
    told = podium("experiment", "plan", "prompts").out
    assert "Cost of an answer now: $0.0009" in told
    assert "from 400 samples of the ledger" in told
    assert "Note: this takes less than a week" in told


def test_plans_that_cannot_be_made_are_told(podium, declared):
    wrong = podium("experiment", "plan", "--model", "chat", "--measure", "joy", "--effect", "1", code=1).err
    assert "there is no measure 'joy'" in wrong
    assert "error_rate, ttft_ms" in wrong
    unknown = podium("experiment", "plan", "--model", "chat", "--measure", "error_rate", "--effect", "0.01", code=1).err
    assert "say what it is now" in unknown
    assert "--base 0.02" in unknown


def test_a_report_says_the_loud_things_first(podium, running):
    told = podium("experiment", "report", "prompts").out
    lines = told.splitlines()
    assert lines[0] == "prompts: Short is cheaper."
    assert lines[3].startswith("! NOT AT ITS PLANNED SAMPLE: long 200, short 200 of 5,000 exchanges.")
    assert "That is better." in told
    assert "Sample ratio: as designed" in told
    assert "Money, at the traffic of now" in told
    assert "tenant acme" in told
    as_json = podium("experiment", "report", "prompts", "--json").json
    assert (as_json["decided_by"], as_json["complete"]) == ("sequential", False)
    assert as_json["design"] in told


def test_a_report_is_written_as_one_file(podium, running, tmp_path):
    told = podium("experiment", "report", "prompts", "--html", str(tmp_path / "report.html"))
    assert told.out == ""
    assert told.err == f"podium: wrote {tmp_path / 'report.html'}\n"
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    both = podium("experiment", "report", "prompts", "--json", "--html", str(tmp_path / "again.html"))
    assert both.json["name"] == "prompts"
    refused = podium("experiment", "report", "prompts", "--html", str(tmp_path / "no" / "report.html"), code=1)
    assert "cannot be written" in refused.err


def test_it_is_stopped_with_a_winner_or_without(podium, running):
    assert "there are long, short" in podium("experiment", "stop", "prompts", "--winner", "tall", code=1).err
    ended = podium("experiment", "stop", "prompts", "--winner", "short", "-m", "cheaper", "--json")
    assert ended.json["phase"] == "promoted"
    assert podium("get", "model", "chat", "--json").json["spec"]["version"] == "v2"
    again = podium("experiment", "stop", "prompts", code=1)
    assert "cannot be aborted now" in again.err


def test_what_never_ran_is_not_reported(podium, declared):
    refused = podium("experiment", "report", "prompts", code=1).err
    assert "was never started" in refused
    assert "podium experiment start prompts" in refused
