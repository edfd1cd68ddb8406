"""An experiment as docs/experiments.md has it: real processes, two versions, users who keep theirs, a report."""

import asyncio
import json
import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from podium.testing.simulator_process import SimulatorProcess
from podium.testing.site import Site
from podium.testing.stream_load import StreamLoad
from podium.testing.unharmed import true_in_a_thread

pytestmark = pytest.mark.scenario

PAGE = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text()
DECLARED = re.search(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1]
COMMANDS = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
QUICK = {"PODIUM_CONTROL_ROLLOUT_TICK_S": "0.3", "PODIUM_CONTROL_POLL_S": "0.1", "PODIUM_CONTROL_LOADER_POLL_S": "0.1"}
SAMPLES = 250
PER_SECOND = 60


@pytest.fixture
def upstreams(tmp_path):
    """Where the versions are served: the second one answers in half as many tokens, the third often in none."""
    behaviours = {"long": "chunks=10,before-content=5ms", "short": "chunks=5,before-content=5ms"}
    behaviours["empty"] = "chunks=3,before-content=5ms"
    with ExitStack() as stack:
        found = {
            name: stack.enter_context(SimulatorProcess(tmp_path / f"{name}.log", behaviour))
            for name, behaviour in behaviours.items()
        }
        for one in found.values():
            one.wait_up()
        yield found


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path / "site", environment=QUICK)
    site.control.extra_environment["PODIUM_CONTROL_GATEWAYS"] = f"http://127.0.0.1:{site.gateways[0].port}"
    with site.running_control(), site.running_gateway():
        yield site


def words(command):
    """A command of the page as arguments."""
    return [part.strip('"') for part in re.findall(r'"[^"]*"|\S+', command)][1:]


def command_about(*wanted):
    return next(command for command in COMMANDS if command.startswith(f"podium {' '.join(wanted)}"))


class House:
    """What the tests say to it."""

    def __init__(self, site, upstreams):
        self.site, self.upstreams = site, upstreams

    async def podium(self, command, code=0):
        """A command as the page has it."""
        done = await asyncio.to_thread(self.site.control.run, *words(command), check=False, timeout_s=60)
        assert done.code == code, done.out + done.err
        return done

    def write(self, text):
        """The page's file."""
        file = self.site.control.folder / "experiment.yaml"
        file.write_text(text)

    def report(self, name="prompts"):
        status, text = self.site.admin("GET", f"/admin/v1/experiments/{name}/report")
        assert status == 200, text
        return json.loads(text)

    def phase(self, name="prompts"):
        return json.loads(self.site.admin("GET", f"/admin/v1/rollouts/{name}")[1])["phase"]


def served_in_two_places(text, upstreams):
    """What the page declares, with the addresses of here: the second version at a place of its own."""
    text = text.replace("http://10.0.0.5:8000/v1", upstreams["long"].url)
    other = f'kind: Provider\nname: other\nspec: {{protocol: openai, base_url: "{upstreams["short"].url}"}}\n---\n'
    other += (
        'kind: Price\nname: other\nspec: {provider: other, model: "*", input_usd_per_million: "0.15",'
        ' output_usd_per_million: "0.60"}\n---\n'
    )
    before, short = text.split("name: chat-short")
    return other + before + "name: chat-short" + short.replace("provider: own", "provider: other", 1)


async def test_the_experiment_of_the_page_is_planned_started_reported_and_won(site, upstreams):
    house = House(site, upstreams)
    text = served_in_two_places(DECLARED, upstreams).replace("samples: 2000 ", f"samples: {SAMPLES} ")
    text = text.replace("  experiment:", "  steps: [{percent: 100, minimum_s: 3}]\n  experiment:")
    assert f"samples: {SAMPLES} " in text
    house.write(text)
    await house.podium(command_about("apply"))
    key = (await asyncio.to_thread(site.new_key, "callers"))[1]
    await true_in_a_thread(lambda: site.status_of("chat", key) == 200, timeout_s=10)
    async with StreamLoad(site.gateways[0].port, key, model="chat", per_second=PER_SECOND, users=300) as load:
        await true_in_a_thread(lambda: len(load.served) > 200, timeout_s=30)
        for command in [one for one in COMMANDS if "experiment plan" in one]:
            planned = await house.podium(command)
            assert "fixed" in planned.out, planned.out
            assert "sequential" in planned.out, planned.out
        planned = (await house.podium(f"{command_about('experiment', 'plan', 'prompts')} --json")).json()
        assert (planned["known_from"], planned["measure"]) == ("ledger", "cost_nanousd")
        assert planned["known_samples"] > 100

        await house.podium(command_about("experiment", "start"))
        await true_in_a_thread(lambda: house.phase() == "running", timeout_s=30)
        (listed,) = (await house.podium(f"{command_about('experiment', 'list')} --json")).json()["experiments"]
        assert listed["frozen"]
        early = await asyncio.to_thread(house.report)
        assert early["design"] == listed["design"]

        house.write(text.replace("effect: -0.1", "effect: -0.2"))
        refused = await house.podium(command_about("apply"), code=1)
        assert "is under way and cannot be another plan meanwhile" in refused.err

        await true_in_a_thread(lambda: house.phase() == "paused", timeout_s=60)
    report = (await house.podium(command_about("experiment", "report", "prompts", "--json"))).json()
    assert (report["reason"], report["complete"], report["believable"]) == ("seen_enough", True, True)
    assert min(arm["exchanges"] for arm in report["arms"]) >= SAMPLES
    assert report["design_unchanged"]
    primary = report["effects"][0]
    assert (primary["measure"], primary["arm"], primary["finding"]) == ("cost_nanousd", "short", "better")
    assert primary["effect"] < -0.1
    assert report["money"]["arms"][1]["difference_month_usd"] < 0
    assert not report["ratio"]["mismatch"]
    assert [(one["kind"], one["name"]) for one in report["segments"]] == [("tenant", "default")]
    shown = await house.podium(command_about("experiment", "report"))
    assert "That is better." in shown.out
    await house.podium(command_about("experiment", "report", "prompts", "--html"))
    page = (site.control.folder / "report.html").read_text()
    assert report["design"] in page
    assert "<script" not in page
    status, served = await asyncio.to_thread(site.admin, "GET", "/admin/v1/experiments/prompts/report.html")
    assert (status, served[:15]) == (200, "<!doctype html>")

    await house.podium(command_about("experiment", "stop"))
    assert house.phase() == "promoted"
    model = json.loads(site.admin("GET", "/admin/v1/resources/Model/chat")[1])
    assert model["spec"]["version"] == "chat-short"
    assert (await asyncio.to_thread(house.report))["winner"] == "short"


ADAPTIVE = {
    "hypothesis": "Some version is cheapest.",
    "primary": "cost_nanousd",
    "effect": -0.1,
    "samples": 100_000,
    "adaptive": {"floor": 0.1, "every_s": 2, "largest_step": 0.3, "minimum_samples": 40},
}


async def test_an_adaptive_one_takes_an_arm_out_and_gives_the_cheaper_one_more(site, upstreams):
    house = House(site, upstreams)
    for name, upstream in upstreams.items():
        price = {"provider": name, "model": "*", "input_usd_per_million": "0.15", "output_usd_per_million": "0.6"}
        backend = {"provider": name, "model": "scripted"}
        site.declare(
            {"kind": "Provider", "name": name, "spec": {"protocol": "openai", "base_url": upstream.url}},
            {"kind": "Price", "name": name, "spec": price},
            {"kind": "Version", "name": f"v-{name}", "spec": {"backends": [backend]}},
        )
    guard = {"name": "empty_rate", "tolerance": 0.05, "absolute": True}
    plan = {
        "model": "chat",
        "strategy": "ab",
        "arms": [{"name": name, "version": f"v-{name}"} for name in upstreams],
        "analysis": {"metrics": [guard], "minimum_subjects": 5},
        "experiment": ADAPTIVE,
    }
    site.declare(
        {"kind": "Model", "name": "chat", "spec": {"version": "v-long", "endpoints": ["chat.completions"]}},
        {"kind": "Rollout", "name": "cheapest", "spec": plan},
    )
    key = (await asyncio.to_thread(site.new_key, "callers"))[1]
    await true_in_a_thread(lambda: site.status_of("chat", key) == 200, timeout_s=10)

    def shares():
        told = json.loads(site.admin("GET", "/admin/v1/experiments/cheapest/report")[1])
        return {arm["name"]: arm["share"] or 0.0 for arm in told["arms"]}

    async with StreamLoad(site.gateways[0].port, key, model="chat", per_second=PER_SECOND, users=400):
        await house.podium("podium experiment start cheapest")
        await true_in_a_thread(lambda: house.phase("cheapest") == "running", timeout_s=30)
        upstreams["empty"].behave("chunks=0,share=0.25")
        await true_in_a_thread(lambda: shares()["empty"] == 0.0, timeout_s=60, every_s=0.3)
        told = json.loads(site.admin("GET", "/admin/v1/rollouts/cheapest")[1])
        assert told["phase"] == "running", told
        await true_in_a_thread(lambda: shares()["short"] > 0.75, timeout_s=60, every_s=0.3)
    report = await asyncio.to_thread(house.report, "cheapest")
    assert [arm["taken_out"] for arm in report["arms"]] == [False, False, True]
    assert any(warning.startswith("Arm empty ended on ") for warning in report["warnings"])
    short = next(row for row in report["effects"] if (row["measure"], row["arm"]) == ("cost_nanousd", "short"))
    assert short["finding"] == "better"
    await house.podium("podium experiment stop cheapest")
    stopped = await asyncio.to_thread(house.report, "cheapest")
    assert (stopped["phase"], stopped["complete"]) == ("aborted", False)
    assert stopped["warnings"][0].startswith("STOPPED BEFORE ITS PLANNED SAMPLE")


async def test_an_arm_whose_server_is_dead_ends_alone_and_the_report_outlives_the_experiment(site, upstreams):
    """Fixed shares: the gateway takes the arm out at once, control ends it, and the others go on."""
    house = House(site, upstreams)
    for name, upstream in upstreams.items():
        backend = {"provider": name, "model": "scripted"}
        site.declare(
            {"kind": "Provider", "name": name, "spec": {"protocol": "openai", "base_url": upstream.url}},
            {"kind": "Version", "name": f"v-{name}", "spec": {"backends": [backend]}},
        )
    plan = {
        "model": "chat",
        "strategy": "ab",
        "arms": [{"name": name, "version": f"v-{name}"} for name in upstreams],
        "experiment": {"hypothesis": "h", "primary": "output_tokens", "effect": -0.1, "samples": 100_000},
    }
    failure = {"retries": {"attempts": 1}}
    model = {"version": "v-long", "endpoints": ["chat.completions"], "failure": failure}
    site.declare({"kind": "Model", "name": "chat", "spec": model}, {"kind": "Rollout", "name": "three", "spec": plan})
    key = (await asyncio.to_thread(site.new_key, "callers"))[1]
    await true_in_a_thread(lambda: site.status_of("chat", key) == 200, timeout_s=10)

    async with StreamLoad(site.gateways[0].port, key, model="chat", per_second=PER_SECOND, users=200) as load:
        await house.podium("podium experiment start three")
        await true_in_a_thread(lambda: house.phase("three") == "running", timeout_s=30)
        design = (await asyncio.to_thread(house.report, "three"))["design"]
        await true_in_a_thread(lambda: len(load.served) > 100, timeout_s=30)
        upstreams["empty"].behave("server-error")
        told = {}

        def ended():
            told.update(house.report("three"))
            return any(arm["ended"] for arm in told["arms"])

        await true_in_a_thread(ended, timeout_s=60)
        served = len(load.served)
        await true_in_a_thread(lambda: len(load.served) > served + 100, timeout_s=30)
    failed = [one for one in load.seen if one.status >= 500]
    assert 0 < len(failed) < 40, len(failed)  # ten in a row, and those that were under way
    assert [arm["share"] for arm in told["arms"]] == pytest.approx([2 / 3, 1 / 3, 0], abs=0.001)
    assert (told["phase"], told["design"], told["arms"][2]["ended"]["reason"]) == ("running", design, "burst")
    assert any(one.startswith("Arm empty ended on ") for one in told["warnings"])

    await house.podium("podium experiment stop three")
    live = await asyncio.to_thread(house.report, "three")
    bundle = (await house.podium("podium rollout evidence three last --json")).json()
    assert bundle["progress"]["design"] == bundle["experiment"]["design"] == design
    assert bundle["experiment"]["phase"] == live["phase"] == "aborted"
    await house.podium("podium delete rollout three")
    kept = (await house.podium("podium experiment report three --json")).json()
    assert (kept["phase"], kept["design"], kept["arms"][2]["ended"]) == ("aborted", design, live["arms"][2]["ended"])
