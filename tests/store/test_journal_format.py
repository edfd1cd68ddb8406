import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.store.journal_format import (
    FRAME_HEAD,
    HEADER_BYTES,
    MARKER,
    Header,
    Stop,
    find_frame,
    frame,
    parse_header,
    scan_frames,
    segment_header,
)

records = st.lists(st.binary(max_size=60), max_size=6)


def test_a_header_tells_version_and_time():
    assert parse_header(segment_header(1234)) == Header(1, 1234)
    assert len(segment_header(0)) == HEADER_BYTES


@pytest.mark.parametrize("size", range(HEADER_BYTES))
def test_a_cut_header_is_none(size):
    assert parse_header(segment_header(5)[:size]) is None


@pytest.mark.parametrize("bit", range(HEADER_BYTES * 8))
def test_a_flipped_bit_in_the_header_is_none(bit):
    damaged = bytearray(segment_header(5))
    damaged[bit // 8] ^= 1 << bit % 8
    assert parse_header(bytes(damaged)) is None


@given(records)
def test_frames_come_back_as_they_went_in(records):
    data = b"".join(map(frame, records))
    scan = scan_frames(data)
    assert (list(scan.records), scan.end, scan.stop) == (records, len(data), Stop.END)


@given(records, st.data())
def test_a_cut_ends_the_scan_before_the_frame_that_it_hits(records, data):
    whole = b"".join(map(frame, records))
    cut = data.draw(st.integers(0, len(whole)))
    scan = scan_frames(whole[:cut])
    assert list(scan.records) == records[: len(scan.records)]
    assert scan.end == sum(len(frame(record)) for record in scan.records) <= cut
    assert scan.stop is (Stop.END if scan.end == cut else Stop.SHORT)


@given(records.filter(bool), st.data())
def test_a_flipped_bit_costs_only_the_record_that_it_hits(records, data):
    whole = bytearray(b"".join(map(frame, records)))
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    found, offset = [], 0
    while (start := find_frame(bytes(whole), offset)) is not None:
        scan = scan_frames(bytes(whole), start)
        found += scan.records
        offset = scan.end
    hit = next(
        number
        for number in range(len(records))
        if bit // 8 < sum(len(frame(record)) for record in records[: number + 1])
    )
    assert found == records[:hit] + records[hit + 1 :]


@given(st.binary(max_size=400))
def test_no_bytes_break_the_scan(data):
    scan = scan_frames(data)
    assert 0 <= scan.end <= len(data)
    assert find_frame(data, scan.end) is None or find_frame(data, scan.end) > scan.end


def test_zeros_are_no_frame():
    assert scan_frames(bytes(64)).stop is Stop.DAMAGED
    assert find_frame(bytes(64)) is None


def test_an_absurd_length_is_damage_not_the_start_of_a_frame():
    data = FRAME_HEAD.pack(MARKER, 1 << 30, 0) + b"rest"
    assert scan_frames(data).stop is Stop.DAMAGED


@given(st.text())
def test_no_text_can_pose_as_a_frame(text):
    assert MARKER.to_bytes(4, "little") not in text.encode("utf-8", "surrogatepass")


def test_a_scan_stops_at_the_asked_number():
    data = b"".join(map(frame, [b"one", b"two", b"three"]))
    scan = scan_frames(data, max_records=2)
    assert (scan.records, scan.stop) == ((b"one", b"two"), Stop.ENOUGH)
    assert scan_frames(data, scan.end).records == (b"three",)
