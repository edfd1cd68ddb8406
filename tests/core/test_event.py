import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.event import Event, decode_event, encode_event

# The order is the format of every journal that was ever written: only append, and give what you append a default.
_JOURNALLED = """
id request_id started_unix_ns gateway tenant key_id user endpoint model version provider backend stream status reason
fault attempts input_tokens cached_input_tokens output_tokens reasoning_tokens tokens_estimated price cost_nanousd
bytes_in bytes_out admitted_ns upstream_ns first_byte_ns ended_ns trace_id span_id parent_span_id trace_sampled
"""
ORDER = _JOURNALLED.split()

_OF_TYPE = {
    bytes: st.binary(min_size=16, max_size=16),
    str: st.text(max_size=20),
    int: st.integers(-1, 2**63 - 1),
    bool: st.booleans(),
}
FIELDS = {field.name: field for field in msgspec.structs.fields(Event)}
events = st.fixed_dictionaries({name: _OF_TYPE[FIELDS[name].type] for name in ORDER}).map(lambda d: Event(**d))


def example(**changes):
    empty = {bytes: bytes(16), str: "", int: 0, bool: False}
    return Event(**{name: empty[FIELDS[name].type] for name in ORDER} | changes)


def test_fields_are_only_ever_appended_and_with_a_default():
    assert list(FIELDS)[: len(ORDER)] == ORDER
    assert all(not field.required for name, field in FIELDS.items() if name not in ORDER)


@given(events)
def test_what_is_written_is_read_back(event):
    assert decode_event(encode_event(event)) == event


@given(events, st.data())
def test_a_cut_record_is_refused(event, data):
    encoded = encode_event(event)
    length = data.draw(st.integers(0, len(encoded) - 1))

    with pytest.raises(msgspec.DecodeError):
        decode_event(encoded[:length])


def test_a_record_of_a_later_version_is_read_as_far_as_we_know_it():
    event = example(request_id="req-1")
    later = msgspec.msgpack.encode([*msgspec.msgpack.decode(encode_event(event)), "a field of tomorrow", 7])

    assert msgspec.structs.asdict(decode_event(later)).items() >= {name: getattr(event, name) for name in ORDER}.items()


def test_latencies_are_read_off_the_marks():
    event = example(stream=True, first_byte_ns=40_000_000, ended_ns=240_000_000, output_tokens=11)

    assert (event.ttft_ms, event.duration_ms, event.time_per_output_token_ms) == (40.0, 240.0, 20.0)


@pytest.mark.parametrize("changes", [{"stream": False}, {"output_tokens": 1}, {"first_byte_ns": -1}])
def test_a_time_per_token_needs_a_stream_of_two_tokens(changes):
    event = example(**{"stream": True, "first_byte_ns": 1, "ended_ns": 9, "output_tokens": 2} | changes)

    assert event.time_per_output_token_ms is None


def test_nothing_answered_has_no_time_to_first_token():
    assert example(first_byte_ns=-1).ttft_ms is None
