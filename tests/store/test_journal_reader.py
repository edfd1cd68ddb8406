import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from podium.core.errors import OperatorError
from podium.store.journal_format import HEADER_BYTES, frame, segment_header
from podium.store.journal_reader import Gap, list_segments, read_segment, recover_segment

RECORDS = (b"one", b"", b"three" * 9, b"four")
WHOLE = segment_header(7) + b"".join(map(frame, RECORDS))
ENDS = [HEADER_BYTES + sum(len(frame(record)) for record in RECORDS[:number]) for number in range(len(RECORDS) + 1)]


def whole_records(size):
    return RECORDS[: sum(end <= size for end in ENDS[1:])]


def read_all(path):
    records, gaps, position = [], [], 0
    while True:
        read = read_segment(path, position, max_records=2)
        records += read.records
        gaps += read.gaps
        assert read.position >= position
        position = read.position
        if read.exhausted:
            return tuple(records), tuple(gaps), position


@pytest.fixture
def opened(tmp_path):
    return tmp_path / "00000000000000000001.journal.open"


@pytest.fixture
def closed(tmp_path):
    return tmp_path / "00000000000000000001.journal"


def test_a_torn_tail_of_an_open_segment_is_left_for_later_at_every_byte(opened):
    for size in range(len(WHOLE) + 1):
        opened.write_bytes(WHOLE[:size])
        records, gaps, position = read_all(opened)
        assert (records, gaps) == (whole_records(size), ())
        assert position == (max(end for end in ENDS if end <= size) if size >= HEADER_BYTES else 0)
        opened.write_bytes(WHOLE)
        later = read_segment(opened, position)
        assert records + later.records == RECORDS


def test_a_torn_tail_is_cut_at_every_byte(opened, closed):
    for size in range(len(WHOLE) + 1):
        opened.write_bytes(WHOLE[:size])
        kept = whole_records(size)
        cut = recover_segment(opened)
        assert not opened.exists()
        if kept:
            assert read_all(closed) == (kept, (), closed.stat().st_size)
            assert cut == size - closed.stat().st_size
            closed.unlink()
        else:
            assert not closed.exists()


def test_a_torn_tail_of_a_closed_segment_is_damage(closed):
    closed.write_bytes(WHOLE[:-1])
    assert read_all(closed) == (RECORDS[:-1], (Gap(ENDS[-2], len(WHOLE) - 1 - ENDS[-2]),), len(WHOLE) - 1)


@pytest.mark.parametrize("suffix", ["opened", "closed"])
def test_every_flipped_bit_costs_one_record_and_is_reported(request, suffix):
    path = request.getfixturevalue(suffix)
    for byte in range(len(WHOLE)):
        damaged = bytearray(WHOLE)
        damaged[byte] ^= 0x10
        path.write_bytes(damaged)
        records, gaps, position = read_all(path)
        if byte < HEADER_BYTES:
            assert (records, gaps) == (RECORDS, (Gap(0, HEADER_BYTES),))
            continue
        hit = sum(end <= byte for end in ENDS) - 1
        if hit == len(RECORDS) - 1 and suffix == "opened":
            assert (records, gaps, position) == (RECORDS[:-1], (), ENDS[hit])  # may be half written
        else:
            assert (records, gaps) == (RECORDS[:hit] + RECORDS[hit + 1 :], (Gap(ENDS[hit], ENDS[hit + 1] - ENDS[hit]),))


def test_recovery_keeps_good_records_behind_damage(opened, closed):
    damaged = bytearray(WHOLE)
    damaged[ENDS[1] + 2] ^= 1
    opened.write_bytes(bytes(damaged) + b"torn")
    assert recover_segment(opened) == 4
    assert closed.read_bytes() == bytes(damaged)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.integers(0, len(WHOLE)), max_size=5))
def test_a_growing_segment_is_read_once_however_it_grows(opened, sizes):
    opened.unlink(missing_ok=True)
    read_so_far, position = (), 0
    for size in [*sorted(sizes), len(WHOLE)]:
        opened.write_bytes(WHOLE[:size])
        read = read_segment(opened, position)
        read_so_far += read.records
        position = read.position
    assert read_so_far == RECORDS


def test_a_large_segment_is_read_in_parts(closed):
    records = tuple(b"%07d" % number * 30_000 for number in range(20))
    closed.write_bytes(segment_header(0) + b"".join(map(frame, records)))
    first = read_segment(closed, max_bytes=1)
    assert 0 < len(first.records) < 20 and not first.exhausted
    assert read_all(closed)[0] == records


def test_a_segment_that_was_closed_meanwhile_is_found(opened, closed):
    closed.write_bytes(WHOLE)
    read = read_segment(opened)
    assert (read.records, read.closed, read.exhausted, read.clean) == (RECORDS, True, True, True)


def test_a_segment_that_is_gone_is_an_error(opened, closed):
    for path in (opened, closed):
        with pytest.raises(FileNotFoundError):
            read_segment(path)


def test_a_position_behind_a_cut_end_reads_nothing(closed):
    closed.write_bytes(WHOLE)
    read = read_segment(closed, len(WHOLE) + 100)
    assert (read.records, read.position, read.gaps, read.exhausted) == ((), len(WHOLE) + 100, (), True)


def test_a_newer_format_is_refused_and_not_taken_for_damage(closed, monkeypatch):
    monkeypatch.setattr("podium.store.journal_format.FORMAT_VERSION", 2)
    closed.write_bytes(segment_header(0) + frame(b"one"))
    with pytest.raises(OperatorError, match="format 2"):
        read_segment(closed, 0)


def test_segments_of_all_gateways_are_listed_by_time(tmp_path):
    for name in ("b/0002.journal.open", "a/0003.journal", "b/0001.journal", "a/.lock", "a/0003-9.damaged"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "stray").write_text("")
    listed = list_segments(tmp_path)
    assert [(segment.source, segment.closed) for segment in listed] == [
        ("a/0003", True),
        ("b/0001", True),
        ("b/0002", False),
    ]
    assert list_segments(tmp_path / "none") == ()
