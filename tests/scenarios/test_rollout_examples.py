"""What the examples of rollouts and experiments promise, in the order in which their first lines say it."""

import asyncio
import json
import re
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from podium.testing.openai_requests import chat_body
from podium.testing.simulator_process import SimulatorProcess
from podium.testing.site import Site
from podium.testing.stream_load import StreamLoad
from podium.testing.unharmed import true_in_a_thread
from podium.testing.waiting import eventually

pytestmark = pytest.mark.scenario

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = {"PODIUM_CONTROL_ROLLOUT_TICK_S": "0.3", "PODIUM_CONTROL_POLL_S": "0.1", "PODIUM_CONTROL_LOADER_POLL_S": "0.1"}


@pytest.fixture(scope="module")
def upstreams(tmp_path_factory):
    """What listens where the examples say: at ports 9001 and 9002."""
    folder = tmp_path_factory.mktemp("upstreams")
    with ExitStack() as stack:
        both = [stack.enter_context(SimulatorProcess(folder / f"{n}.log")) for n in (9001, 9002)]
        for one in both:
            one.wait_up()
        yield both


@pytest.fixture(scope="module")
def site(tmp_path_factory, upstreams):
    """All of the examples, applied together."""
    site = Site(tmp_path_factory.mktemp("site"), environment=QUICK)
    site.control.extra_environment["PODIUM_CONTROL_GATEWAYS"] = f"http://127.0.0.1:{site.gateways[0].port}"
    with site.running_control(), site.running_gateway():
        files = []
        for name in ("canary.yaml", "blue-green.yaml", "experiment.yaml"):
            text = (EXAMPLES / name).read_text()
            for port, upstream in zip((9001, 9002), upstreams, strict=True):
                text = text.replace(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{upstream.port}")
            file = site.control.folder / name
            file.write_text(text)
            files += ["-f", str(file)]
        site.control.run("apply", *files)
        yield site


@pytest.fixture(scope="module")
def key(site):
    return site.new_key("callers")[1]


class Example:
    """One of the files: its model, and the commands that its comments name."""

    def __init__(self, site, key, file, model):
        self.site, self.key, self.model = site, key, model
        commands = re.findall(r"^#\s+podium (.*?)(?:  +#.*)?$", (EXAMPLES / file).read_text(), re.MULTILINE)
        self.commands = [[part.strip('"') for part in re.findall(r'"[^"]*"|\S+', one)] for one in commands]

    async def podium(self, *wanted, code=0, more=()):
        """The file's command that begins with these words."""
        words = next(command for command in self.commands if command[: len(wanted)] == list(wanted))
        done = await asyncio.to_thread(self.site.control.run, *words, *more, check=False, timeout_s=60)
        assert done.code == code, done.out + done.err
        return done

    async def backend(self, *, key="", **headers):
        """Who answers one call."""
        sent = {"authorization": f"Bearer {key or self.key}", "content-type": "application/json"} | headers
        url = f"{self.site.gateways[0].url}/chat/completions"
        body = chat_body(self.model)
        answer = await asyncio.to_thread(httpx.post, url, content=body, headers=sent, timeout=10, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.headers["x-podium-backend"].partition("/")[0]

    async def answered_by(self, name):
        """Return once calls are answered there; a change holds within two seconds."""
        for _ in range(100):
            if (found := await self.backend()) == name:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(found)

    async def reaches(self, rollout, phase):
        seen = {}

        def there():
            seen.update(json.loads(self.site.admin("GET", f"/admin/v1/rollouts/{rollout}")[1]))
            return seen["phase"] == phase

        await true_in_a_thread(there, timeout_s=40)
        return seen

    def load(self, per_second):
        return StreamLoad(self.site.gateways[0].port, self.key, model=self.model, per_second=per_second, users=400)


@pytest.fixture
async def example(site, key, upstreams):
    async def applied(file, model):
        example = Example(site, key, file, model)
        assert ["apply", "-f", f"examples/{file}"] in example.commands
        await true_in_a_thread(lambda: site.status_of(model, key) == 200, timeout_s=20)
        return example

    yield applied
    for upstream in upstreams:
        upstream.behave("plain")


async def test_the_canary_reaches_a_few_users_then_more_and_goes_back_when_its_server_fails(example, upstreams):
    canary = await example("canary.yaml", "guide")
    async with canary.load(60) as load:

        def from_now_on():
            started_s = asyncio.get_running_loop().time()
            return lambda name: [one for one in load.since(started_s) if one.backend.startswith(f"{name}/")]

        await canary.podium("rollout", "start")
        await canary.reaches("guide-2", "running")
        seen = from_now_on()
        await eventually(lambda: seen("island") and len(seen("harbour")) > 60, timeout_s=30)
        assert len(seen("island")) < len(seen("harbour")) / 4
        await canary.podium("rollout", "promote")  # to 25%, without waiting for what has to be seen
        seen = from_now_on()
        await eventually(lambda: len(seen("harbour")) > len(seen("island")) > 20, timeout_s=30)
        upstreams[1].behave("server-error")
        returned = await canary.reaches("guide-2", "returned")
        await canary.answered_by("harbour")
        seen = from_now_on()
        await eventually(lambda: len(seen("harbour")) > 60, timeout_s=30)
        assert seen("island") == []
    assert returned["reason"] == "burst"
    assert returned["evidence"]


async def test_green_is_tested_then_everybodys_and_blue_is_there_for_the_way_back(example):
    switched = await example("blue-green.yaml", "clerk")

    await switched.podium("rollout", "start", more=("--wait", "--timeout", "40"), code=5)  # it waits for a person
    assert await switched.backend() == "blue"
    tester = (switched.site.control.data / "admin.key").read_text().strip()
    assert await switched.backend(key=tester, **{"x-podium-version": "clerk-green"}) == "green"
    await switched.podium("rollout", "promote")
    await switched.answered_by("green")
    await switched.podium("rollout", "abort")
    await switched.answered_by("blue")


async def test_the_experiment_is_started_reported_and_won(example):
    prompts = await example("experiment.yaml", "writer")
    async with prompts.load(60) as load:
        await eventually(lambda: len(load.served) > 30, timeout_s=30)
        await prompts.podium("experiment", "start")
        await prompts.reaches("short-prompt", "running")

        def arms():
            return json.loads(prompts.site.admin("GET", "/admin/v1/experiments/short-prompt/report")[1])["arms"]

        await true_in_a_thread(lambda: all(arm["exchanges"] >= 40 for arm in arms()), timeout_s=40, every_s=0.3)
    await prompts.podium("experiment", "report")
    page = (prompts.site.control.folder / "report.html").read_text()
    assert "A short prompt makes answers a tenth cheaper, and no worse." in page
    assert "writer-short" in page
    await prompts.podium("experiment", "stop")
    await prompts.reaches("short-prompt", "promoted")
    model = json.loads(prompts.site.admin("GET", "/admin/v1/resources/Model/writer")[1])
    assert model["spec"]["version"] == "writer-short"
