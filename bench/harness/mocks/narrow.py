"""A model provider that works on few requests at a time: `--places` at once, `--service-ms` each.

What comes beyond that waits, first come, first served, as in a server with a fixed batch; nothing is refused. GET
/bench/narrow tells how many were served and how many waited at most.
"""

import argparse
import asyncio
import json
import signal
from collections import deque
from typing import cast

import uvloop

from harness.request import COMPLETION

__all__: list[str] = []

_COMPLETION = COMPLETION.encode()
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


class _Desk:
    """The places and who waits for one."""

    def __init__(self, places: int, service_s: float) -> None:
        self._free, self._service_s = places, service_s
        self._waiting: deque[_Provider] = deque()
        self._loop = asyncio.get_running_loop()
        self.served = self.most_waiting = 0

    def ask(self, provider: "_Provider") -> None:
        if self._free:
            self._free -= 1
            self._begin(provider)
        else:
            self._waiting.append(provider)
            self.most_waiting = max(self.most_waiting, len(self._waiting))

    def _begin(self, provider: "_Provider") -> None:
        self._loop.call_later(self._service_s, self._end, provider)

    def _end(self, provider: "_Provider") -> None:
        self.served += 1
        provider.answer(_COMPLETION)
        if self._waiting:
            self._begin(self._waiting.popleft())
        else:
            self._free += 1


class _Provider(asyncio.Protocol):
    """One connection; one request at a time. A caller who goes away keeps the place until the end, as in a batch."""

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk
        self._received = b""
        self._open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not of the class

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason does not matter
        self._open = False

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        _, named, rest = head.lower().partition(b"\r\ncontent-length:")
        if len(body) < (int(rest.partition(b"\r\n")[0]) if named else 0):
            return
        self._received = b""
        if head.startswith(b"POST "):
            self._desk.ask(self)
        else:
            self.answer(json.dumps({"served": self._desk.served, "most_waiting": self._desk.most_waiting}).encode())

    def answer(self, text: bytes) -> None:
        if self._open:
            self._transport.write(_HEAD % len(text) + text)


async def _serve(port: int, places: int, service_s: float) -> None:
    loop = asyncio.get_running_loop()
    desk = _Desk(places, service_s)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with await loop.create_server(lambda: _Provider(desk), "127.0.0.1", port, backlog=8192):
        await stopped.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--places", type=int, required=True)
    parser.add_argument("--service-ms", type=float, required=True)
    options = parser.parse_args()
    uvloop.run(_serve(options.port, options.places, options.service_ms / 1e3))


if __name__ == "__main__":
    main()
