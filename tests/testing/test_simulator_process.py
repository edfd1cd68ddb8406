import asyncio

import httpx
import pytest

from podium.testing.openai_requests import chat_body
from podium.testing.simulator_process import SimulatorProcess


def ask(simulator):
    return httpx.post(
        f"{simulator.url}/chat/completions",
        content=chat_body(),
        headers={"content-type": "application/json"},
        trust_env=False,
    ).status_code


async def test_it_counts_behaves_and_comes_back_where_it_was(tmp_path):
    with SimulatorProcess(tmp_path / "log", "chunks=2") as simulator:
        await asyncio.to_thread(simulator.wait_up)
        port = simulator.port
        assert ask(simulator) == 200
        simulator.behave("rate-limited")
        assert ask(simulator) == 429
        assert (simulator.requests, simulator.open_connections) == (2, 0)
        with pytest.raises(ValueError, match="no such behaviour"):
            simulator.behave("rude")
        simulator.kill()
        with pytest.raises(httpx.ConnectError):
            ask(simulator)
        simulator.start()
        simulator.wait_up()
        assert (simulator.port, simulator.requests) == (port, 0)
        assert ask(simulator) == 200


def test_one_that_cannot_start_says_why(tmp_path):
    with SimulatorProcess(tmp_path / "log", "rude") as simulator, pytest.raises(AssertionError, match="rude"):
        simulator.wait_up()
