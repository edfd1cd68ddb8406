"""Streams held open: counts every event of every stream, and how late events come.

Fast streams are begun again on their connection until the time is up; paced ones are long enough for the whole
measurement and run once. Either way each stream runs to its end, and must have had every event.
"""

import asyncio
import contextlib
import os
import re
import time

import msgspec

from harness.load.connection import Connection, connect, encode_request, percentile_ms
from harness.load.generator import mark, run_generator
from harness.request import Request

__all__ = ["StreamsJob", "StreamsResult"]

_FIELD = b"data: "
_STAMP = re.compile(rb"@(\d{16})@")  # written by harness.mocks.sse
_LAG_SAMPLE = 29  # one read in so many is timed; a prime, so that it does not beat with the number of streams


class StreamsJob(msgspec.Struct, frozen=True, kw_only=True):
    """How many streams; `expect` events in each, the last one included."""

    request: Request
    streams: int
    expect: int
    ramp_s: float
    warm_s: float
    seconds: float
    once: bool
    finish_s: float  # how long the streams may take to end after the counted time
    end: str = "[DONE]"  # in the last event


class StreamsResult(msgspec.Struct, frozen=True, kw_only=True):
    """`events` and `seconds`: of the counted time; the rest: of all streams from beginning to end."""

    seconds: float
    events: int
    whole: int
    failed: int  # not a 200, broken off, or without its last event
    lost_events: int
    spare_events: int
    lag_p50_ms: float | None
    lag_p99_ms: float | None


class _Stream:
    """What came of one stream so far."""

    __slots__ = ("body", "carry", "done", "events")

    def __init__(self) -> None:
        self.body: list[bytes] = []  # as it came; of fast streams
        self.carry = b""
        self.events = 0
        self.done = False


class _Load:
    def __init__(self, job: StreamsJob) -> None:
        self._job = job
        self._raw = encode_request(job.request)
        self._end = job.end.encode()
        self._streams: dict[Connection, _Stream] = {}  # under way
        self._counting = self._stopping = False
        self._drained = asyncio.Event()
        self._reads = 0
        self.events = self.whole = self.failed = self.lost = self.spare = 0
        self.seconds = 0.0
        self.lags: list[float] = []

    def _heard(self, connection: Connection, data: bytes) -> None:
        stream = self._streams[connection]
        if not self._job.once:
            stream.body.append(data)
        text = stream.carry + data
        found = text.count(_FIELD)
        stream.carry = text[-(len(_FIELD) - 1) :]
        stream.events += found
        if self._end in data:
            stream.done = True
        if self._counting:
            self.events += found
            self._reads += 1
            if self._reads % _LAG_SAMPLE == 0 and (stamp := _STAMP.search(data)) is not None:
                self.lags.append(time.monotonic_ns() / 1e9 - int(stamp[1]) / 1e6)

    def _ended(self, connection: Connection, whole: bool) -> None:  # noqa: FBT001 - the protocol's callback
        stream = self._streams.pop(connection)
        if whole and connection.status == 200 and stream.done:
            self.whole += 1
            if stream.body and stream.events != self._job.expect:
                stream.events = _unchunked(b"".join(stream.body)).count(_FIELD)  # a chunk may end within the field
        else:
            self.failed += 1
        self.lost += max(self._job.expect - stream.events, 0)
        self.spare += max(stream.events - self._job.expect, 0)
        if connection.alive and not self._stopping and not self._job.once:
            self._start(connection)
        if self._stopping and not self._streams:
            self._drained.set()

    def _start(self, connection: Connection) -> None:
        self._streams[connection] = _Stream()
        connection.send(self._raw)

    async def _open(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        try:
            connection = await connect(lambda: Connection(self._ended, self._heard), self._job.request.port)
        except (OSError, TimeoutError):
            self.failed += 1
            self.lost += self._job.expect
            return
        self._start(connection)

    async def run(self) -> None:
        job = self._job
        async with asyncio.TaskGroup() as opening:
            for number in range(job.streams):
                opening.create_task(self._open(job.ramp_s * number / job.streams))
        await asyncio.sleep(job.warm_s)
        mark("begin")
        self._counting, began = True, time.perf_counter()
        await asyncio.sleep(job.seconds)
        self._counting, self.seconds = False, time.perf_counter() - began
        mark("end")
        self._stopping = True
        if self._streams:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), job.finish_s)
        for stream in self._streams.values():  # still open: what is missing by now is lost
            self.failed += 1
            self.lost += max(job.expect - stream.events, 0)


def _unchunked(body: bytes) -> bytes:
    """A whole chunked body without its framing (RFC 9112, section 7.1)."""
    content, at = [], 0
    while (end := body.find(b"\r\n", at)) >= 0 and (size := int(body[at:end].partition(b";")[0], 16)):
        content.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
    return b"".join(content)


async def _work(job: StreamsJob) -> StreamsResult:
    load = _Load(job)
    await load.run()
    return StreamsResult(
        seconds=load.seconds,
        events=load.events,
        whole=load.whole,
        failed=load.failed,
        lost_events=load.lost,
        spare_events=load.spare,
        lag_p50_ms=percentile_ms(load.lags, 0.50),
        lag_p99_ms=percentile_ms(load.lags, 0.99),
    )


if __name__ == "__main__":
    # Usual priority, but no wake-up of ours preempts the mock, which has the same core.
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    run_generator(StreamsJob, _work)
