import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from podium.core.errors import OperatorError
from podium.store.journal import JournalWriter
from podium.store.journal_reader import close_abandoned, list_segments, read_segment
from podium.store.settings import JournalSettings

DURABILITIES = ("interval", "disk")


def settings(**changes):
    return JournalSettings(**({"min_free_bytes": 0, "probe_interval_s": 0.02, "sync_interval_ms": 5} | changes))


class Acknowledged:
    def __init__(self):
        self.errors = []

    def __call__(self, error):
        self.errors.append(error)


@pytest.fixture(params=DURABILITIES)
def durability(request):
    return request.param


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "journal" / "gateway-0"


@pytest.fixture
async def make_journal(folder):
    journals = []

    def make(**changes):
        journal = JournalWriter(folder, settings(**changes), asyncio.get_running_loop())
        journal.open()
        journals.append(journal)
        return journal

    yield make
    for journal in journals:
        await journal.close()


async def until(condition, what="the condition", seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true"
        await asyncio.sleep(0.005)


def everything(root):
    records, gaps = [], []
    for segment in list_segments(root):
        position = 0
        while True:
            read = read_segment(segment.path, position)
            records += read.records
            gaps += read.gaps
            position = read.position
            if read.exhausted:
                break
    assert gaps == []
    return records


async def test_a_record_is_readable_when_it_is_acknowledged(make_journal, folder, durability):
    journal = make_journal(durability=durability)
    seen = asyncio.get_running_loop().create_future()
    journal.append(b"first", lambda error: seen.set_result((error, everything(folder.parent))))
    assert await seen == (None, [b"first"])


async def test_records_of_one_turn_of_the_loop_are_one_write(make_journal, monkeypatch, durability):
    journal = make_journal(durability=durability)
    writes = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: writes.append(len(data)) or write(descriptor, data))
    acknowledged = Acknowledged()
    for number in range(100):
        journal.append(b"%d" % number, acknowledged)
    await until(lambda: len(acknowledged.errors) == 100)
    assert acknowledged.errors == [None] * 100
    # The loop and the thread wake each other through a socket, never through os.write.
    assert len(writes) == 1


async def test_records_that_arrive_during_a_group_are_the_next_group(make_journal, folder):
    journal = make_journal(durability="disk")
    acknowledged = Acknowledged()
    journal.append(b"one", acknowledged)
    await asyncio.sleep(0)
    journal.append(b"two", acknowledged)
    journal.append(b"three", acknowledged)
    await journal.flush()
    assert acknowledged.errors == [None] * 3
    assert everything(folder.parent) == [b"one", b"two", b"three"]


async def test_a_failing_callback_does_not_reach_the_others(make_journal, durability):
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context["message"]))
    journal = make_journal(durability=durability)
    acknowledged = Acknowledged()
    journal.append(b"one", lambda error: 1 / 0)
    journal.append(b"two", acknowledged)
    await journal.flush()
    assert (acknowledged.errors, reported) == ([None], ["a journal callback failed"])


async def test_a_record_over_the_limit_is_a_bug_of_the_caller(make_journal):
    with pytest.raises(ValueError, match="over the limit"):
        make_journal().append(b"x" * ((1 << 20) + 1), Acknowledged())


async def test_segments_rotate_by_size_and_stay_in_order(make_journal, folder, durability):
    journal = make_journal(durability=durability, segment_bytes=2000)
    expected = []
    for number in range(60):
        record = b"%03d" % number * 50
        expected.append(record)
        journal.append(record, Acknowledged())
        await asyncio.sleep(0.003)
    await journal.flush()

    def closed():
        return [segment.closed for segment in list_segments(folder.parent)]

    await until(lambda: closed().count(True) >= 3 and closed().count(False) == 1, "rotation")
    assert closed()[-1] is False
    assert everything(folder.parent) == expected


async def test_a_segment_that_is_old_is_closed_but_an_empty_one_is_left_alone(make_journal, folder):
    journal = make_journal(segment_age_s=0.05)
    first = list_segments(folder.parent)
    await asyncio.sleep(0.15)  # three times its age
    assert list_segments(folder.parent) == first
    journal.append(b"one", Acknowledged())
    await until(lambda: any(segment.closed for segment in list_segments(folder.parent)), "closing")
    closed, fresh = list_segments(folder.parent)
    assert (closed.source, closed.closed, fresh.closed) == (first[0].source, True, False)
    assert read_segment(first[0].path).records == (b"one",)  # found under its new name


async def test_close_leaves_closed_segments_and_no_empty_one(make_journal, folder, durability):
    journal = make_journal(durability=durability)
    acknowledged = Acknowledged()
    journal.append(b"one", acknowledged)
    await journal.close()
    assert acknowledged.errors == [None]
    assert [segment.closed for segment in list_segments(folder.parent)] == [True]
    second = make_journal()
    await second.close()
    assert everything(folder.parent) == [b"one"]
    assert len(list_segments(folder.parent)) == 1


async def test_an_append_after_close_is_refused(make_journal, durability):
    journal = make_journal(durability=durability)
    await journal.close()
    acknowledged = Acknowledged()
    journal.append(b"late", acknowledged)
    await until(lambda: acknowledged.errors)
    assert isinstance(acknowledged.errors[0], OSError)
    assert not journal.accepting


async def test_one_folder_has_one_writer(make_journal, monkeypatch):
    monkeypatch.setattr("podium.store.journal._LOCK_WAIT_S", 0.05)
    make_journal()
    with pytest.raises(OperatorError, match="another process"):
        make_journal()


async def test_an_unwritable_folder_is_one_clear_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    journal = JournalWriter(tmp_path / "file" / "gateway", settings(), asyncio.get_running_loop())
    with pytest.raises(OperatorError, match="cannot be written"):
        journal.open()


@pytest.fixture
def small_files():
    """Lets the kernel refuse to grow files, as a full disk would, with a short write before the error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, previous)


async def test_a_full_disk_fails_the_batch_whole_and_heals_by_itself(make_journal, folder, small_files, durability):
    journal = make_journal(durability=durability)
    good, bad, late = Acknowledged(), Acknowledged(), Acknowledged()
    journal.append(b"good" * 100, good)
    await journal.flush()
    (segment,) = list_segments(folder.parent)
    size = segment.path.stat().st_size

    def filled_up(error):
        small_files(10)  # now not even a header fits
        bad(error)

    small_files(size + 700)  # the first of the two would fit
    journal.append(b"bad1" * 100, filled_up)
    journal.append(b"bad2" * 100, filled_up)
    await until(lambda: len(bad.errors) == 2)
    assert all(isinstance(error, OSError) for error in bad.errors)
    assert not journal.accepting
    journal.append(b"late", late)
    await until(lambda: late.errors)
    assert isinstance(late.errors[0], OSError)
    with pytest.raises(OSError):
        await journal.flush()
    await asyncio.sleep(0.1)  # a few probes, all in vain
    assert not journal.accepting

    small_files(None)
    await until(lambda: journal.accepting, "recovery")
    journal.append(b"again", good)
    await journal.flush()
    assert good.errors == [None, None]
    assert everything(folder.parent) == [b"good" * 100, b"again"]
    # The segment that failed is never written again: positions in it stay true.
    assert [segment.closed for segment in list_segments(folder.parent)] == [True, False]


async def test_a_failed_fdatasync_is_not_acknowledged_and_not_kept(make_journal, folder, monkeypatch):
    journal = make_journal(durability="disk")

    def broken(descriptor):
        raise OSError(5, "Input/output error")

    acknowledged = Acknowledged()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        journal.append(b"lost", acknowledged)
        await until(lambda: acknowledged.errors)
        assert acknowledged.errors[0].errno == 5
        assert not journal.accepting
    await until(lambda: journal.accepting, "recovery")
    assert everything(folder.parent) == []


async def test_little_free_space_stops_new_exchanges_but_not_running_ones(make_journal, folder):
    journal = make_journal(min_free_bytes=1 << 60)
    assert not journal.accepting
    acknowledged = Acknowledged()
    journal.append(b"running", acknowledged)
    await journal.flush()
    assert acknowledged.errors == [None]
    assert everything(folder.parent) == [b"running"]


async def test_too_much_in_memory_stops_new_exchanges(make_journal):
    journal = make_journal(max_buffered_bytes=1 << 20)
    acknowledged = Acknowledged()
    for _ in range(2):
        journal.append(b"x" * 600_000, acknowledged)
    assert (journal.accepting, journal.buffered_bytes > 1_200_000) == (False, True)
    await journal.flush()
    assert (journal.accepting, journal.buffered_bytes) == (True, 0)


async def test_the_backlog_on_disk_is_counted(make_journal, folder):
    journal = make_journal()
    journal.append(b"x" * 1000, Acknowledged())
    await until(lambda: journal.backlog_bytes >= 1000, "counting")
    assert journal.segments == 1


async def test_a_stalled_disk_stops_new_exchanges_until_it_answers(make_journal, monkeypatch):
    monkeypatch.setattr("podium.store.journal._STALL_S", 0.02)
    journal = make_journal()
    release = asyncio.Event()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(os, "fdatasync", lambda _: asyncio.run_coroutine_threadsafe(release.wait(), loop).result())
    journal.append(b"slow", Acknowledged())
    await until(lambda: not journal.accepting, "the stall")
    release.set()
    await until(lambda: journal.accepting, "the answer")


CHILD = """
import asyncio, os, sys
from pathlib import Path
import structlog
from podium.store.journal import JournalWriter
from podium.store.settings import JournalSettings

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

async def main():
    journal = JournalWriter(
        Path(sys.argv[1]),
        JournalSettings(durability=sys.argv[2], segment_bytes=20_000, sync_interval_ms=2),
        asyncio.get_running_loop(),
    )
    journal.open()
    number = 0
    while True:
        for _ in range(7):
            number += 1
            line = b"%09d" % number
            journal.append(line * 20, lambda error, line=line: os.write(1, line + b"\\n"))
        await asyncio.sleep(0)

asyncio.run(main())
"""


def acknowledged_until_killed(folder, durability, lines):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder), durability], stdout=subprocess.PIPE, bufsize=0)
    output = b""
    try:
        while output.count(b"\n") < lines:
            piece = child.stdout.read(65536)
            assert piece, "the child ended by itself"
            output += piece
    finally:
        child.kill()
        output += child.stdout.read()
        child.stdout.close()
        child.wait()
    return output.split(b"\n")[:-1]


@pytest.mark.parametrize("lines", [1, 400, 3000])
def test_every_acknowledged_record_survives_kill_9(folder, durability, lines):
    # The second child starts on what the first left; both count from one.
    acknowledged = Counter(acknowledged_until_killed(folder, durability, lines))
    acknowledged += Counter(acknowledged_until_killed(folder, durability, lines))
    assert close_abandoned(folder)
    stored = everything(folder.parent)
    assert all(record == record[:9] * 20 for record in stored)
    assert acknowledged <= Counter(record[:9] for record in stored)
    assert all(segment.closed for segment in list_segments(folder.parent))


async def test_a_running_gateway_is_not_taken_for_an_abandoned_one(make_journal, folder):
    make_journal()
    assert not close_abandoned(folder)
