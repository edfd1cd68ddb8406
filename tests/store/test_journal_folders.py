import asyncio

import pytest

from podium.control.loader import Loader
from podium.core.clock import SystemClock
from podium.core.event import encode_event
from podium.core.ids import event_id
from podium.core.records import FeedbackRecord, encode_opinion
from podium.store.journal import JournalWriter
from podium.store.journal_folders import JournalFolders
from podium.store.journal_format import frame, segment_header
from podium.store.settings import JournalSettings
from podium.testing.events import make_event

CLOSED = "00000000000000000001.journal"


@pytest.fixture
def gateway(tmp_path):
    folder = tmp_path / "journal" / "gateway-0"
    folder.mkdir(parents=True)
    return folder


def records(count):
    return [encode_event(make_event(id=event_id(number * 1_000_000))) for number in range(count)]


class MemoryLedger:
    def __init__(self):
        self.events = {}
        self.positions = {}
        self.opinions = ()

    async def load(self, source, position, events, opinions=()):
        before = len(self.events)
        self.opinions += opinions
        self.events.update((event.id, event) for event in events)
        self.positions[source] = position
        return len(self.events) - before

    async def position(self, source):
        return self.positions.get(source, 0)


async def test_a_loader_brings_in_a_running_journal_and_deletes_closed_segments(gateway):
    journal = JournalWriter(gateway, JournalSettings(min_free_bytes=0), asyncio.get_running_loop())
    journal.open()
    for record in records(2500):
        journal.append(record, lambda error: None)
    await journal.flush()
    ledger = MemoryLedger()
    loader = Loader(JournalFolders(gateway.parent), ledger, SystemClock())
    assert await loader.load_once() == 2500
    assert await loader.load_once() == 0
    assert [segment.closed for segment in await JournalFolders(gateway.parent).segments()] == [False]
    await journal.close()
    assert await loader.load_once() == 0
    assert await JournalFolders(gateway.parent).segments() == ()
    assert len(ledger.events) == 2500


async def test_what_a_dead_gateway_left_open_is_closed_loaded_and_deleted(gateway):
    good = b"".join(map(frame, records(3)))
    (gateway / f"{CLOSED}.open").write_bytes(segment_header(0) + good + b"torn")
    loader = Loader(JournalFolders(gateway.parent), MemoryLedger(), SystemClock())
    assert await loader.load_once() == 3
    assert await JournalFolders(gateway.parent).segments() == ()


async def test_damaged_bytes_are_counted_and_kept_for_people(gateway):
    one, two, three = map(frame, records(3))
    damaged = two[:-3] + b"???"
    (gateway / CLOSED).write_bytes(segment_header(0) + one + damaged + three)
    loader = Loader(JournalFolders(gateway.parent), MemoryLedger(), SystemClock())
    assert await loader.load_once() == 2
    assert loader.status.damaged_bytes == len(damaged)
    (kept,) = gateway.glob("*.damaged")
    assert kept.read_bytes() == damaged
    assert not (gateway / CLOSED).exists()


async def test_a_good_frame_that_is_no_event_is_counted_and_kept(gateway):
    (one,) = records(1)
    (gateway / CLOSED).write_bytes(segment_header(0) + frame(b"no event") + frame(one))
    loader = Loader(JournalFolders(gateway.parent), MemoryLedger(), SystemClock())
    assert await loader.load_once() == 1
    assert loader.status.damaged_bytes == len(b"no event")
    (kept,) = gateway.glob("*.damaged")
    assert kept.read_bytes() == b"no event"


async def test_deleting_twice_and_reading_what_is_gone(gateway):
    folders = JournalFolders(gateway.parent)
    await folders.delete("gateway-0/00000000000000000001")
    with pytest.raises(FileNotFoundError):
        await folders.read("gateway-0/00000000000000000001", 0, 10)


async def test_one_reader_at_a_time_has_a_folder_and_another_gets_it_when_it_is_given_back(gateway):
    (gateway / CLOSED).write_bytes(segment_header(1) + b"".join(frame(one) for one in records(1)))
    first, second = (JournalFolders(gateway.parent, alone=True) for _ in range(2))
    assert len(await first.segments()) == 1
    assert await second.segments() == ()
    assert (await first.take(), await second.take()) == (True, False)
    first.give_back()
    assert len(await second.segments()) == 1
    assert await first.segments() == ()
    second.give_back()


async def test_a_folder_that_is_not_there_yet_is_taken_once_it_is(tmp_path):
    folders = JournalFolders(tmp_path / "journal", alone=True)
    assert not await folders.take()
    assert await folders.segments() == ()
    (tmp_path / "journal" / "gateway").mkdir(parents=True)
    assert await folders.take()
    folders.give_back()
    folders.give_back()  # a second time does nothing


async def test_opinions_come_between_events_and_what_only_a_newer_podium_knows_is_laid_aside(gateway):
    one, two = records(2)
    said = FeedbackRecord(id=event_id(1), given_unix_s=1.0, tenant="acme", key_id="k", request_id="q", thumbs=1.0)
    newer = b"\xc1\x7fwhatever"
    (gateway / CLOSED).write_bytes(
        segment_header(0) + b"".join(map(frame, (one, encode_opinion(said), newer, b"\xc1", two)))
    )
    ledger = MemoryLedger()
    loader = Loader(JournalFolders(gateway.parent), ledger, SystemClock())
    assert await loader.load_once() == 2
    assert ledger.opinions == (said,)
    assert (loader.status.unknown_records, loader.status.damaged_bytes) == (1, 1)
    (kept,) = gateway.glob("*.newer")
    assert kept.read_bytes() == newer
    assert [path.read_bytes() for path in gateway.glob("*.damaged")] == [b"\xc1"]
    assert not (gateway / CLOSED).exists()
