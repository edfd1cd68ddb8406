import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

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

    def gateway(self, model="assistant"):
        """A gateway process that serves the model."""
        return self.running("gateway", until=lambda: self.status_of(model) == 200)

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
