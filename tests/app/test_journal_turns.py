"""A gateway brings its own journals into the ledger, as long as nobody else has the folder."""

import asyncio
import sqlite3
from contextlib import asynccontextmanager

import pytest

from podium.app import journal_turns
from podium.app.journal_turns import JournalTurns
from podium.config import load_settings
from podium.core.clock import SystemClock
from podium.core.event import encode_event
from podium.core.ids import event_id
from podium.store.journal import JournalWriter
from podium.store.journal_folders import JournalFolders
from podium.store.settings import JournalSettings
from podium.store.sql.database import open_database
from podium.testing.events import make_event
from podium.testing.waiting import eventually


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name, seconds in {"_FIRST_S": 0.0, "_TURN_S": 0.05, "_BETWEEN_S": 0.02, "_NOT_MINE_S": 0.02}.items():
        monkeypatch.setattr(journal_turns, name, seconds)
    return load_settings(data_dir=tmp_path, environment={"PODIUM_CONTROL_LOADER_POLL_S": "0.01"})


@pytest.fixture
async def database(settings):
    opened = open_database(settings.database, settings.data.database_file)
    yield opened
    await opened.close()


@pytest.fixture
async def write(settings):
    """Writes exchanges to the journal of the gateway, and returns their request ids."""
    journal = JournalWriter(settings.data.journals / "g", JournalSettings(min_free_bytes=0), asyncio.get_running_loop())
    journal.open()
    written = 0

    async def some(count=3):
        nonlocal written
        ids = [f"request-{written + number}" for number in range(count)]
        for number, request_id in enumerate(ids):
            event = make_event(id=event_id((written + number) * 1_000_000), request_id=request_id)
            journal.append(encode_event(event), lambda error: None)
        written += count
        await journal.flush()
        return ids

    yield some
    await journal.close()


@asynccontextmanager
async def running(settings, database):
    task = asyncio.create_task(JournalTurns(settings, database, SystemClock()).run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def recorded(settings):
    """Request ids in the ledger."""
    with sqlite3.connect(f"file:{settings.data.database_file}?mode=ro", uri=True) as database:
        return {row[0] for row in database.execute("SELECT request_id FROM exchanges")}


async def in_ledger(settings, request_ids):
    """Returns when each of them is there."""
    await eventually(lambda: set(request_ids) <= recorded(settings), timeout_s=5, interval_s=0.01)


@pytest.fixture
def tries(monkeypatch):
    """Counts how often somebody wanted to have a folder."""
    take, counted = JournalFolders.take, []

    async def take_and_count(folders):
        counted.append(had := await take(folders))
        return had

    monkeypatch.setattr(JournalFolders, "take", take_and_count)
    return counted


async def test_what_is_written_comes_into_the_ledger_turn_after_turn(settings, database, write, tries):
    await database.migrate()
    async with running(settings, database):
        await in_ledger(settings, await write())
        await eventually(lambda: tries.count(True) >= 3, timeout_s=5)
        await in_ledger(settings, await write())


async def test_whoever_waits_for_the_folder_gets_it_between_two_turns_and_keeps_it(settings, database, write, tries):
    await database.migrate()
    await write()
    control = JournalFolders(settings.data.journals, alone=True)
    async with running(settings, database):
        async with asyncio.timeout(5):
            while not await control.segments():  # as its loader does
                pass
        late, sofar = await write(), len(tries)
        await eventually(lambda: len(tries) > sofar + 5, timeout_s=5)
        assert not any(tries[sofar:])
        assert not set(late) & recorded(settings)
        control.give_back()
        await in_ledger(settings, late)


async def test_it_waits_for_the_schema_that_control_makes(settings, database, write, tries):
    ids = await write()
    async with running(settings, database):
        await eventually(lambda: tries.count(True) >= 2, timeout_s=5)
        await database.migrate()
        await in_ledger(settings, ids)


async def test_a_failure_is_told_once_and_tried_again(settings, database, write, monkeypatch, capsys):
    await database.migrate()
    ids = await write()
    check, failures = database.check, 5

    async def failing():
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise OSError("no route")
        return await check()

    monkeypatch.setattr(database, "check", failing)
    async with running(settings, database):
        await eventually(lambda: failures < 0)
        await in_ledger(settings, ids)
    said = capsys.readouterr()
    assert (said.out + said.err).count("journals_not_loaded") == 1
