"""Server-sent events: the same events, however the bytes arrive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import UpstreamFailed
from podium.wire.sse import SseFramer, event_data, split_events

STREAMS = {
    "plain": b'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n',
    "crlf": b'data: {"a":1}\r\n\r\ndata: {"b":2}\r\n\r\ndata: [DONE]\r\n\r\n',
    "cr": b'data: {"a":1}\r\rdata: {"b":2}\r\rdata: [DONE]\r\r',
    "comments": b': hello\n\n: again\ndata: {"a":1}\n\n:\n\ndata: {"b":2}\n\ndata: [DONE]\n\n',
    "several lines": b'data: {"a":\ndata: 1}\n\nevent: x\nid: 7\ndata:{"b":2}\nretry: 5\n\ndata: [DONE]\n\n',
    "mixed ends": b'data: {"a":1}\n\ndata: {"b":2}\r\n\r\ndata: [DONE]\n\n',
    "blank lines": b'\n\n\ndata: {"a":1}\n\n\n\ndata: {"b":2}\n\ndata: [DONE]\n\n',
    "not ascii": 'data: {"a":1}\n\ndata: {"b":2}\n\ndata: {"c":"é\u2028\u0085日本"}\n\n'.encode(),
}
LINES = st.sampled_from([b"data: x", b"data:", b": c", b"event: e", b"data: \xc3\xa9", b""])


def fed(pieces):
    """Everything that came out, and what is left."""
    framer = SseFramer()
    return [framer.feed(piece) for piece in pieces], framer.unfinished


def data_of(blocks):
    events = [event_data(event) for block in blocks for event in split_events(block)]
    return [data for data in events if data is not None]


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_cut_at_any_byte_gives_the_same_events(name):
    stream = STREAMS[name]
    expected = data_of([stream])
    assert len(expected) >= 3
    for cut in range(len(stream) + 1):
        blocks, rest = fed([stream[:cut], stream[cut:]])
        assert b"".join(blocks) + rest == stream
        assert data_of(blocks) + data_of([rest]) == expected, cut
        assert not rest.strip()


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_comes_byte_by_byte_gives_the_same_events(name):
    stream = STREAMS[name]
    blocks, rest = fed([stream[place : place + 1] for place in range(len(stream))])
    assert b"".join(blocks) + rest == stream
    assert data_of(blocks) == data_of([stream])


@given(st.data(), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_lines_split_anywhere_give_the_same_events(data, end):
    lines = data.draw(st.lists(LINES, max_size=12))
    stream = b"".join(line + end for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    blocks, rest = fed(pieces)
    assert b"".join(blocks) + rest == stream
    whole, tail = fed([stream])
    assert data_of(blocks) == data_of(whole)
    assert event_data(rest) == event_data(tail)


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_any_bytes_at_all_come_out_as_they_went_in(pieces):
    blocks, rest = fed(pieces)
    assert b"".join(blocks) + rest == b"".join(pieces)
    for block in blocks:
        assert b"".join(split_events(block)) == block


@given(st.sampled_from(sorted(STREAMS)), st.integers(0, 60))
def test_only_whole_events_come_out(name, cut):
    (block,), rest = fed([STREAMS[name][:cut]])
    assert block == b"" or block.endswith((b"\n\n", b"\n\r\n", b"\r\r"))
    assert (
        data_of([block]) == data_of([STREAMS[name]])[: len(data_of([block]))]
    )  # what came out first is final, whatever is still to come
    assert b"\n\n" not in rest


def test_an_unfinished_event_stays_inside():
    framer = SseFramer()
    assert framer.feed(b"data: a\n\ndata: b\n") == b"data: a\n\n"
    assert framer.unfinished == b"data: b\n"
    assert framer.feed(b"\n") == b"data: b\n\n"
    assert framer.unfinished == b""


def test_an_event_without_an_end_is_bounded():
    framer = SseFramer()
    for _ in range(8):
        framer.feed(b"x" * 1024 * 1024)
    with pytest.raises(UpstreamFailed) as raised:
        framer.feed(b"x")
    assert raised.value.reason == "upstream_invalid"


def test_an_event_of_almost_eight_mebibytes_passes():
    framer = SseFramer()
    event = b"data: " + b"x" * (8 * 1024 * 1024 - 8) + b"\n\n"
    assert framer.feed(event[:-1]) == b""
    assert framer.feed(event[-1:]) == event


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:  x\n\n", b" x"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data: a\r\ndata: b\r\n\r\n", b"a\nb"),
        (b"data\n\n", None),
        (b": data: x\n\n", None),
        (b"event: data: x\n\n", None),
        (b"data:\n\n", b""),
        (b"id: 1\ndata: x\n\n", b"x"),
        (b"dataset: x\n\n", None),
        (b"\n", None),
    ],
)
def test_the_data_of_an_event_is_what_the_standard_says(event, data):
    assert event_data(event) == data
