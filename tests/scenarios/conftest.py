import asyncio
import json
import sqlite3
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest

from podium.testing.openai_requests import chat_body
from podium.testing.processes import Installation
from podium.testing.simulator_process import SimulatorProcess
from podium.testing.stream_load import StreamLoad
from podium.testing.upstream import ScriptedUpstream

EXAMPLE = Path(__file__).parents[2] / "examples" / "openai-compatible.yaml"


class Stage:
    """A Podium of control and gateway, without local models, in front of a scripted provider.

    The provider runs on the test's event loop, so whatever waits for a process waits in a thread.
    """

    def __init__(self, installation, upstream):
        self.installation = installation
        self.upstream = upstream

    @asynccontextmanager
    async def running(self, *command, until):
        """A `podium` command that stays, until the block ends; entered when `until()` holds."""
        process = self.installation.start(*command)
        try:
            await asyncio.to_thread(self.installation.wait_for, until, process, timeout_s=40)
            yield process
        finally:
            await asyncio.to_thread(process.__exit__, None, None, None)

    def control(self):
        """A control process."""
        return self.running("control", until=self.admin_answers)

    def gateway(self, model="assistant", *, until=None):
        """A gateway process that serves the model, or has come so far."""
        return self.running("gateway", until=until or (lambda: self.status_of(model) == 200))

    def admin_answers(self):
        return (self.installation.data / "admin.key").exists() and bool(
            self.installation.status("/healthz", port=self.installation.admin_port)
        )

    async def run(self, *arguments, **options):
        """A `podium` command, run to its end."""
        return await asyncio.to_thread(self.installation.run, *arguments, **options)

    async def new_key(self, name):
        """A key's id and its text."""
        return await asyncio.to_thread(self.installation.new_key, name)

    async def apply(self, *, rename=False):
        """Apply the example, pointing to the scripted provider; the number of the revision.

        `rename`: everything in it under other names, as the start of a Podium that serves already.
        """
        text = EXAMPLE.read_text().replace("http://127.0.0.1:9000/v1", self.upstream.url)
        if rename:
            text = (
                text.replace("my-provider", "first-provider").replace("assistant", "first").replace("fair-use", "1st")
            )
        file = self.installation.folder / f"example-{rename}.yaml"
        file.write_text(text)
        return (await self.run("apply", "-f", str(file), "--json")).json()["revision"]

    def status_of(self, model, key=None):
        """What a look-up of the model answers; 0 when nobody does."""
        headers = {"authorization": f"Bearer {key or self.installation.admin_key}"}
        try:
            url = f"{self.installation.url}/models/{model}"
            return httpx.get(url, headers=headers, timeout=5, trust_env=False).status_code
        except httpx.TransportError:
            return 0

    async def usage_by_key(self):
        """The row of each key in `podium usage`."""
        rows = (await self.run("usage", "--by", "key", "--json")).json()["rows"]
        return {row["group"]["key"]: row for row in rows}


@pytest.fixture
async def stage(installation):
    """Nothing runs yet but the scripted provider."""
    async with ScriptedUpstream() as upstream:
        yield Stage(installation, upstream)


def document(kind, name, **spec):
    """A resource."""
    return {"kind": kind, "name": name, "spec": spec}


class Providers:
    """A Podium of control and gateway in front of providers, all of them processes of their own."""

    def __init__(self, installation, folder):
        self.installation = installation
        self._folder = folder
        self._running = ExitStack()
        self.simulators = {}

    async def start(self, *names, behaviour="plain"):
        """A simulator for each name, which is its provider's, too."""
        started = [SimulatorProcess(self._folder / f"{name}.log", behaviour) for name in names]
        for name, simulator in zip(names, started, strict=True):
            self.simulators[name] = self._running.enter_context(simulator)
        for simulator in started:
            await asyncio.to_thread(simulator.wait_up)
        return started

    def close(self):
        """End them."""
        self._running.close()

    def provider(self, simulator, *, name="", **spec):
        """The document of the provider that a simulator stands for, or of another one that calls it too."""
        url = self.simulators[simulator].url
        return document("Provider", name or simulator, protocol="openai", base_url=url, **spec)

    def model(self, name, backends, **spec):
        """The documents of a model and its version. `backends`: weights by provider."""
        places = [{"provider": one, "model": "scripted", "weight": weight} for one, weight in backends.items()]
        version = document("Version", f"{name}-1", backends=places)
        return version, document("Model", name, version=f"{name}-1", endpoints=["chat.completions"], **spec)

    def price(self, provider, *, input_usd, output_usd):
        """The document of a price; dollars for a million tokens, which are thousandths of nano-dollars for one."""
        prices = {"input_usd_per_million": input_usd, "output_usd_per_million": output_usd}
        return document("Price", provider, provider=provider, model="*", **prices)

    async def apply(self, *documents):
        """`podium apply`; what it names is served once this returns, and changes hold within two seconds."""
        models = [one["name"] for one in documents if one["kind"] == "Model"]
        await self.apply_text("\n---\n".join(map(json.dumps, documents)), models)

    async def apply_text(self, text, models):
        """The same of a file's text, in which there are these models."""
        await asyncio.to_thread(self._apply, text, models)

    def _apply(self, text, models):
        file = self._folder / "resources.yaml"
        file.write_text(text)
        self.installation.run("apply", "-f", str(file))
        for name in models:
            deadline = time.monotonic() + 10
            while self.look_up(name) != 200:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def look_up(self, model):
        """The status of the look-up of a model; 0 when nobody answers."""
        headers = {"authorization": f"Bearer {self.installation.admin_key}"}
        try:
            url = f"{self.installation.url}/models/{model}"
            return httpx.get(url, headers=headers, timeout=5, trust_env=False).status_code
        except httpx.TransportError:
            return 0

    async def ask(self, model):
        """The answer to one chat that is not streamed."""
        headers = {"authorization": f"Bearer {self.installation.admin_key}", "content-type": "application/json"}
        url, body = f"{self.installation.url}/chat/completions", chat_body(model)
        return await asyncio.to_thread(httpx.post, url, content=body, headers=headers, timeout=10, trust_env=False)

    def load(self, model, per_second, **options):
        """A load of streamed chats."""
        port, key = self.installation.port, self.installation.admin_key
        return StreamLoad(port, key, model=model, per_second=per_second, **options)

    async def ledger(self, model, streams):
        """The model's rows in the ledger, by request, once all of these are there."""
        requests = {one.request_id for one in streams}
        deadline = time.monotonic() + 15
        while requests - (rows := await asyncio.to_thread(self._rows, model)).keys():
            assert time.monotonic() < deadline, requests - rows.keys()
            await asyncio.sleep(0.1)
        return rows

    def _rows(self, model):
        with sqlite3.connect(f"file:{self.installation.data / 'podium.db'}?mode=ro", uri=True) as database:
            database.row_factory = sqlite3.Row
            chats = "SELECT * FROM exchanges WHERE model = ? AND endpoint = 'chat.completions'"
            rows = database.execute(chats, (model,)).fetchall()
        by_request = {row["request_id"]: dict(row) for row in rows}
        assert len(by_request) == len(rows)  # none is there twice
        return by_request


@contextmanager
def _running_podium(folder):
    installed = Installation(folder)
    with installed.start("control") as control:
        installed.wait_for((installed.data / "snapshot.bin").exists, control, timeout_s=40)
        with installed.start("gateway") as gateway:
            installed.wait_ready(gateway, timeout_s=40)
            yield installed


@pytest.fixture(scope="session")
def podium_for_providers(tmp_path_factory):
    """Control and gateway, one for all tests that change only what they have declared themselves."""
    with _running_podium(tmp_path_factory.mktemp("podium_for_providers")) as installed:
        yield installed


@pytest.fixture
def providers_of(tmp_path):
    """Makes the `Providers` of an installation."""
    with ExitStack() as stack:

        def make(installed):
            made = Providers(installed, tmp_path)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def providers(podium_for_providers, providers_of):
    """Providers that the test starts, in front of them a Podium that others use too."""
    return providers_of(podium_for_providers)
