"""Which of this machine's workers are up, as seen by asking each for its health.

Once a second, and more often while it is down: it is called as soon as it is up.
"""

import asyncio
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from podium.core.errors import PodiumError
from podium.gateway.ports import HealthView
from podium.upstreams.pool import Origin, Pool
from podium.upstreams.registered import RegisteredWorkers

__all__ = ["WorkerHealth", "WorkerWatch"]

_INTERVAL_S = 1.0
_DOWN_INTERVAL_S = 0.1
_TIMEOUT_S = 5.0
_OK = 200


class WorkerHealth:
    """One worker as it was last seen (podium.gateway.ports.HealthView)."""

    __slots__ = ("usable",)

    def __init__(self) -> None:
        self.usable = True  # until somebody has looked

    def explain(self) -> str:
        """A sentence for operators."""
        return "The worker answers." if self.usable else "The worker does not answer: it is starting, or down."


class WorkerWatch:
    """Asks the workers. `up` is what the last round saw; `on_change` is called when that changes.

    Workers of `registered` versions are not asked: the engine tells where they stand.
    """

    def __init__(self, urls: Mapping[str, str], registered: RegisteredWorkers | None = None) -> None:
        self._registered = registered
        self._urls = urls
        self.up = dict.fromkeys(urls, False)
        self.on_change: Callable[[], None] = lambda: None
        self._health = {model: WorkerHealth() for model in urls}

    def tell(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` whenever a worker can be called, or cannot any more."""
        self.on_change = on_change
        if self._registered is not None:
            self._registered.on_change = on_change

    def view(self, model: str) -> HealthView | None:
        """The health of a model's worker; None when it has none."""
        if model in self._health or self._registered is None:
            return self._health.get(model)
        return self._registered.view(model)

    async def run(self) -> None:
        """Ask, forever."""
        async with asyncio.TaskGroup() as group:
            for model, url in self._urls.items():
                group.create_task(self._watch(model, url))

    async def _watch(self, model: str, url: str) -> None:
        parts = urlsplit(url)
        origin = Origin(parts.hostname or "", parts.port or 80, None)
        pool = Pool(
            origin, connect_s=_TIMEOUT_S, first_byte_s=_TIMEOUT_S, between_bytes_s=_TIMEOUT_S, max_connections=1
        )
        request = f"GET /health HTTP/1.1\r\nhost: {parts.netloc}\r\n\r\n".encode()
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    answer = await pool.call(request, deadline_s=loop.time() + _TIMEOUT_S)
                    answer.close()
                    self._saw(model, up=answer.status == _OK)
                except PodiumError:
                    self._saw(model, up=False)
                await asyncio.sleep(_INTERVAL_S if self.up[model] else _DOWN_INTERVAL_S)
        finally:
            pool.close()

    def _saw(self, model: str, *, up: bool) -> None:
        health = self._health[model]
        changed = health.usable != up
        self.up[model] = health.usable = up
        if changed:
            self.on_change()
