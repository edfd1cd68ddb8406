"""Open loop: a request goes out when it is due, whether or not earlier ones are answered."""

import asyncio
import contextlib
import re
import time

import msgspec

from harness.load.connection import Connection, connect, encode_request, percentile_ms
from harness.load.generator import mark, run_generator
from harness.request import Request

__all__ = ["RateJob", "RateResult"]

_DRAIN_S = 10.0  # for the last answers


class RateJob(msgspec.Struct, frozen=True, kw_only=True):
    """What to send how often; `expect` must be in each answer.

    `until`: a pattern; when it is there, time runs to the read that first has it, not to the last byte.
    """

    request: Request
    expect: str
    per_s: float
    warm_s: float
    seconds: float
    connections: int = 32
    until: str | None = None


class RateResult(msgspec.Struct, frozen=True, kw_only=True):
    """Latency runs from the send to the last byte, or to what the job names."""

    sent: int
    failed: int
    p50_ms: float | None
    p99_ms: float | None
    latest_ms: float  # by how much the generator itself was late, at worst


class _Load:
    def __init__(self, job: RateJob) -> None:
        self._job = job
        self._raw = encode_request(job.request)
        self._expect = job.expect.encode()
        self._idle: list[Connection] = []
        self._until = re.compile(job.until.encode()) if job.until is not None else None
        self._found_at: dict[Connection, float] = {}
        self._bodies: dict[Connection, bytes] = {}
        self._counting = False
        self._counted: set[Connection] = set()  # their answer under way belongs to the counted time
        self._drained: asyncio.Event | None = None  # there as soon as nothing more is sent
        self.latencies: list[float] = []
        self.sent = self.failed = 0
        self.latest_s = 0.0

    def _heard(self, connection: Connection, data: bytes) -> None:
        self._bodies[connection] = self._bodies.get(connection, b"") + data
        if (
            self._until is not None
            and connection not in self._found_at
            and self._until.search(self._bodies[connection]) is not None
        ):
            self._found_at[connection] = time.perf_counter()

    def _ended(self, connection: Connection, whole: bool) -> None:  # noqa: FBT001 - the protocol's callback
        body = self._bodies.pop(connection, b"")
        now_s = time.perf_counter()
        at_s = now_s if self._until is None else self._found_at.pop(connection, None)
        if connection in self._counted:
            self._counted.discard(connection)
            if whole and connection.status == 200 and self._expect in body and at_s is not None:
                self.latencies.append(at_s - connection.sent_at)
            else:
                self.failed += 1
            if self._drained is not None and not self._counted:
                self._drained.set()
        if connection.alive:
            self._idle.append(connection)

    async def _connect(self) -> Connection:
        return await connect(lambda: Connection(self._ended, self._heard), self._job.request.port)

    async def run(self) -> None:
        job = self._job
        self._idle = [await self._connect() for _ in range(job.connections)]
        began = time.perf_counter()
        total = int((job.warm_s + job.seconds) * job.per_s)
        for number in range(total):
            due = began + number / job.per_s
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            if not self._counting and due - began >= job.warm_s:
                self._counting = True
                mark("begin")
            await self._send(due)
        mark("end")
        if self._counted:
            self._drained = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), _DRAIN_S)
        self.failed += len(self._counted)

    async def _send(self, due: float) -> None:
        while self._idle and not self._idle[-1].alive:
            self._idle.pop()
        try:  # the newest first: few connections stay warm, as with a small service
            connection = self._idle.pop() if self._idle else await self._connect()
        except (OSError, TimeoutError):
            self.sent += self._counting
            self.failed += self._counting
            return
        if self._counting:
            self.sent += 1
            self.latest_s = max(self.latest_s, time.perf_counter() - due)
            self._counted.add(connection)
        connection.send(self._raw)


async def _work(job: RateJob) -> RateResult:
    load = _Load(job)
    await load.run()
    return RateResult(
        sent=load.sent,
        failed=load.failed,
        p50_ms=percentile_ms(load.latencies, 0.50),
        p99_ms=percentile_ms(load.latencies, 0.99),
        latest_ms=load.latest_s * 1e3,
    )


if __name__ == "__main__":
    run_generator(RateJob, _work)
