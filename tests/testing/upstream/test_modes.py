"""What is said of each behaviour holds: a reader of its own comes to the same judgement for each cell of the matrix."""

import json
import time
from dataclasses import dataclass

import pytest
from botocore.eventstream import EventStreamBuffer, ParserError

from podium.core.reasons import Reason
from podium.testing.upstream.behaviours import How, Spoil, Trouble
from podium.testing.upstream.connection import SimulatedRequest
from podium.testing.upstream.modes import MODES, Mode, matrix
from podium.testing.upstream.protocols import UpstreamProtocol
from podium.testing.upstream.simulator import Simulator

LIMIT = 1 << 20
STREAM_TYPES = ("text/event-stream", "application/vnd.amazon.eventstream")
CASES = matrix()


@dataclass
class Seen:
    """A stream as far as it has been read."""

    content: bool = False
    done: bool = False


class BadStream(Exception):
    def __init__(self, reason):
        self.reason = reason


def perform(simulator, request_parts, case, behaviour):
    simulator.behave(behaviour)
    tools = "tool" in case.mode
    path, headers, body = request_parts(case.protocol, streamed=case.streamed, tools=tools)
    request = SimulatedRequest("POST", path, tuple(headers.items()), body, 1, time.monotonic())
    performance = simulator.perform(request)
    assert request.refused is None
    return performance


def judge(protocol, streamed, performance):  # noqa: PLR0911 - one line a judgement
    """(reason, content came first), by the bytes alone."""
    data = b"".join(step for _, step in performance.steps)
    head, _, body = data.partition(b"\r\n\r\n")
    broken = Reason.UPSTREAM_TIMEOUT if performance.ending is How.STALL else Reason.UPSTREAM_BROKEN
    if not head:
        return broken, False
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    if error := judge_status(int(lines[0].split()[1]), body):
        return error, False
    if headers["content-type"].startswith(STREAM_TYPES) != streamed or headers["content-type"] == "text/html":
        return Reason.UPSTREAM_INVALID, False
    if streamed:
        return judge_stream(protocol, body, broken)
    if "content-length" in headers:
        if len(body) < int(headers["content-length"]):
            return broken, False
    else:
        body, complete = dechunked(body)
        assert complete
    try:
        json.loads(body)
    except ValueError:
        return Reason.UPSTREAM_INVALID, False
    return Reason.UPSTREAM_INVALID if len(body) > LIMIT else Reason.OK, False


def judge_status(status, body):
    if status == 429:
        return Reason.UPSTREAM_RATE_LIMITED
    if status in {401, 403} or b"API_KEY_INVALID" in body:
        return Reason.UPSTREAM_ERROR
    if status >= 500:
        return Reason.UPSTREAM_ERROR
    return Reason.UPSTREAM_REJECTED if status >= 400 else None


def dechunked(body):
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        if size == b"0":
            return whole, True
        whole, body = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return whole, False


def judge_stream(protocol, body, broken):
    data, complete = dechunked(body)
    seen = Seen()
    try:
        read = read_frames if protocol is UpstreamProtocol.BEDROCK else read_sse
        read(protocol, data, seen)
    except BadStream as bad:
        return bad.reason, seen.content
    if seen.done and complete:
        return Reason.OK, False
    return broken if not complete else Reason.UPSTREAM_BROKEN, seen.content


def read_sse(protocol, data, seen):
    for block in data.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]:
        if len(block) > LIMIT:
            raise BadStream(Reason.UPSTREAM_INVALID)
        payload = b"".join(line[6:] for line in block.split(b"\n") if line.startswith(b"data: "))
        if payload == b"[DONE]":
            seen.done = True
            continue
        try:
            event = json.loads(payload)
        except ValueError:
            raise BadStream(Reason.UPSTREAM_INVALID) from None
        if "error" in event:
            raise BadStream(Reason.UPSTREAM_ERROR)
        if protocol is UpstreamProtocol.ANTHROPIC:
            seen.content |= event["type"] == "content_block_delta" or '"tool_use"' in json.dumps(event)
            seen.done |= event["type"] == "message_stop"
        elif protocol is UpstreamProtocol.GEMINI:
            candidate = event.get("candidates", [{}])[0]
            seen.done |= "finishReason" in candidate or "promptFeedback" in event
            seen.content |= "finishReason" not in candidate and "candidates" in event
        else:
            delta = event["choices"][0]["delta"] if event["choices"] else {}
            seen.content |= bool(delta.get("content") or delta.get("tool_calls") or delta.get("reasoning_content"))


def read_frames(protocol, data, seen):
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    try:
        for event in buffer:
            if len(event.payload) > LIMIT:
                raise BadStream(Reason.UPSTREAM_INVALID)
            json.loads(event.payload)
            if event.headers[":message-type"] == "exception":
                raise BadStream(Reason.UPSTREAM_ERROR)
            kind = event.headers[":event-type"]
            seen.content |= kind in {"contentBlockDelta", "contentBlockStart"}
            seen.done |= kind == "metadata"
    except (ParserError, ValueError):
        raise BadStream(Reason.UPSTREAM_INVALID) from None


@pytest.fixture
def idle_simulator():
    return Simulator()  # performs without a socket


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_table_tells_what_a_reader_makes_of_the_bytes(idle_simulator, request_parts, case):
    behaviour = case.behaviour
    if behaviour.spoil is Spoil.OVERSIZED:
        behaviour = behaviour.but(size=2 * LIMIT)
    performance = perform(idle_simulator, request_parts, case, behaviour)
    assert judge(case.protocol, case.streamed, performance) == (case.reason, case.content_first)


@pytest.mark.parametrize("case", [case for case in matrix() if case.behaviour.trouble], ids=str)
def test_an_error_says_when_to_come_back_only_when_told_to(idle_simulator, request_parts, case):
    performance = perform(idle_simulator, request_parts, case, case.behaviour)
    answer = b"".join(step for _, step in performance.steps).lower()
    hinted = case.behaviour.retry_after_s is not None
    assert (b"\r\nretry-after: 7\r\n" in answer) is hinted
    if case.mode is Mode.RATE_LIMITED_RETRY_AFTER:
        mark = {
            UpstreamProtocol.GEMINI: b'"retrydelay":"7s"',
            UpstreamProtocol.ANTHROPIC: b"anthropic-ratelimit-requests-reset: 2",
            UpstreamProtocol.BEDROCK: b"throttlingexception",
        }.get(case.protocol, b"x-ratelimit-reset-requests: 7s")
        assert mark in answer


def test_oversized_answers_are_larger_than_any_limit_unless_told_otherwise(idle_simulator, request_parts):
    for case in matrix([UpstreamProtocol.OPENAI], [Mode.OVERSIZED]):
        performance = perform(idle_simulator, request_parts, case, case.behaviour)
        size = sum(len(step) for _, step in performance.steps)
        assert size > (16 << 20 if case.streamed else 64 << 20)


def test_every_mode_has_a_behaviour_of_its_name_and_every_trouble_a_mode():
    assert {mode.value for mode in Mode} == {behaviour.name for behaviour in MODES.values()}
    assert set(MODES) == set(Mode)
    assert {behaviour.trouble for behaviour in MODES.values()} >= set(Trouble)
    assert {behaviour.spoil for behaviour in MODES.values()} >= set(Spoil)
    assert {case.protocol for case in CASES} == set(UpstreamProtocol)


def test_the_matrix_has_each_cell_once_and_only_those_that_make_sense():
    assert len(set(map(str, CASES))) == len(CASES)
    assert not [case for case in CASES if case.mode is Mode.BAD_CRC and case.protocol is not UpstreamProtocol.BEDROCK]
    assert not [case for case in CASES if case.mode is Mode.MALFORMED_SSE and not case.streamed]
