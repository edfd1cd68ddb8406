"""Open loop towards a pool that cannot take it all: who is served, and how soon the others are told that they are not.

A request goes out when it is due, whatever became of earlier ones. Time runs from when it was due.
"""

import asyncio
import contextlib
import time

import msgspec

from harness.load.connection import Connection, connect, encode_request, percentile_ms
from harness.load.generator import mark, run_generator
from harness.request import Request

__all__ = ["FloodJob", "FloodResult"]

_TOLD = (429, 503)
_DRAIN_S = 5.0  # for the last answers
_MOST_CONNECTIONS = 4000


class FloodJob(msgspec.Struct, frozen=True, kw_only=True):
    """What to send how often; `expect` is in the answer of who is served."""

    request: Request
    expect: str
    per_s: float
    warm_s: float
    seconds: float


class FloodResult(msgspec.Struct, frozen=True, kw_only=True):
    """Of requests that were due in the counted time; `served_per_s` are the answers that came in it."""

    sent: int
    served: int
    told: int  # 429 or 503
    untimed: int  # of those, without a `Retry-After`
    failed: int  # anything else: another status, a broken answer, none at all
    statuses: dict[int, int]  # how often each came; 0: a broken answer
    served_per_s: float
    served_p50_ms: float | None
    served_p99_ms: float | None
    told_p50_ms: float | None
    told_p99_ms: float | None
    told_worst_ms: float | None
    late_ms: float  # by how much the generator itself was late, at worst


class _Load:
    def __init__(self, job: FloodJob) -> None:
        self._job = job
        self._raw = encode_request(job.request)
        self._expect = job.expect.encode()
        self._idle: list[Connection] = []
        self._bodies: dict[Connection, bytes] = {}
        self._due: dict[Connection, tuple[float, bool]] = {}  # when it was due, and whether it counts
        self._opening: set[asyncio.Task[None]] = set()
        self._drained: asyncio.Event | None = None  # there as soon as nothing more is sent
        self._began = 0.0
        self.served_s: list[float] = []
        self.told_s: list[float] = []
        self.sent = self.untimed = self.failed = self.in_time = 0
        self.statuses: dict[int, int] = {}
        self.late_s = 0.0

    def _heard(self, connection: Connection, data: bytes) -> None:
        self._bodies[connection] = self._bodies.get(connection, b"") + data

    def _ended(self, connection: Connection, whole: bool) -> None:  # noqa: FBT001 - the protocol's callback
        now = time.perf_counter()
        body = self._bodies.pop(connection, b"")
        due, counts = self._due.pop(connection)
        served = whole and connection.status == 200 and self._expect in body
        job = self._job
        if served and job.warm_s <= now - self._began < job.warm_s + job.seconds:
            self.in_time += 1
        if counts:
            status = connection.status if whole else 0
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if served:
                self.served_s.append(now - due)
            elif status in _TOLD:
                self.told_s.append(now - due)
                self.untimed += b"\r\nretry-after:" not in connection.head
            else:
                self.failed += 1
        if connection.alive:
            self._idle.append(connection)
        if self._drained is not None and not self._under_way():
            self._drained.set()

    async def run(self) -> None:
        job = self._job
        self._began = began = time.perf_counter()
        counting = False
        first = round(job.warm_s * job.per_s)  # that counts
        for number in range(first + round(job.seconds * job.per_s)):
            due = began + number / job.per_s
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            if not counting and number >= first:
                counting = True
                mark("begin")
            self._send(due, counts=counting)
        mark("end")
        await self._drain()
        for connection in self._idle:
            connection.close()

    def _send(self, due: float, *, counts: bool) -> None:
        if counts:
            self.sent += 1
            self.late_s = max(self.late_s, time.perf_counter() - due)
        while self._idle and not self._idle[-1].alive:
            self._idle.pop()
        if self._idle:
            self._send_on(self._idle.pop(), due, counts=counts)
        elif len(self._due) + len(self._opening) < _MOST_CONNECTIONS:
            task = asyncio.ensure_future(self._open(due, counts=counts))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        else:
            self.failed += counts

    async def _open(self, due: float, *, counts: bool) -> None:
        try:
            connection = await connect(lambda: Connection(self._ended, self._heard), self._job.request.port)
        except (OSError, TimeoutError):
            self.failed += counts
            return
        self._send_on(connection, due, counts=counts)

    def _send_on(self, connection: Connection, due: float, *, counts: bool) -> None:
        self._due[connection] = due, counts
        connection.send(self._raw)

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                await asyncio.gather(*self._opening)
                if self._under_way():
                    self._drained = asyncio.Event()
                    await self._drained.wait()
        self.failed += len(self._opening) + self._under_way()

    def _under_way(self) -> int:
        return sum(counts for _, counts in self._due.values())


async def _work(job: FloodJob) -> FloodResult:
    load = _Load(job)
    await load.run()
    return FloodResult(
        sent=load.sent,
        served=len(load.served_s),
        told=len(load.told_s),
        untimed=load.untimed,
        failed=load.failed,
        statuses=load.statuses,
        served_per_s=load.in_time / job.seconds,
        served_p50_ms=percentile_ms(load.served_s, 0.50),
        served_p99_ms=percentile_ms(load.served_s, 0.99),
        told_p50_ms=percentile_ms(load.told_s, 0.50),
        told_p99_ms=percentile_ms(load.told_s, 0.99),
        told_worst_ms=max(load.told_s) * 1e3 if load.told_s else None,
        late_ms=load.late_s * 1e3,
    )


if __name__ == "__main__":
    run_generator(FloodJob, _work)
