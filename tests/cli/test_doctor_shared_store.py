"""`doctor`: what it says of the store that gateways share."""

import asyncio

import pytest

from podium.app.shared import open_shared
from podium.cli._check_stores import check_shared_store
from podium.config import Settings
from podium.core.clock import SystemClock
from podium.core.errors import OperatorError
from podium.store.redis.settings import RedisSettings
from podium.testing.ports import free_port
from podium.testing.redis_server import RedisServer


@pytest.fixture(scope="module")
def server():
    with RedisServer(config=("maxmemory-policy noeviction",)) as running:
        yield running


def examine(url, **changes):
    """Status and words of the finding."""
    finding = check_shared_store(Settings(redis=RedisSettings(url=url, **({"timeout_ms": 2000} | changes))))
    return finding.status, finding.text


def test_without_one_all_is_well():
    assert examine(None) == ("ok", "none; each gateway counts for itself")


def test_it_is_told_with_its_version_and_who_shares_it(server):
    settings = RedisSettings(url=server.url, timeout_ms=2000)

    async def while_a_gateway_runs():
        async with open_shared(settings, "one", SystemClock()):
            return await asyncio.to_thread(examine, server.url)

    status, text = asyncio.run(while_a_gateway_runs())
    assert status == "ok"
    assert text.startswith("Redis ")
    assert text.endswith(" ms; 1 gateways share it")
    assert examine(server.url)[1].endswith(" ms; 0 gateways share it")


def test_one_that_is_away_or_wants_a_password_fails(server):
    status, text = examine(f"redis://127.0.0.1:{free_port()}/0")
    assert (status, text.partition(";")[2]) == ("fail", " limits and budgets are at local shares")
    with RedisServer(password="wanted") as locked:
        assert examine(locked.url)[0] == "fail"
        assert (
            examine(locked.url, password="wanted")[0] == "ok"
            or "maxmemory" in examine(locked.url, password="wanted")[1]
        )


def test_one_that_forbids_scripts_fails(server):
    server.forbid("EVAL")
    status, text = examine(server.url)
    server.allow("EVAL")
    assert status == "fail"
    assert "forbids scripts" in text


def test_one_that_forgets_what_it_pleases_is_warned_of(server):
    server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    status, text = examine(server.url)
    server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert status == "warn"
    assert "allkeys-lru" in text


def test_a_url_that_can_never_work_is_an_operators_error():
    with pytest.raises(OperatorError, match="names no host"):
        examine("redis:///0")
