"""The stream mock and the stream client against each other, and against a reader that knows HTTP."""

import os
import socket
import subprocess
import sys

import msgspec
import pytest
from harness.lab import QUICK, Lab
from harness.load.closed import ClosedJob, ClosedResult
from harness.load.rate import RateJob, RateResult
from harness.load.streams import StreamsJob, StreamsResult
from harness.machine import connections_to
from harness.mocks.sse import MESSAGE_AROUND, WORD, expected_events, expected_stream
from harness.place import BENCH, Place
from harness.processes import free_ports
from harness.request import COMPLETION, chat_request, messages_request, post


@pytest.fixture
def lab(tmp_path):
    port, side_port, upstream_port = free_ports(3)
    cores = sorted(os.sched_getaffinity(0))
    return Lab(Place(tmp_path, tmp_path, cores[0], cores[-1], port, side_port, upstream_port), QUICK)


def job(lab, **changes):
    plain = StreamsJob(
        request=chat_request(lab.place.upstream_port, {}, stream=True),
        streams=4,
        expect=expected_events(10, usage=False),
        ramp_s=0.05,
        warm_s=0.05,
        seconds=0.2,
        once=False,
        finish_s=5,
    )
    return msgspec.structs.replace(plain, **changes)


@pytest.mark.parametrize("usage", [True, False])
def test_the_mock_streams_what_it_says(lab, usage):
    with lab.stream_mock(events=10):
        status, body = post(chat_request(lab.place.upstream_port, {}, stream=True, usage=usage))
    assert (status, body) == (200, expected_stream(10, usage=usage))
    assert body.count(b"data: ") == expected_events(10, usage=usage)
    assert (b'"usage":{' in body) is usage


def test_the_mock_streams_messages_with_the_same_words(lab):
    with lab.stream_mock(events=10):
        status, body = post(messages_request(lab.place.upstream_port, {}))
    assert status == 200
    assert body.count(b"data: ") == 10 + MESSAGE_AROUND
    assert body.count(f'"text":"{WORD}"'.encode()) == 10
    assert body.startswith(b"event: message_start\n")
    assert body.endswith(b'data: {"type":"message_stop"}\n\n')


def test_streams_of_messages_are_counted_whole(lab):
    request = messages_request(lab.place.upstream_port, {})
    with lab.stream_mock(events=10):
        result = lab.generate(
            "streams",
            job(lab, request=request, expect=10 + MESSAGE_AROUND, end="message_stop"),
            StreamsResult,
            limit_s=20,
        )
    assert result.whole > 4
    assert (result.failed, result.lost_events, result.spare_events) == (0, 0, 0)


def test_fast_streams_are_counted_whole(lab):
    words = []
    with lab.stream_mock(events=10):
        result = lab.generate("streams", job(lab), StreamsResult, on_mark=words.append, limit_s=20)
    assert words == ["begin", "end"]
    assert result.whole > 4
    assert result.events > 0
    assert (result.failed, result.lost_events, result.spare_events) == (0, 0, 0)


def test_paced_streams_tell_their_lag(lab):
    paced = job(lab, once=True, streams=40, expect=expected_events(30, usage=False))
    with lab.stream_mock(events=30, interval_ms=20, stamp=True):
        result = lab.generate("streams", paced, StreamsResult, limit_s=20)
    assert (result.whole, result.failed, result.lost_events) == (40, 0, 0)
    assert 0 < result.lag_p50_ms <= result.lag_p99_ms


def test_missing_events_are_counted_as_lost(lab):
    short = job(lab, once=True, expect=expected_events(12, usage=False))
    with lab.stream_mock(events=10):
        result = lab.generate("streams", short, StreamsResult, limit_s=20)
    assert result.lost_events == 4 * 2


def test_the_counted_load_sends_exactly_as_much_as_it_says(lab):
    stops = []
    counted = ClosedJob(
        request=chat_request(lab.place.upstream_port, {}), expect=COMPLETION, stops=(100, 250), connections=8
    )
    with lab.stream_mock(events=1):
        result = lab.generate("closed", counted, ClosedResult, on_mark=stops.append, limit_s=20)
    assert stops == ["100", "250"]
    assert (result.answered, result.failed) == (250, 0)


def test_a_wrong_answer_is_a_failure(lab):
    rate = RateJob(
        request=chat_request(lab.place.upstream_port, {}), expect="another text", per_s=200, warm_s=0.1, seconds=0.2
    )
    with lab.stream_mock(events=1):
        result = lab.generate("rate", rate, RateResult, limit_s=20)
    assert result.failed == result.sent > 0
    assert result.p50_ms is None


def test_time_to_first_content_ends_before_the_stream_does(lab):
    """The mock writes the role at once, then an event in 20 ms: content after one, the end after eight."""
    rate = RateJob(
        request=chat_request(lab.place.upstream_port, {}, stream=True),
        expect="[DONE]",
        per_s=100,
        warm_s=0.05,
        seconds=0.2,
        until=r'"content":"[^"]',
    )
    with lab.stream_mock(events=10, interval_ms=20):
        first = lab.generate("rate", rate, RateResult, limit_s=20)
        whole = lab.generate("rate", msgspec.structs.replace(rate, until=None), RateResult, limit_s=20)
    assert (first.failed, whole.failed) == (0, 0)
    assert first.p50_ms + 100 < whole.p50_ms


def test_connections_to_a_port_are_counted_at_one_end():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        before = connections_to(port)
        callers = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        found = connections_to(port)
        for caller in callers:
            caller.close()
    assert (before, found) == (0, 3)


def test_the_simulators_answer_on_all_ports(tmp_path):
    cores = sorted(os.sched_getaffinity(0))
    port, side_port, *upstream_ports = free_ports(4)
    place = Place(tmp_path, tmp_path, cores[0], cores[-1], port, side_port, upstream_ports[0], (upstream_ports[1],))
    with Lab(place, QUICK).simulators("plain"):
        assert [post(chat_request(one, {}))[0] for one in upstream_ports] == [200, 200]


def test_the_command_names_what_it_does_not_know():
    done = subprocess.run(
        [sys.executable, str(BENCH / "run.py"), "--only", "speed"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert "'speed' is not one of requests, latency" in done.stderr
