"""One look at the shared store, for who wants to know whether it is as it must be."""

import asyncio
import time
from dataclasses import dataclass

from redis.exceptions import RedisError, ResponseError

from podium.store.redis.client import PROBE, forbids
from podium.store.redis.connection import RedisConnection, check_url, words_of
from podium.store.redis.settings import RedisSettings

__all__ = ["Look", "look_at_store"]

_EXCHANGES = 3  # the first one may have to wait for the server's caches, or ours
_TIMES = 20  # the time limit of a call, for each


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen."""

    trouble: str = ""  # why it cannot be used; empty: it can
    version: str = ""
    answer_ms: float = 0.0  # the quickest of a few
    gateways: int = 0
    policy: str = ""  # what it does when its memory is full; empty: it does not say


async def look_at_store(settings: RedisSettings) -> Look:
    """What a gateway would find. Changes nothing. OperatorError: the settings name no store."""
    check_url(settings)
    connection = RedisConnection(settings)
    try:
        async with asyncio.timeout(settings.connect_timeout_ms / 1000):
            await connection.open()
        async with asyncio.timeout(_TIMES * settings.timeout_ms / 1000):
            return await _look(connection, settings)
    except (RedisError, OSError) as error:
        return Look(trouble=f"it cannot be reached: {words_of(error)}")
    finally:
        await connection.close()


async def _look(connection: RedisConnection, settings: RedisSettings) -> Look:
    took_s, now_us = [], 0
    for _ in range(_EXCHANGES):
        began_s = time.monotonic()
        (answer,) = await connection.exchange((PROBE,))
        if isinstance(answer, ResponseError):
            return Look(trouble=f"it forbids scripts: {answer}" if forbids(answer) else str(answer))
        took_s.append(time.monotonic() - began_s)
        now_us = int(answer[0]) * 1_000_000 + int(answer[1])
    members = f"{settings.prefix}:members1"
    server, memory, live = await connection.exchange(
        (("INFO", "server"), ("INFO", "memory"), ("ZCOUNT", members, f"({now_us}", "+inf"))
    )
    facts = _facts(server) | _facts(memory)
    product = "Valkey" if "valkey_version" in facts else "Redis"
    version = facts.get("valkey_version") or facts.get("redis_version", "of unknown version")
    return Look(
        version=f"{product} {version}",
        answer_ms=min(took_s) * 1000,
        gateways=live if isinstance(live, int) else 0,
        policy=facts.get("maxmemory_policy", ""),
    )


def _facts(answer: object) -> dict[str, str]:
    """The lines of INFO; none when it may not be asked."""
    if not isinstance(answer, bytes):
        return {}
    lines = (line.partition(":") for line in answer.decode("utf-8", "replace").splitlines())
    return {name: value for name, colon, value in lines if colon}
