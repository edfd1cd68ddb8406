"""Amazon's event stream, beside botocore's own reader of it."""

import struct

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import UpstreamFailed
from podium.core.reasons import Reason
from podium.wire.bedrock.event_stream import EventStreamDecoder, Kind, read_headers

_FIXED = {2: "!b", 3: "!h", 4: "!i", 5: "!q", 8: "!q"}
_RANGES = {2: 7, 3: 15, 4: 31, 5: 63, 8: 63}
_names = st.text(min_size=1, max_size=20).filter(lambda name: 0 < len(name.encode()) < 256)
_integers = st.sampled_from(sorted(_FIXED)).flatmap(
    lambda kind: st.integers(-(2 ** _RANGES[kind]), 2 ** _RANGES[kind] - 1).map(
        lambda value: (bytes([kind]) + struct.pack(_FIXED[kind], value), value)
    )
)
_values = st.one_of(
    st.just((b"\x00", True)),
    st.just((b"\x01", False)),
    _integers,
    st.binary(max_size=40).map(lambda data: (b"\x06" + struct.pack("!H", len(data)) + data, data)),
    st.text(max_size=20).map(lambda text: (b"\x07" + struct.pack("!H", len(text.encode())) + text.encode(), text)),
    st.binary(min_size=16, max_size=16).map(lambda data: (b"\x09" + data, data)),
)
_headers = st.dictionaries(_names, _values, max_size=6)


def _encode(headers):
    return b"".join(bytes([len(name.encode())]) + name.encode() + raw for name, (raw, _) in headers.items())


@given(headers=_headers, payload=st.binary(max_size=200))
def test_headers_and_payload_are_read_as_botocore_reads_them(headers, payload, raw_frame):
    encoded = _encode(headers)
    data = raw_frame(encoded, payload)
    theirs = EventStreamBuffer()
    theirs.add_data(data)
    message = next(theirs)
    assert read_headers(encoded) == {name: value for name, (_, value) in headers.items()} == message.headers
    assert message.payload == payload


def _event(name=b"messageStop"):
    parts = ((b":event-type", name), (b":message-type", b"event"))
    return b"".join(bytes([len(key)]) + key + b"\x07" + struct.pack("!H", len(value)) + value for key, value in parts)


@given(payloads=st.lists(st.binary(max_size=60), max_size=5), data=st.data())
def test_frames_are_the_same_whatever_the_cuts(payloads, data, raw_frame):
    stream = b"".join(raw_frame(_event(), payload) for payload in payloads)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = EventStreamDecoder()
    frames = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        frames += decoder.feed(stream[start:end])
    assert [frame.payload for frame in frames] == payloads
    assert all(frame.kind == Kind("event", "messageStop", "") for frame in frames)
    assert not decoder.unfinished


def test_a_large_frame_in_small_pieces_is_read(raw_frame):
    payload = bytes(1024 * 1024)
    stream = raw_frame(_event(), payload)
    decoder = EventStreamDecoder()
    frames = []
    for start in range(0, len(stream), 16_384):
        assert not frames
        frames = decoder.feed(stream[start : start + 16_384])
    assert frames[0].payload == payload


def test_every_flipped_bit_is_noticed(raw_frame):
    stream = raw_frame(_event(), b'{"stopReason":"end_turn"}')
    for position in range(len(stream)):
        for bit in range(8):
            broken = bytearray(stream)
            broken[position] ^= 1 << bit
            with pytest.raises(UpstreamFailed) as caught:
                EventStreamDecoder().feed(bytes(broken))
            assert caught.value.reason is Reason.UPSTREAM_INVALID


def _prelude(length, header_length):
    from zlib import crc32

    prelude = struct.pack("!II", length, header_length)
    return prelude + struct.pack("!I", crc32(prelude))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (_prelude(8 * 1024 * 1024 + 1, 0), "too large"),
        (_prelude(2**32 - 1, 2**32 - 1), "too large"),
        (_prelude(200_000, 128 * 1024 + 1), "too large"),
        (_prelude(15, 0), "contradict"),
        (_prelude(0, 0), "contradict"),
        (_prelude(40, 25), "contradict"),
        (b"data: {}\n\ndata", "checksum"),
    ],
)
def test_a_frame_with_a_bad_prelude_is_refused_at_once(data, told):
    with pytest.raises(UpstreamFailed) as caught:
        EventStreamDecoder().feed(data)
    assert told in caught.value.hint


@pytest.mark.parametrize(
    "headers",
    [
        b"",
        b"\x05abc",
        b"\x01a",
        b"\x01a\x0a",
        b"\x01a\x04\x00",
        b"\x01a\x07\x00\x05ab",
        b"\x01a\x09short",
        b"\x01\xff\x00",
        b"\x00\x00",
        b"\x01a\x00\x01a\x00",
        b"\x01a\x07\x00\x01\xff",
        b"\x0d:message-type\x00",
        b"\x0d:message-type\x07\x00\x05event",
        b"\x0d:message-type\x07\x00\x04nice",
    ],
)
def test_broken_headers_are_an_error(headers, raw_frame):
    with pytest.raises(UpstreamFailed):
        EventStreamDecoder().feed(raw_frame(headers, b"{}"))
