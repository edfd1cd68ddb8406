import json
import math

from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from podium.testing.upstream.instances import instance_of
from podium.testing.upstream.rates import Rates
from podium.testing.upstream.wire import Form, Part, Piece, frame

NAMES = st.sampled_from(["messageStart", "contentBlockDelta", "throttlingException"])


@given(st.lists(st.tuples(NAMES, st.binary(max_size=300)), min_size=1, max_size=5), st.integers(1, 50))
def test_frames_are_read_by_amazons_own_parser_however_they_are_cut(events, step):
    data = b"".join(frame(Form.EVENT_STREAM, Piece(Part.CONTENT, name, payload)) for name, payload in events)
    buffer, read = EventStreamBuffer(), []
    for start in range(0, len(data), step):
        buffer.add_data(data[start : start + step])
        read += list(buffer)
    assert [event.payload for event in read] == [payload for _, payload in events]
    for (name, _), event in zip(events, read, strict=True):
        kind = "exception" if name.endswith("Exception") else "event"
        assert event.headers == {
            f":{kind}-type": name,
            ":content-type": "application/json",
            ":message-type": kind,
        }


def test_events_are_framed_as_each_provider_does():
    piece = Piece(Part.CONTENT, "ping", b"{}")
    assert frame(Form.SSE, piece) == b"event: ping\ndata: {}\n\n"
    assert frame(Form.SSE, piece._replace(name="")) == b"data: {}\n\n"
    assert frame(Form.SSE_CRLF, piece) == b"data: {}\r\n\r\n"


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 3},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 2},
        "size": {"anyOf": [{"type": "INTEGER", "minimum": 3}, {"type": "null"}]},
        "kind": {"enum": ["a", "b"]},
        "fixed": {"const": 1.5},
        "deep": {"type": ["object", "null"], "properties": {"on": {"type": "boolean"}}},
        "share": {"type": "number"},
        "any": {},
    },
    "$defs": {"tag": {"type": "string", "minLength": 10}},
}


def test_an_instance_fits_its_schema():
    assert instance_of(SCHEMA) == {
        "name": "Zür",
        "tags": ["ZürichZürich"] * 2,
        "size": 3,
        "kind": "a",
        "fixed": 1.5,
        "deep": {"on": True},
        "share": 7.5,
        "any": "Zürich",
    }


def test_a_schema_that_refers_to_itself_has_an_instance():
    node = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    assert json.dumps(instance_of(node)).count("next") > 3


@given(st.floats(0.2, 50), st.lists(st.floats(0, 0.3), max_size=200))
def test_no_span_has_more_than_the_rate_allows_and_waiting_as_told_helps(per_second, pauses):
    rates, now_s, passed = Rates(), 1000.0, []
    for pause_s in pauses:
        now_s += pause_s
        if not rates.take(per_second, now_s):
            passed.append(now_s)
    limit = max(1, math.ceil(per_second))
    for first, next_one in zip(passed, passed[limit:], strict=False):
        assert next_one - first >= limit / per_second - 1e-6
    if wait_s := rates.take(per_second, now_s):
        assert rates.take(per_second, now_s + wait_s) == 0
