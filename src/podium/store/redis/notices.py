"""Notices among gateways: "there is a new snapshot", "this key was revoked".

A notice is told at least once: it is pushed, and its version is kept in a key that every listener polls, so a push that
got lost is noticed within `poll_s`. A notice learned that way has no payload: whoever hears it looks at the truth.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from redis.exceptions import RedisError, ResponseError

from podium.store.redis.client import RedisClient
from podium.store.redis.connection import RedisConnection
from podium.store.redis.errors import StoreUnavailable
from podium.store.redis.scripts import Scripts, script

__all__ = ["Listener", "Notice", "Notices"]

_LONGEST_PAYLOAD = 4096
_POLLS_WITHOUT_A_SIGN = 3  # then a subscribed connection counts as broken
_PUSHED = 3  # kind, channel, content; what answers a ping is shorter


@dataclass(frozen=True, slots=True)
class Notice:
    """Something changed. `version` differs from that of any other notice of the topic; newer ones are greater."""

    topic: str
    version: int
    payload: bytes | None  # None: learned by polling


class Notices:
    """Gives notices."""

    __slots__ = ("_client", "_scripts")

    def __init__(self, client: RedisClient, scripts: Scripts) -> None:
        self._client, self._scripts = client, scripts

    async def give(self, topic: str, payload: bytes = b"") -> int:
        """The notice's version. `payload` is small and not secret; StoreUnavailable when it may not have been given."""
        assert len(payload) <= _LONGEST_PAYLOAD, "what is large belongs elsewhere"
        prefix = self._client.settings.prefix
        key, channel = _version_key(prefix, topic), _channel(prefix, topic)
        return int(await self._scripts.run(script("notice_give"), (key,), channel, payload))


class Listener:
    """Hears notices of some topics while it is open, as an async context manager.

    `heard` is called for each in the event loop: it must be quick, must not raise, and may be told the same version
    twice at a start. It is also called for the newest version that there was before.
    """

    def __init__(
        self, client: RedisClient, topics: tuple[str, ...], heard: Callable[[Notice], None], *, poll_s: float = 1.0
    ) -> None:
        self._client, self._heard, self._poll_s = client, heard, poll_s
        prefix = client.settings.prefix
        self._topic_of = {_channel(prefix, topic).encode(): topic for topic in topics}
        self._keys = {topic: _version_key(prefix, topic) for topic in topics}
        self._versions = dict.fromkeys(topics, 0)
        self._tasks: list[asyncio.Task[None]] = []
        self._asks: RedisConnection | None = None  # the connection that pushes come on
        self.subscribed = False

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._listen(), name="redis-notices"),
            loop.create_task(self._poll(), name="redis-notices-poll"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _poll(self) -> None:
        while True:
            with contextlib.suppress(StoreUnavailable, ResponseError):
                await self._look()
            if self._asks is not None:
                with contextlib.suppress(RedisError, OSError):
                    async with asyncio.timeout(self._poll_s):
                        await self._asks.tell(("PING",))
            await asyncio.sleep(self._poll_s)

    async def _look(self) -> None:
        versions = await self._client.send("MGET", *self._keys.values())
        for topic, version in zip(self._keys, versions, strict=True):
            if version is not None and int(version) != self._versions[topic]:
                if self.subscribed and self._versions[topic]:
                    self._client.figures.messages_missed += 1
                self._hear(Notice(topic, int(version), None))

    async def _listen(self) -> None:
        """Subscribe, and again whenever the connection breaks."""
        settings = self._client.settings
        while True:
            connection = RedisConnection(settings)
            try:
                async with asyncio.timeout(settings.connect_timeout_ms / 1000):
                    await connection.open()
                    await connection.tell(("SUBSCRIBE", *self._topic_of))
                await self._hear_all(connection)
            except (RedisError, OSError):
                await asyncio.sleep(settings.probe_interval_ms / 1000)
            finally:
                self.subscribed, self._asks = False, None
                await connection.close()

    async def _hear_all(self, connection: RedisConnection) -> None:
        """Until the connection breaks or gives no sign of life: each poll asks it for one."""
        self._asks = connection
        while True:
            async with asyncio.timeout(_POLLS_WITHOUT_A_SIGN * self._poll_s):
                message = await connection.next_message()
            self._take(message)

    def _take(self, message: Any) -> None:
        kind, channel, content = message if len(message) == _PUSHED else (b"pong", b"", b"")
        if kind == b"subscribe":
            self.subscribed = True
        elif kind == b"message" and channel in self._topic_of:
            version, _, payload = content.partition(b" ")
            if version.isdigit():
                self._client.figures.messages += 1
                self._hear(Notice(self._topic_of[channel], int(version), payload))

    def _hear(self, notice: Notice) -> None:
        if notice.version != self._versions[notice.topic]:
            self._versions[notice.topic] = notice.version
            self._heard(notice)


def _version_key(prefix: str, topic: str) -> str:
    return f"{prefix}:notice1:{topic}"


def _channel(prefix: str, topic: str) -> str:
    return f"{prefix}:notices1:{topic}"
