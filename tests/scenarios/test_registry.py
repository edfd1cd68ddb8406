"""Registered versions on a real Podium: loaded on demand under a memory budget; broken ones are reported and block nobody."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from podium.engine.catalogue import CATALOGUE
from podium.engine.model_store import ensure
from podium.testing.model_files import tiny_gguf
from podium.testing.processes import Installation

SETTINGS = {
    "PODIUM_ENGINE_CONTEXT_TOKENS": "1024",
    "PODIUM_ENGINE_PARALLEL_SLOTS": "2",
    "PODIUM_ENGINE_PROMPT_CACHE_MIB": "0",
    "PODIUM_ENGINE_THREADS": "1",
    "PODIUM_ENGINE_MEMORY_BUDGET_MIB": "450",  # for one such worker; it takes about 300
    "PODIUM_ENGINE_FAIR_WAIT_S": "1",
    "PODIUM_ENGINE_MIN_STAY_S": "0",
    "PODIUM_ENGINE_RESTART_BACKOFF_MAX_S": "0.3",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """`podium up` with a folder of model files of its own."""
    folder = tmp_path_factory.mktemp("registry")
    shared = Path(os.environ.get("PODIUM_MODELS_DIR") or Path(__file__).parents[2] / ".models")
    (folder / "models").mkdir()
    for model in CATALOGUE.values():
        ensure(model, shared, timeout_s=600)
        for file in (shared / f"{model.name}.json", *shared.glob(f"sha256-*{model.suffix}")):
            (folder / "models" / file.name).symlink_to(file)
    installation = Installation(folder, models=folder / "models", extra_environment=dict(SETTINGS))
    with installation.start("up") as process:
        installation.wait_ready(process, timeout_s=60)
        yield House(installation, process, next(shared.glob("*.gguf")))


class House:
    def __init__(self, installation, process, weights):
        self.installation, self.process, self.weights = installation, process, weights

    def add(self, name, source, *options):
        """Register a version with a model of the same name; what it is called."""
        arguments = ("models", "add", name, str(source), "--model", name, *options, "--json")
        version = self.installation.run(*arguments).json()["version"]
        headers = {"authorization": f"Bearer {self.installation.admin_key}"}
        look_up = f"{self.installation.url}/models/{name}"
        found = lambda: httpx.get(look_up, headers=headers, trust_env=False).status_code == 200  # noqa: E731
        self.installation.wait_for(found, self.process)
        return version

    def ask(self, model, max_tokens=2):
        body = {"model": model, "max_tokens": max_tokens, "messages": [{"role": "user", "content": "Hi"}]}
        headers = {"authorization": f"Bearer {self.installation.admin_key}"}
        url = f"{self.installation.url}/chat/completions"
        return httpx.post(url, json=body, headers=headers, timeout=60, trust_env=False)

    def parts(self):
        """What readiness tells, by part."""
        url = f"http://127.0.0.1:{self.installation.port}/readyz"
        return httpx.get(url, timeout=5, trust_env=False).text

    def wait(self, text, timeout_s=20):
        self.installation.wait_for(lambda: text in self.parts(), self.process, timeout_s=timeout_s)


def test_versions_take_turns_in_memory_and_a_call_waits_for_its_own(house):
    house.add("one", house.weights, "--system-prompt", "Be brief.")
    house.add("two", house.weights)
    for model in ("one", "two", "one"):
        answer = house.ask(model)
        assert answer.status_code == 200, answer.text + house.process.tail()
        assert answer.json()["choices"][0]["message"]["content"]
    events = [line for line in house.process.output().splitlines() if '"worker_unloading"' in line]
    assert len(events) >= 2
    assert all('"why":"to make room"' in line for line in events)
    assert house.ask("smollm2").status_code == 200


def test_a_model_in_constant_use_makes_room_for_another_and_none_of_its_calls_fails(house):
    house.add("busy", house.weights, "--system-prompt", "Talk.", "--parameter", "temperature=0")
    house.add("rare", house.weights)
    served, answers = threading.Event(), []

    def keep_busy():
        while not served.is_set():
            answers.append(house.ask("busy", max_tokens=30))

    with ThreadPoolExecutor(2) as threads:
        callers = [threads.submit(keep_busy) for _ in range(2)]  # one of their calls is nearly always under way
        try:
            house.installation.wait_for(lambda: len(answers) > 1, house.process, timeout_s=60)
            rare = house.ask("rare")
        finally:
            served.set()
        for caller in callers:
            caller.result(60)
    assert rare.status_code == 200, rare.text + house.process.tail()
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers[-3:]]
    events = [line for line in house.process.output().splitlines() if '"worker_unloading"' in line]
    assert any('"worker":"busy@' in line for line in events), events


def test_a_version_that_llama_cpp_refuses_is_out_with_the_reason_and_blocks_nobody(house, tmp_path):
    (tmp_path / "bad.gguf").write_bytes(tiny_gguf())
    version = house.add("bad", tmp_path / "bad.gguf")
    refused = house.ask("bad")
    assert refused.status_code == 503, refused.text
    house.wait("llama.cpp could not serve bad@")
    shown = house.installation.run("models", "show", version, "--json").json()
    assert shown["stage"] == "live"
    assert shown["files_are_here"]
    assert house.ask("smollm2").status_code == 200


def test_a_version_whose_file_was_damaged_is_not_loaded_and_mended_by_a_pull(house, tmp_path):
    source = tmp_path / "copy.gguf"
    source.write_bytes(house.weights.read_bytes())
    version = house.add("third", source)
    digest_folders = house.installation.models.glob("weights-*/copy.gguf")
    (file,) = digest_folders
    assert house.ask("third").status_code == 200
    assert house.ask("smollm2").status_code == 200
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    other = house.add("fourth", source)
    assert house.ask("fourth").status_code == 503
    house.wait("its checksum is wrong")
    file.unlink()
    file.parent.joinpath(".weights.json").unlink()
    file.parent.rmdir()
    house.installation.run("models", "pull", version, other)
    deadline = time.monotonic() + 20
    while house.ask("fourth").status_code != 200:
        assert time.monotonic() < deadline, house.parts()
        time.sleep(0.2)
