import asyncio
import threading
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import Unavailable
from podium.engine.embedding_batcher import Batcher
from podium.testing.waiting import eventually


class SlowModel:
    """Embeds a text as its length, one step each time it is let go."""

    def __init__(self):
        self.batches = []
        self.gate = threading.Event()

    def embed(self, texts):
        self.batches.append([list(text) for text in texts])
        assert self.gate.wait(20)
        return np.array([[len(text)] for text in texts], np.float32)


@asynccontextmanager
async def batching(model, *, batch_texts=32, queue_texts=1000):
    batcher = Batcher(model.embed, batch_texts=batch_texts, queue_texts=queue_texts)
    task = asyncio.create_task(batcher.run())
    try:
        yield batcher
    finally:
        model.gate.set()
        task.cancel()
        await asyncio.wait([task])


def texts(*lengths):
    return [[1] * length for length in lengths]


async def test_each_text_gets_its_own_vector_back_in_order():
    model = SlowModel()
    model.gate.set()
    async with batching(model) as batcher:
        first, second = await asyncio.gather(batcher.embed(texts(9, 1, 5)), batcher.embed(texts(2)))
    assert [vector[0] for vector in first] == [9, 1, 5]
    assert [vector[0] for vector in second] == [2]


async def test_what_arrives_while_the_model_is_busy_is_computed_together():
    model = SlowModel()
    async with batching(model) as batcher, asyncio.TaskGroup() as group:
        group.create_task(batcher.embed(texts(1)))
        await eventually(lambda: len(model.batches) == 1)
        for length in (2, 3, 4):
            group.create_task(batcher.embed(texts(length)))
        await asyncio.sleep(0)
        model.gate.set()
    assert [len(batch) for batch in model.batches] == [1, 3]


async def test_a_short_request_does_not_wait_for_all_of_a_long_one():
    model = SlowModel()
    async with batching(model, batch_texts=4) as batcher, asyncio.TaskGroup() as group:
        group.create_task(batcher.embed(texts(*[3] * 40)))
        await eventually(lambda: len(model.batches) == 1)
        short = group.create_task(batcher.embed(texts(7)))
        await asyncio.sleep(0)
        model.gate.set()
        await short
        assert len(model.batches) <= 4


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back():
    model = SlowModel()
    async with batching(model, batch_texts=1, queue_texts=3) as batcher, asyncio.TaskGroup() as group:
        group.create_task(batcher.embed(texts(1, 1, 1, 1)))
        await eventually(lambda: len(model.batches) == 1)
        with pytest.raises(Unavailable) as caught:
            await batcher.embed(texts(1))
        assert caught.value.retry_after_s >= 1
        model.gate.set()


async def test_an_empty_queue_takes_a_request_larger_than_itself():
    model = SlowModel()
    model.gate.set()
    async with batching(model, queue_texts=2) as batcher:
        assert len(await batcher.embed(texts(*[1] * 50))) == 50


async def test_a_cancelled_requests_texts_are_dropped():
    model = SlowModel()
    async with batching(model, batch_texts=1, queue_texts=10) as batcher, asyncio.TaskGroup() as group:
        gone = group.create_task(batcher.embed(texts(*[1] * 10)))
        await eventually(lambda: len(model.batches) == 1)
        gone.cancel()
        await asyncio.sleep(0)
        stays = group.create_task(batcher.embed(texts(5)))
        await asyncio.sleep(0)
        model.gate.set()
        assert (await stays)[0][0] == 5
    assert len(model.batches) == 2


async def test_a_model_that_fails_fails_its_requests_and_lives_on():
    class Failing(SlowModel):
        def embed(self, batch):
            if len(batch[0]) == 13:
                raise MemoryError("no room")
            return super().embed(batch)

    model = Failing()
    model.gate.set()
    async with batching(model) as batcher:
        with pytest.raises(MemoryError, match="no room"):
            await batcher.embed(texts(13))
        assert len(await batcher.embed(texts(1))) == 1


@given(st.lists(st.lists(st.integers(1, 512), min_size=1, max_size=30), min_size=1, max_size=8), st.integers(1, 40))
def test_any_mix_of_requests_is_answered_in_bounded_batches(requests, batch_texts):
    model = SlowModel()
    model.gate.set()

    async def main():
        async with batching(model, batch_texts=batch_texts) as batcher:
            return await asyncio.gather(*(batcher.embed(texts(*lengths)) for lengths in requests))

    answers = asyncio.run(main())
    assert [[int(vector[0]) for vector in answer] for answer in answers] == requests
    for batch in model.batches:
        assert len(batch) <= batch_texts
        assert len(batch) == 1 or len(batch) * max(map(len, batch)) <= 1024
