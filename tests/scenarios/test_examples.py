"""What the example files promise."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.scenario

EXAMPLE = Path(__file__).parents[2] / "examples" / "many-backends.yaml"


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
