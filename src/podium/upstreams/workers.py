"""Which of this machine's workers are up, as seen by asking each for its health once a second."""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

from podium.core.errors import PodiumError
from podium.upstreams.pool import Origin, Pool

__all__ = ["WorkerWatch"]

_INTERVAL_S = 1.0
_TIMEOUT_S = 5.0
_OK = 200


class WorkerWatch:
    """Asks the workers. `up` is what the last round saw."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls
        self.up = dict.fromkeys(urls, False)

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
                    self.up[model] = answer.status == _OK
                except PodiumError:
                    self.up[model] = False
                await asyncio.sleep(_INTERVAL_S)
        finally:
            pool.close()
