"""When words are erased; what that is stands in tests/store/sql/test_feedback_words.py."""

import asyncio

import pytest

from podium.control import feedback_keeping
from podium.control.feedback_keeping import BATCH, Erasure, FeedbackEraser, FeedbackUpkeep
from podium.control.plane import ControlPlane
from podium.control.settings import ControlSettings
from podium.core.errors import InvalidRequest, Unavailable
from podium.testing.clock import TestClock
from podium.testing.memory_store import (
    MemoryJournals,
    MemoryKeyStore,
    MemoryLeaderLease,
    MemoryLedger,
    MemoryPublisher,
    MemoryResourceStore,
)
from podium.testing.waiting import eventually

DAY_S = 86_400


class Shelf:
    """So many words are old."""

    def __init__(self, old=0):
        self.old = old
        self.asked = []
        self.down = False

    async def forget_before(self, unix_s, *, limit):
        self.asked.append(unix_s)
        if self.down:
            raise Unavailable("the database is away")
        done = min(self.old, limit)
        self.old -= done
        return done

    async def forget(self, whose, *, limit):
        self.asked.append(whose)
        return await self.forget_before(0.0, limit=limit)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(feedback_keeping, "_BETWEEN_S", 0.0)


async def test_all_that_is_older_than_so_many_days_goes_in_batches():
    shelf, clock = Shelf(2 * BATCH + 1), TestClock()
    assert await FeedbackUpkeep(shelf, clock, days=30).once(asyncio.Event()) == 2 * BATCH + 1
    assert shelf.asked == [clock.unix_ns() / 1e9 - 30 * DAY_S] * 4


async def test_without_days_or_a_shelf_nothing_is_erased():
    shelf = Shelf(1)
    assert await FeedbackUpkeep(shelf, TestClock(), days=0).once(asyncio.Event()) == 0
    assert await FeedbackUpkeep(None, TestClock(), days=1).once(asyncio.Event()) == 0
    assert shelf.asked == []


async def test_the_loop_outlives_a_database_that_is_away_and_ends_when_told(monkeypatch):
    monkeypatch.setattr(feedback_keeping, "_AFTER_ERROR_S", 0.01)
    shelf, stop = Shelf(1), asyncio.Event()
    shelf.down = True
    loop = asyncio.create_task(FeedbackUpkeep(shelf, TestClock(), days=1).run(stop))
    await eventually(lambda: len(shelf.asked) > 1, timeout_s=5)
    shelf.down = False
    await eventually(lambda: shelf.old == 0, timeout_s=5)
    stop.set()
    await asyncio.wait_for(loop, 5)


async def test_the_control_process_that_leads_does_it():
    shelf, clock = Shelf(1), TestClock()
    plane = ControlPlane(
        resource_store=MemoryResourceStore(clock),
        key_store=MemoryKeyStore(),
        ledger=MemoryLedger(),
        lease=MemoryLeaderLease(clock),
        journals=MemoryJournals(),
        publisher=MemoryPublisher(),
        pepper=b"pepper",
        settings=ControlSettings(feedback_days=7),
        clock=clock,
        feedback=shelf,
    )
    async with plane:
        await eventually(lambda: shelf.old == 0, timeout_s=5)
    assert shelf.asked[0] == clock.unix_ns() / 1e9 - 7 * DAY_S


@pytest.mark.parametrize("whose", [{}, {"request_id": "q", "user": "u"}, {"user": ""}, {"user": "a\0"}])
async def test_it_has_to_be_clear_whose_words_are_meant(whose):
    with pytest.raises(InvalidRequest):
        await FeedbackEraser(Shelf()).erase(Erasure(tenant="acme", **whose), author="me")


async def test_all_of_them_are_erased():
    shelf = Shelf(BATCH + 1)
    erased = await FeedbackEraser(shelf).erase(Erasure(tenant="acme", user="ann"), author="me")
    assert erased.erased == BATCH + 1
