"""Workers of registered versions, which the engine of this machine loads and unloads, as a gateway sees them.

One connection to the engine tells where each worker stands. Back goes which of them have calls under way, which were
called, and which callers wait for (podium.core.workers).
"""

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Callable

import msgspec
import structlog

from podium.core.errors import UpstreamFailed
from podium.core.reasons import Reason
from podium.core.workers import MAX_LINE, EngineSays, GatewaySays, WorkerNews, WorkerState

__all__ = ["RegisteredHealth", "RegisteredWorkers"]

log = structlog.get_logger(__name__)

_SAY_EVERY_S = 1.0
_FIRST_NEWS_S = 3.0  # the engine reads each snapshot, too, and may be a little later
_RECONNECT_S = 0.5
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(EngineSays).decode


class RegisteredHealth:
    """One worker as the engine told last (podium.gateway.ports.HealthView)."""

    __slots__ = ("_name", "_workers")

    def __init__(self, name: str, workers: "RegisteredWorkers") -> None:
        self._name = name
        self._workers = workers

    @property
    def usable(self) -> bool:
        """False while it cannot be loaded, or does not answer."""
        news = self._workers.news(self._name)
        return not self._workers.cut_off if news is None else news.state.usable

    def explain(self) -> str:
        """A sentence for operators."""
        news = self._workers.news(self._name)
        if news is None:
            return "The engine has not told anything of this worker."
        return f"The worker is {news.state}." + (f" {news.reason}" if news.reason else "")


class RegisteredWorkers:
    """All of them, through one connection. Belongs to one event loop."""

    def __init__(self, address: str, key: str, *, wait_s: float) -> None:
        """`address`: host:port of the engine. `wait_s`: how long a call waits for a worker at most."""
        self.on_change: Callable[[], None] = lambda: None
        self.cut_off = False  # the connection was there, and is lost
        self._address = address
        self._key = key
        self._wait_s = wait_s
        self._news: dict[str, WorkerNews] = {}
        self._running: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._used: set[str] = set()
        self._asked: set[str] = (
            set()
        )  # somebody has begun to wait since the engine was told, and may have been sent away
        self._changed = asyncio.Event()  # replaced with each change: all who wait wake up
        self._to_say = asyncio.Event()

    @property
    def up(self) -> dict[str, bool]:
        """Which are loaded and answer."""
        return {name: news.state is WorkerState.READY for name, news in self._news.items()}

    def news(self, name: str) -> WorkerNews | None:
        """What the engine told last of a worker."""
        return self._news.get(name)

    def view(self, name: str) -> RegisteredHealth:
        """Its health."""
        return RegisteredHealth(name, self)

    async def ready_at(self, name: str, deadline_s: float) -> str:
        """The worker's address, once it is loaded. `deadline_s` is on the event loop's clock.

        UpstreamFailed: it cannot be loaded; or not in time, and then the error says when to come again.
        """
        news = self._news.get(name)
        if news is not None and news.state is WorkerState.READY:
            return news.url
        now_s = asyncio.get_running_loop().time()
        latest_s = min(deadline_s, now_s + self._wait_s)
        self._waiting[name] += 1
        if news is None or news.state.usable:
            self._asked.add(name)
        self._to_say.set()
        try:
            return await self._loaded(name, now_s, latest_s)
        finally:
            self._waiting[name] -= 1

    async def _loaded(self, name: str, began_s: float, latest_s: float) -> str:
        loop = asyncio.get_running_loop()
        while True:
            news, now_s = self._news.get(name), loop.time()
            if news is not None and news.state is WorkerState.READY:
                return news.url
            if news is None and now_s >= min(latest_s, began_s + _FIRST_NEWS_S):
                raise UpstreamFailed("No worker of this machine serves the model.", status=503, retry_after_s=1.0)
            if news is not None:
                _check_worth_waiting(news, latest_s - now_s)
            changed = self._changed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(latest_s - now_s, _FIRST_NEWS_S)):
                    await changed.wait()

    def enter(self, name: str) -> None:
        """A call begins."""
        self._used.add(name)
        self._running[name] += 1
        self._to_say.set()

    def leave(self, name: str) -> None:
        """It has ended."""
        self._running[name] -= 1
        self._to_say.set()

    async def run(self) -> None:
        """Keep the connection, forever."""
        host, _, port = self._address.rpartition(":")
        while True:
            try:
                reader, writer = await asyncio.open_connection(host, int(port), limit=MAX_LINE)
                try:
                    await self._converse(reader, writer)
                finally:
                    writer.close()
            except* (OSError, ValueError, msgspec.MsgspecError) as group:
                error = group.exceptions[0]
                log.warning("engine_not_reached", error=str(error) or type(error).__name__)
            self._lost()
            await asyncio.sleep(_RECONNECT_S)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_encode(GatewaySays(key=self._key)) + b"\n")
        async with asyncio.TaskGroup() as group:
            saying = group.create_task(self._say(writer), name="tell the engine")
            while line := await reader.readline():
                self._hear(_decode(line))
            saying.cancel()

    def _hear(self, says: EngineSays) -> None:
        self._news = {news.name: news for news in says.workers}
        self.cut_off = False
        self._wake()

    def _lost(self) -> None:
        self._news.clear()
        self.cut_off = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        self.on_change()

    async def _say(self, writer: asyncio.StreamWriter) -> None:
        """Say what has changed, once a second at most; that somebody waits for an unloaded one at once."""
        last = GatewaySays()
        while True:
            says = GatewaySays(
                running={name: count for name, count in self._running.items() if count > 0},
                used=tuple(sorted(self._used)),
                wanted=tuple(sorted(self._asked | {name for name, count in self._waiting.items() if count > 0})),
            )
            self._used.clear()
            self._asked.clear()
            if says != last or says.running:
                writer.write(_encode(says) + b"\n")
                await writer.drain()
                last = says
            self._to_say.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SAY_EVERY_S):
                    while not self._somebody_new_waits(says):
                        await self._to_say.wait()
                        self._to_say.clear()
            for name in [name for name, count in self._running.items() if count == 0]:
                del self._running[name]
            for name in [name for name, count in self._waiting.items() if count == 0]:
                del self._waiting[name]

    def _somebody_new_waits(self, says: GatewaySays) -> bool:
        return not self._asked.issubset(says.wanted)


def _check_worth_waiting(news: WorkerNews, left_s: float) -> None:
    """UpstreamFailed when waiting is in vain, or would take longer than there is time."""
    if not news.state.usable:
        raise UpstreamFailed("The model cannot be loaded.", status=503, hint=news.reason)
    if left_s <= 0 or news.ready_in_s > left_s:
        wait_s = max(1, math.ceil(news.ready_in_s))
        raise UpstreamFailed(
            f"The model is being loaded; it will be ready in about {wait_s} s.",
            reason=Reason.UPSTREAM_BUSY,
            status=503,
            retry_after_s=float(wait_s),
        )
