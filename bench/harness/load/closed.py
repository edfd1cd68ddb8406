"""Closed loop with an exact count: each connection sends its next request when it has its answer.

At each stop the load rests until a line comes in on standard input, so that memory can be read in quiet.
"""

import asyncio
import sys

import msgspec

from harness.load.connection import Connection, connect, encode_request
from harness.load.generator import mark, run_generator
from harness.request import Request

__all__ = ["ClosedJob", "ClosedResult"]


class ClosedJob(msgspec.Struct, frozen=True, kw_only=True):
    """How many exchanges, all in all, until each stop (ascending)."""

    request: Request
    expect: str
    stops: tuple[int, ...]
    connections: int = 64
    limit_s: float = 600.0


class ClosedResult(msgspec.Struct, frozen=True, kw_only=True):
    """How they ended."""

    answered: int
    failed: int


class _Load:
    def __init__(self, job: ClosedJob) -> None:
        self._job = job
        self._raw = encode_request(job.request)
        self._expect = job.expect.encode()
        self._bodies: dict[Connection, bytes] = {}
        self._to_send = self._under_way = 0
        self._resting = asyncio.Event()
        self._connections: list[Connection] = []
        self.answered = self.failed = 0

    def _heard(self, connection: Connection, data: bytes) -> None:
        before = self._bodies.get(connection)
        self._bodies[connection] = data if before is None else before + data

    def _ended(self, connection: Connection, whole: bool) -> None:  # noqa: FBT001 - the protocol's callback
        self._under_way -= 1
        body = self._bodies.pop(connection, b"")
        if whole and connection.status == 200 and self._expect in body:
            self.answered += 1
        else:
            self.failed += 1
        self._next(connection)

    def _next(self, connection: Connection) -> None:
        if self._to_send and connection.alive:
            self._to_send -= 1
            self._under_way += 1
            connection.send(self._raw)
        elif not self._under_way:
            self._resting.set()

    async def advance(self, count: int) -> None:
        """Send `count` more and wait for all answers; requests that no connection is left for count as failed."""
        self._connections = [connection for connection in self._connections if connection.alive]
        while len(self._connections) < self._job.connections:
            self._connections.append(
                await connect(lambda: Connection(self._ended, self._heard), self._job.request.port)
            )
        self._to_send = count
        self._resting.clear()
        for connection in self._connections:
            self._next(connection)
        await self._resting.wait()
        self.failed += self._to_send
        self._to_send = 0


async def _work(job: ClosedJob) -> ClosedResult:
    load = _Load(job)
    done = 0
    async with asyncio.timeout(job.limit_s):
        for stop in job.stops:
            await load.advance(stop - done)
            done = stop
            mark(str(stop))
            await asyncio.to_thread(sys.stdin.readline)
    return ClosedResult(answered=load.answered, failed=load.failed)


if __name__ == "__main__":
    run_generator(ClosedJob, _work)
