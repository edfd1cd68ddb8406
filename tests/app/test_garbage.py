import asyncio
import gc
import weakref

import pytest

from podium.app.garbage import collect_between_exchanges
from podium.testing.waiting import eventually


class Cycle:
    def __init__(self):
        self.me = self


@pytest.fixture(autouse=True)
def _as_before():
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


async def test_garbage_waits_while_exchanges_run_and_is_collected_when_none_does():
    stop, running, looked = asyncio.Event(), [1], []

    def in_flight():
        looked.append(running[0])
        return running[0]

    task = asyncio.create_task(collect_between_exchanges(stop, in_flight, look_s=0.001))
    await eventually(lambda: looked)
    gone = weakref.ref(Cycle())
    seen = len(looked)
    await eventually(lambda: len(looked) > seen + 2)
    assert gone() is not None
    running[0] = 0
    await eventually(lambda: gone() is None)
    stop.set()
    await task


async def test_who_is_never_idle_is_stopped_after_all():
    stop = asyncio.Event()
    task = asyncio.create_task(collect_between_exchanges(stop, lambda: 1, look_s=0.0001))
    await asyncio.sleep(0)
    gone = weakref.ref(Cycle())
    await eventually(lambda: gone() is None)
    stop.set()
    await task


async def test_it_ends_with_the_process():
    stop = asyncio.Event()
    stop.set()
    await collect_between_exchanges(stop, lambda: 0)
