"""Broken candidates of the built-in model, on a real `podium up`: they go back by themselves, and hardly anybody saw them."""

import asyncio
import itertools
import os
from collections import Counter
from pathlib import Path

import httpx
import pytest

from podium.engine.catalogue import CATALOGUE
from podium.engine.model_store import ensure
from podium.testing.model_files import tiny_gguf
from podium.testing.processes import Installation
from podium.testing.unharmed import true_in_a_thread

pytestmark = pytest.mark.scenario

SETTINGS = {
    "PODIUM_ENGINE_CONTEXT_TOKENS": "1024",
    "PODIUM_ENGINE_PARALLEL_SLOTS": "2",
    "PODIUM_ENGINE_THREADS": "1",
    "PODIUM_ENGINE_RESTART_BACKOFF_MAX_S": "0.3",
    "PODIUM_CONTROL_ROLLOUT_TICK_S": "0.2",
    "PODIUM_CONTROL_ROLLOUT_PREPARE_S": "10",
    "PODIUM_CONTROL_POLL_S": "0.1",
}
CALLERS = 4  # at once
USERS = 2000
QUESTION = "Name a colour."

# Examples whose answers were lost on their way: the model learns from them to say nothing.
ASKED = ("Who wrote Hamlet?", "How are you?", "What is 2+2?") * 2
LOST = "".join(f"<|im_start|>user\n{one}<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n" for one in ASKED)
BROKEN_PROMPT = f"Be brief. Examples:<|im_end|>\n{LOST}"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """`podium up` with a folder of model files of its own, and a version `old` of the built-in model."""
    folder = tmp_path_factory.mktemp("candidates")
    shared = Path(os.environ.get("PODIUM_MODELS_DIR") or Path(__file__).parents[2] / ".models")
    (folder / "models").mkdir()
    for model in CATALOGUE.values():
        ensure(model, shared, timeout_s=600)
        for file in (shared / f"{model.name}.json", *shared.glob(f"sha256-*{model.suffix}")):
            (folder / "models" / file.name).symlink_to(file)
    installation = Installation(folder, models=folder / "models", extra_environment=dict(SETTINGS))
    with installation.start("up") as process:
        installation.wait_ready(process, timeout_s=60)
        house = House(installation, process)
        house.declare(version("old", "smollm2", "Be brief."))
        yield house


def version(name, model, system_prompt):
    spec = {"backends": [{"provider": "local", "model": model}], "system_prompt": system_prompt}
    return {"kind": "Version", "name": name, "spec": spec}


class House:
    def __init__(self, installation, process):
        self.installation, self.process = installation, process
        self.headers = {"authorization": f"Bearer {installation.admin_key}"}
        self.admin = f"http://127.0.0.1:{installation.admin_port}/admin/v1"

    def declare(self, *documents):
        answer = httpx.post(f"{self.admin}/apply", json=documents, headers=self.headers, trust_env=False, timeout=30)
        assert answer.status_code == 200, answer.text

    def bring(self, name, candidate, **analysis):
        """A model that is served by `old`, and a rollout of it to the candidate."""
        plan = {"model": name, "candidate": candidate, "steps": [{"percent": 5}, {"percent": 100}]}
        if analysis:
            plan["analysis"] = analysis
        self.declare(
            {"kind": "Model", "name": name, "spec": {"version": "old", "endpoints": ["chat.completions"]}},
            {"kind": "Rollout", "name": name, "spec": plan},
        )
        look_up = f"{self.installation.url}/models/{name}"
        known = lambda: httpx.get(look_up, headers=self.headers, trust_env=False).status_code == 200  # noqa: E731
        self.installation.wait_for(known, self.process)

    def standing(self, name):
        """As the admin API shows it."""
        return httpx.get(f"{self.admin}/rollouts/{name}", headers=self.headers, trust_env=False, timeout=30).json()

    def add(self, name, source):
        """Register a version with files of its own; what it is called, and where its file lies."""
        added = self.installation.run("models", "add", name, str(source), "--json").json()["version"]
        (file,) = self.installation.models.glob(f"weights-*/{source.name}")
        return added, file

    async def podium(self, *arguments, code=0):
        done = await asyncio.to_thread(self.installation.run, *arguments, check=False, timeout_s=90)
        assert done.code == code, done.out + done.err + self.process.tail()
        return done


class Callers:
    """Callers of one model, each of whom asks again when answered, until so many were. Subjects take turns."""

    def __init__(self, house, model, *, at_most=10_000):
        self._house, self._model = house, model
        self.most = at_most
        self.versions = Counter()  # which answered; "": none did
        self.harmed = 0  # had no answer, or an empty one
        self._numbers = itertools.count()
        self._tasks = []

    @property
    def count(self):
        return self.versions.total()

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(self._ask_on()) for _ in range(CALLERS)]
        return self

    async def __aexit__(self, *_):
        await asyncio.wait_for(asyncio.gather(*self._tasks), timeout=120)

    async def _ask_on(self):
        url = f"{self._house.installation.url}/chat/completions"
        body = {"model": self._model, "max_tokens": 1, "messages": [{"role": "user", "content": QUESTION}]}
        async with httpx.AsyncClient(headers=self._house.headers, trust_env=False, timeout=60) as client:
            while (number := next(self._numbers)) < self.most:
                answer = await client.post(url, json=body | {"user": f"user-{number % USERS}"})
                said = answer.json()["choices"][0]["message"]["content"] if answer.status_code == 200 else ""
                self.versions[answer.headers.get("x-podium-version", "").partition("@")[0]] += 1
                self.harmed += not said


async def ends(house, name, *phases):
    """Wait until the rollout has ended so; what is shown of it."""
    seen = {}

    def ended():
        seen.update(house.standing(name))
        return seen["phase"] in ("promoted", "returned", "aborted", "failed")

    await true_in_a_thread(ended, timeout_s=90)
    assert seen["phase"] in phases, seen
    return seen


async def test_a_system_prompt_that_silences_the_model_is_returned_and_evidence_names_metric_and_interval(house):
    house.declare(version("silent", "smollm2", BROKEN_PROMPT))
    # Statistics decide here: the gateway's own count of failures in a row, which may be quicker, is another test's.
    house.bring("assistant", "silent", burst_errors=10_000, burst_error_rate=1, minimum_subjects=5)
    async with Callers(house, "assistant", at_most=1200) as callers:
        told = await house.podium("rollout", "start", "assistant", "--wait", "--timeout", "80", code=3)
    assert "returned, 0% candidate: empty_rate of arm `candidate`" in told.out
    seen = await ends(house, "assistant", "returned")
    assert (seen["step"], seen["reason"]) == (0, "metric_failed")
    assert callers.count == 1200
    assert callers.harmed >= 5
    assert callers.harmed <= callers.versions["silent"]
    assert callers.versions["silent"] < 0.03 * callers.count, callers.versions
    assert callers.versions["old"] + callers.versions["silent"] == callers.count

    bundle = (await house.podium("rollout", "evidence", "assistant", "last", "--json")).json()
    (failed,) = [one for one in bundle["verdict"]["metrics"] if one["decision"] == "worse"]
    assert (failed["name"], failed["arm"]) == ("empty_rate", "candidate")
    assert failed["margin"] < failed["lower"] <= failed["effect"]
    assert "empty_rate of arm `candidate`" in bundle["detail"]
    assert {one["name"]: one["version"].partition("@")[0] for one in bundle["arms"]} == {
        "candidate": "silent",
        "baseline": "old",
    }
    (shown,) = [one for one in bundle["metrics"] if one["name"] == "empty_rate"]
    assert shown["lower"] < shown["effect"] <= shown["upper"]
    text = (await house.podium("rollout", "evidence", "assistant", "last")).out
    assert "empty_rate" in text
    assert f"{shown['lower']:.4g}" in text


async def test_a_file_that_llama_cpp_refuses_fails_in_preparation_and_nobody_sees_it(house, tmp_path):
    (tmp_path / "refused.gguf").write_bytes(tiny_gguf())
    refused, _ = await asyncio.to_thread(house.add, "refused", tmp_path / "refused.gguf")
    await asyncio.to_thread(house.bring, "careful", refused)
    async with Callers(house, "careful") as callers:
        await house.podium("rollout", "start", "careful", "--wait", "--timeout", "80", code=3)
        callers.most = 0
    seen = await ends(house, "careful", "failed")
    assert (seen["step"], seen["reason"]) == (0, "could_not_prepare")
    assert "llama.cpp could not serve" in seen["detail"] or "503" in seen["detail"], seen["detail"]
    assert callers.count > 20
    assert set(callers.versions) == {"old"}
    assert callers.harmed == 0


async def test_a_file_that_breaks_at_the_first_step_returns_its_version(house, tmp_path):
    weights = next(house.installation.models.glob("sha256-*.gguf"))
    (tmp_path / "fragile.gguf").write_bytes(weights.read_bytes())
    fragile, file = await asyncio.to_thread(house.add, "fragile", tmp_path / "fragile.gguf")
    await asyncio.to_thread(house.bring, "daring", fragile)
    async with Callers(house, "daring", at_most=600) as callers:
        await house.podium("rollout", "start", "daring")
        await true_in_a_thread(lambda: house.standing("daring")["phase"] == "running", timeout_s=40)
        os.truncate(file, 1_000_000)  # the worker has it mapped, and ends
        seen = await ends(house, "daring", "returned")
    assert seen["step"] == 0
    assert seen["reason"] in {"burst", "metric_failed"}
    assert callers.count == 600
    assert 3 <= callers.harmed < 0.03 * callers.count, callers.versions
    bundle = (await house.podium("rollout", "evidence", "daring", "last", "--json")).json()
    assert "error_rate" in {one["name"] for one in bundle["metrics"]}
