"""What the example files promise."""

import asyncio
from pathlib import Path

import httpx
import pytest

from podium.testing.openai_requests import chat_body

pytestmark = pytest.mark.scenario

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE = EXAMPLES / "many-backends.yaml"
LIMITS = EXAMPLES / "limits-and-budgets.yaml"


async def test_the_example_of_many_backends_serves_whatever_dies(providers):
    north, south, west = await providers.start("north", "south", "west")
    text = EXAMPLE.read_text()
    for port, simulator in ((9001, north), (9002, south), (9003, west)):
        text = text.replace(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{simulator.port}")
    await providers.apply_text(text, ["helper", "helper-small", "traveller"])

    async def backends(model, count=4):
        answers = [await providers.ask(model) for _ in range(count)]
        assert {answer.status_code for answer in answers} == {200}
        return {answer.headers.get("x-podium-backend") for answer in answers}

    assert await backends("helper") <= {"north/large", "south/large"}
    assert await backends("helper-small") == {"south/small"}
    assert await backends("traveller") == {"north/large"}
    north.kill()
    assert await backends("helper") == {"south/large"}
    assert await backends("traveller") == {"west/claude-large"}
    abroad = west.requests
    south.kill()
    answer = await providers.ask("helper")
    assert answer.status_code == 200
    assert answer.headers["x-podium-degraded"] in {"upstream_unreachable", "upstream_broken", "no_backend"}
    assert "try again" in answer.json()["choices"][0]["message"]["content"]
    assert west.requests == abroad  # no request of this model leaves its region


async def test_the_example_of_limits_and_budgets_stops_who_had_enough_and_nobody_else(stage):
    async def new_key(*options):
        return (await stage.run("keys", "create", "--json", *options)).json()["api_key"]

    async def ask(key, **headers):
        sent = {"authorization": f"Bearer {key}", "content-type": "application/json"} | headers
        return await asyncio.to_thread(
            httpx.post, f"{stage.installation.url}/chat/completions", content=chat_body("assistant"), headers=sent,
            timeout=10, trust_env=False,
        )  # fmt: skip

    async def asked_until(key, status, **headers):
        for _ in range(100):  # a change holds within two seconds
            if (answer := await ask(key, **headers)).status_code == status:
                return answer
            await asyncio.sleep(0.05)
        raise AssertionError(answer.text)

    async with stage.control():
        await stage.apply()
        await stage.run("apply", "-f", str(LIMITS))
        search = await new_key("--tenant", "acme", "--name", "search", "--tag", "team=search")
        shop = await new_key("--tenant", "acme", "--name", "shop", "--tag", "team=shop")
        visitor = await new_key("--tenant", "visitors", "--name", "try-it")
        async with stage.gateway():
            assert [(await ask(visitor)).status_code for _ in range(5)] == [200] * 5
            refused = await asked_until(visitor, 429)
            assert refused.json()["error"]["code"] == "requests_limited"
            assert "20 requests a minute for this key and IP address" in refused.json()["error"]["message"]
            assert 1 <= int(refused.headers["retry-after"]) <= 3

            answers = [await ask(key) for key in (search, shop)]
            assert [answer.status_code for answer in answers] == [200, 200]
            assert answers[0].headers["x-ratelimit-limit-requests"] == "60"
            tight = stage.installation.folder / "tight.yaml"
            tight.write_text(LIMITS.read_text().replace('"40"', '"0.0001"'))
            await stage.run("apply", "-f", str(tight))
            refused = await asked_until(search, 402, **{"x-podium-tags": "team=shop"})
            assert refused.json()["error"]["code"] == "insufficient_quota"
            assert "'team-week' of $0.0001 a week for this tag 'team'" in refused.json()["error"]["message"]
            await stage.run("undo")
            await asked_until(search, 200)
            assert (await ask(shop)).status_code == 200
