from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest

from podium.core.flags import Flag
from podium.testing.gateway import gateway_snapshot, running_gateway


class Asker:
    """A client of a gateway's flags."""

    def __init__(self, gateway, http):
        self.gateway = gateway
        self.http = http

    async def one(self, key, context=None, **more):
        return await self.post(f"/{key}", json={} if context is None else {"context": context}, **more)

    async def all(self, context=None, **headers):
        return await self.post("", json={"context": context or {}}, headers=headers)

    async def post(self, path, *, headers=None, **more):
        sent = {"authorization": f"Bearer {self.gateway.api_key}"} | (headers or {})
        sent = {name: value for name, value in sent.items() if value}
        return await self.http.post(f"/ofrep/v1/evaluate/flags{path}", headers=sent, **more)


@pytest.fixture
def asking():
    """Runs a gateway with flags: `async with asking(beta={"type": "boolean"}) as ask: await ask.one("beta")`."""

    @asynccontextmanager
    async def run(*, key=None, settings=None, tenants=None, **specs):
        flags = {name.replace("_", "-"): msgspec.convert(spec, Flag) for name, spec in specs.items()}
        snapshot = gateway_snapshot(flags=flags, key=key)
        if tenants:
            snapshot = msgspec.structs.replace(snapshot, tenants=tenants)
        async with (
            running_gateway(snapshot, settings=settings) as gateway,
            httpx.AsyncClient(base_url=gateway.url, trust_env=False) as http,
        ):
            yield Asker(gateway, http)

    return run
