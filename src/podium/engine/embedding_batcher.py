"""Dynamic batching: what waits while the model is busy is computed together in its next step.

Nothing waits for company: an idle model starts at once. Requests take turns text by text, so a short one
does not wait for all of a long one. The number of waiting texts is bounded.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from podium.core.errors import Unavailable

if TYPE_CHECKING:
    from podium.engine.embedding_model import Vector, Vectors

__all__ = ["Batcher"]

_STEP_TOKENS = 2048  # computed between two looks at the queue
_BATCH_TOKENS = 1024  # of one batch, padding included
_SMOOTHING = 0.1


class _Job:
    """One request on its way through the queue."""

    def __init__(self, texts: "Sequence[list[int]]", done: "asyncio.Future[None]") -> None:
        self.waiting = deque(enumerate(texts))
        self.left = len(texts)
        self.vectors: list[Vector | None] = [None] * len(texts)
        self.done = done


_Step = list[tuple[_Job, int, list[int]]]
"""Texts to compute, each with its job and its place there."""


class Batcher:
    """Feeds a model from many requests. `run` must run as a task of the owner."""

    def __init__(
        self, embed: "Callable[[Sequence[Sequence[int]]], Vectors]", *, batch_texts: int, queue_texts: int
    ) -> None:
        self._embed = embed
        self._batch_texts = batch_texts
        self._queue_texts = queue_texts
        self._jobs: deque[_Job] = deque()
        self._waiting_texts = 0
        self._seconds_a_text = 0.01
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embed")

    async def embed(self, texts: "Sequence[list[int]]") -> "list[Vector]":
        """A vector for each list of token ids. `Unavailable` when too many texts wait already.

        A cancelled caller's texts that were not begun are dropped.
        """
        if self._waiting_texts and self._waiting_texts + len(texts) > self._queue_texts:
            raise Unavailable(
                "The embedding model has too much to do.",
                retry_after_s=max(1.0, self._waiting_texts * self._seconds_a_text),
            )
        job = _Job(texts, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._waiting_texts += len(texts)
        self._arrived.set()
        try:
            await job.done
        finally:
            self._waiting_texts -= len(job.waiting)
            job.waiting.clear()
        return [vector for vector in job.vectors if vector is not None]

    async def run(self) -> None:
        """Compute for ever."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while step := self._take():
                    for batch in _split_batches(step, _BATCH_TOKENS):
                        await self._compute(loop, batch)
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _take(self) -> _Step:
        """The next texts, one from each request in turn."""
        step: _Step = []
        tokens = 0
        while self._jobs and len(step) < self._batch_texts and tokens < _STEP_TOKENS:
            job = self._jobs.popleft()
            if not job.waiting:
                continue  # its caller is gone
            index, text = job.waiting.popleft()
            self._waiting_texts -= 1
            step.append((job, index, text))
            tokens += len(text)
            if job.waiting:
                self._jobs.append(job)
        return step

    async def _compute(self, loop: asyncio.AbstractEventLoop, batch: _Step) -> None:
        batch = [place for place in batch if not place[0].done.done()]
        if not batch:
            return
        started = time.monotonic()
        try:
            vectors = await loop.run_in_executor(self._thread, self._embed, [text for _, _, text in batch])
        except Exception as error:  # noqa: BLE001 - the task boundary: the requests get it, the batcher lives on
            for job, _, _ in batch:
                if not job.done.done():
                    job.done.set_exception(error)
            return
        spent = (time.monotonic() - started) / len(batch)
        self._seconds_a_text += _SMOOTHING * (spent - self._seconds_a_text)
        for (job, index, _), vector in zip(batch, vectors, strict=True):
            job.vectors[index] = vector
            job.left -= 1
            if job.left == 0 and not job.done.done():
                job.done.set_result(None)


def _split_batches(step: _Step, limit: int) -> list[_Step]:
    """The texts in batches of like length; none has more than `limit` tokens with its padding, unless of one text."""
    batches: list[_Step] = []
    for place in sorted(step, key=_length):
        # Sorted: this text is the longest of its batch, and all others are padded to it.
        if batches and (len(batches[-1]) + 1) * _length(place) <= limit:
            batches[-1].append(place)
        else:
            batches.append([place])
    return batches


def _length(place: tuple[_Job, int, list[int]]) -> int:
    return len(place[2])
