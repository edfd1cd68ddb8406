"""A scripted OpenAI-compatible server, for tests and for trying Podium out without a model.

In a test::

    async with ScriptedUpstream() as upstream:
        upstream.script(BAD["resets-midway"], Behaviour(text="Hello there"))
        ...  # the first request is broken off, the second answered, all later ones answered as by `Behaviour()`
        assert upstream.requests[0].json()["model"] == "a-model"

By itself: `python -m podium.testing.scripted_upstream --port 9000`. Either way a request for the model
`scripted-<name>` is answered by that name's behaviour (see `podium.testing.behaviour`).
"""

import argparse
import asyncio
import contextlib
import signal
import ssl
import sys
from collections import deque
from types import TracebackType
from typing import Self

from podium.testing.behaviour import BAD, GOOD, Behaviour, behaviour_of_model
from podium.testing.ports import free_port
from podium.testing.upstream_connection import RecordedRequest, UpstreamConnection

__all__ = ["RecordedRequest", "ScriptedUpstream"]

_KEPT_REQUESTS = 20_000


class ScriptedUpstream:
    """Use as an async context manager: it listens while the block runs."""

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        models: tuple[str, ...] = ("scripted",),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.behaviour = behaviour or Behaviour()  # for requests that no script was given for; may be replaced
        self.models = models
        self.requests: deque[RecordedRequest] = deque(maxlen=_KEPT_REQUESTS)
        self.connections_opened = 0
        self._host, self._port, self._tls = host, port, tls
        self._script: deque[Behaviour] = deque()
        self._connections: set[UpstreamConnection] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """What to declare as a provider's `base_url`."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}/v1"

    @property
    def port(self) -> int:
        """Where it listens, or did."""
        return self._port

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._connections)

    def script(self, *behaviours: Behaviour) -> None:
        """Answer the coming requests like this, one each; afterwards `behaviour` holds again."""
        self._script.extend(behaviours)

    def take(self, request: RecordedRequest) -> Behaviour:
        """Keep a request and say how to answer it; for the connections."""
        self.requests.append(request)
        model = request.json().get("model") if request.body.startswith(b"{") else None
        named = behaviour_of_model(model) if isinstance(model, str) else None
        return named or (self._script.popleft() if self._script else self.behaviour)

    def opened(self, connection: UpstreamConnection) -> int:
        """Count a connection in and return its number; for the connections."""
        self.connections_opened += 1
        self._connections.add(connection)
        return self.connections_opened

    def closed(self, connection: UpstreamConnection) -> None:
        """Count a connection out; for the connections."""
        self._connections.discard(connection)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: UpstreamConnection(self), self._host, self._port or free_port(), ssl=self._tls, backlog=1024
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for connection in tuple(self._connections):
            await connection.abort()
        await self._server.wait_closed()


async def _serve(host: str, port: int, behaviour: Behaviour, models: tuple[str, ...]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    async with ScriptedUpstream(behaviour, host=host, port=port, models=models) as upstream:
        sys.stdout.write(f"{upstream.url}\n")
        sys.stdout.flush()
        await stop.wait()


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM; the first line on stdout is the base URL."""
    parser = argparse.ArgumentParser(
        prog="python -m podium.testing.scripted_upstream", description="A scripted model server."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--behaviour", default="plain", choices=sorted(GOOD | BAD), help="how to answer")
    parser.add_argument("--model", action="append", help="name shown by /v1/models; may be repeated")
    chosen = parser.parse_args(arguments)
    models = tuple(chosen.model or ("scripted",))
    asyncio.run(_serve(chosen.host, chosen.port, (GOOD | BAD)[chosen.behaviour], models))


if __name__ == "__main__":
    main()
