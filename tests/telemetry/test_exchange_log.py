import asyncio
import fcntl
import json
import os
import threading
import time

import pytest

from podium.telemetry.exchange_log import ExchangeLog
from podium.telemetry.line_writer import LineWriter
from podium.testing.events import make_call


@pytest.fixture
def pipe():
    """Both ends as unbuffered files."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", 0) as source, os.fdopen(writer, "wb", 0) as sink:
        yield source, sink


async def test_a_line_holds_what_an_operator_asks_for(pipe, make_event):
    reader, writer = pipe
    log = ExchangeLog(writer.fileno(), service="podium")

    times = {"first_byte_ns": 12_345_678, "ended_ns": 1_234_567_890}
    chosen = {"rollout": "smollm2-q6", "arm": "candidate", "subject": "0123456789abcdef"}
    event = make_event(stream=True, why="turn", cache_write_tokens=3, tags="project=search,team=a", **times, **chosen)
    log.observe(event)
    await log.close()
    writer.close()

    assert json.loads(reader.read()) == {
        "timestamp": "2023-11-14T22:13:21.358024Z",
        "level": "info",
        "event": "exchange",
        "service": "podium",
        "gateway": "gateway-1",
        "event_id": b"0123456789abcdef".hex(),
        "request_id": "req-1",
        "trace_id": "",
        "tenant": "acme",
        "key_id": "abcdefghijkm",
        "tags": "project=search,team=a",
        "endpoint": "chat.completions",
        "model": "smollm2",
        "served_model": "",
        "version": "smollm2-q8",
        "rollout": "smollm2-q6",
        "arm": "candidate",
        "provider": "local",
        "backend": "local/smollm2-135m",
        "why": "turn",
        "stream": True,
        "status": 200,
        "reason": "ok",
        "fault": "nobody",
        "attempts": 1,
        "hedges": 0,
        "fallbacks": 0,
        "latency_ms": 1234.567,
        "ttft_ms": 12.345,
        "input_tokens": 10,
        "cached_input_tokens": 4,
        "cache_write_tokens": 3,
        "output_tokens": 21,
        "reasoning_tokens": 5,
        "tokens_estimated": False,
        "cost_nanousd": 1500,
        "bytes_in": 100,
        "bytes_out": 900,
    }


async def test_a_line_of_several_calls_holds_each(pipe, make_event):
    reader, writer = pipe
    log = ExchangeLog(writer.fileno(), service="podium")
    first = make_call(kind="first", backend="a/x", reason="upstream_error", upstream_status=500, ended_ns=2_000_999)
    second = make_call(kind="fallback", model="other", backend="b/y", started_ns=2_500_000, cost_nanousd=7)

    log.observe(make_event(trail=(first, second), attempts=2, hedges=1, fallbacks=1, served_model="other"))
    await log.close()
    writer.close()

    line = json.loads(reader.read())
    assert (line["attempts"], line["hedges"], line["fallbacks"], line["served_model"]) == (2, 1, 1, "other")
    assert line["trail"] == [
        {
            "kind": "first",
            "model": "small",
            "backend": "a/x",
            "why": "turn",
            "reason": "upstream_error",
            "upstream_status": 500,
            "started_ms": 0.4,
            "ended_ms": 2.0,
            "cost_nanousd": 0,
        },
        {
            "kind": "fallback",
            "model": "other",
            "backend": "b/y",
            "why": "turn",
            "reason": "ok",
            "upstream_status": 200,
            "started_ms": 2.5,
            "ended_ms": 700.0,
            "cost_nanousd": 7,
        },
    ]


async def test_a_failure_of_ours_or_an_upstream_is_an_error_and_has_no_first_token(pipe, make_event):
    reader, writer = pipe
    log = ExchangeLog(writer.fileno(), service="podium")

    log.observe(make_event(status=502, reason="upstream_unreachable", fault="upstream", first_byte_ns=-1))
    log.observe(make_event(status=404, reason="model_not_found", fault="caller", model='a"\n\\ü\u2028'))
    await log.close()
    writer.close()

    first, second = (json.loads(line) for line in reader.read().decode().split("\n")[:-1])
    assert (first["level"], first["ttft_ms"]) == ("error", None)
    assert (second["level"], second["model"]) == ("info", 'a"\n\\ü\u2028')


async def test_lines_are_written_without_further_exchanges(pipe, make_event):
    reader, writer = pipe
    os.set_blocking(reader.fileno(), False)
    arrived = asyncio.Event()
    asyncio.get_running_loop().add_reader(reader, arrived.set)
    log = ExchangeLog(writer.fileno(), service="podium")

    log.observe(make_event())
    await asyncio.wait_for(arrived.wait(), 5)

    asyncio.get_running_loop().remove_reader(reader)
    assert json.loads(reader.read(65_536))["request_id"] == "req-1"
    await log.close()


async def test_many_lines_leave_with_few_writes_in_order(pipe, make_event):
    reader, writer = pipe
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 1 << 20)
    log = ExchangeLog(writer.fileno(), service="podium")

    for number in range(1_000):
        log.observe(make_event(request_id=f"req-{number}"))
    await log.close()
    writer.close()

    ids = [json.loads(line)["request_id"] for line in reader.read().splitlines()]
    assert ids == [f"req-{number}" for number in range(1_000)]
    assert log.dropped_lines == 0


async def test_a_reader_that_does_not_read_costs_lines_and_never_the_loop(pipe, make_event):
    reader, writer = pipe
    log = ExchangeLog(writer.fileno(), service="podium", max_pending_bytes=100_000)

    for _ in range(5_000):  # 3 MB into a pipe of 64 KB
        log.observe(make_event())

    assert log.dropped_lines > 4_000
    kept = threading.Thread(target=read_until_closed, args=(reader,))
    kept.start()
    await log.close()
    writer.close()
    kept.join(10)
    assert not kept.is_alive()


def read_until_closed(reader):
    while reader.read(65_536):
        pass


async def test_every_line_is_either_written_or_counted_as_dropped(pipe, make_event):
    reader, writer = pipe
    log = ExchangeLog(writer.fileno(), service="podium", max_pending_bytes=100_000)
    lines = []
    thread = threading.Thread(target=lambda: lines.extend(reader.read().splitlines()))

    for _ in range(2_000):
        log.observe(make_event())
    thread.start()
    await log.close()
    writer.close()
    thread.join(10)

    assert log.dropped_lines > 0
    assert len(lines) + log.dropped_lines == 2_000


async def test_a_closed_standard_output_is_counted_and_nothing_more(pipe, make_event):
    reader, writer = pipe
    reader.close()
    log = ExchangeLog(writer.fileno(), service="podium")

    log.observe(make_event())
    await log.close()
    log.observe(make_event())
    log.flush()

    assert log.dropped_lines == 2


def test_a_descriptor_that_somebody_made_non_blocking_is_waited_for(pipe):
    reader, writer = pipe
    os.set_blocking(writer.fileno(), False)
    lines = LineWriter(writer.fileno(), max_pending_bytes=10_000_000)
    chunk = b"x" * 999 + b"\n"

    for _ in range(500):
        lines.write(chunk, 1)
    collected = []
    thread = threading.Thread(target=lambda: collected.append(reader.read()))
    thread.start()
    lines.close(10)
    writer.close()
    thread.join(10)

    assert collected == [chunk * 500]
    assert lines.dropped_lines == 0


def test_closing_does_not_wait_longer_than_it_may(pipe):
    _, writer = pipe
    lines = LineWriter(writer.fileno(), max_pending_bytes=10_000_000)
    for _ in range(500):
        lines.write(b"x" * 999 + b"\n", 1)

    started = time.monotonic()
    lines.close(0.05)

    assert time.monotonic() - started < 5
    assert lines.dropped_lines > 400
