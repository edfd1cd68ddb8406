"""A steady load of chats that remembers what the client saw of each."""

import asyncio
import itertools
import json
import time
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from podium.testing.openai_requests import chat_body, request_bytes
from podium.testing.raw_http import ConnectionClosed, RawConnection, RawResponse

__all__ = ["Load", "SeenExchange"]

_OK = 200
_BROKEN_OFF = 599  # stands for a stream that ended with an error event


@dataclass(frozen=True, slots=True)
class SeenExchange:
    """One request that was sent, and what came back.

    The tokens are those that the answer reported; of an answer that is not whole, those that a
    `ScriptedUpstream` counts for the request.
    """

    request_id: str
    status: int  # 0: no head came; 599: a stream that ended with an error event
    whole: bool  # the last byte came
    input_tokens: int
    output_tokens: int
    took_s: float = 0.0  # from the first byte sent to the last one that came

    @property
    def served(self) -> bool:
        """Answered, to the last byte, without an error."""
        return self.whole and self.status == _OK


class Load:
    """`workers` clients that send one chat after another, every second one streamed, while the block runs.

    A client whose connection is refused or breaks opens the next one.
    """

    def __init__(
        self, port: int, key: str, *, model: str, workers: int = 4, pause_s: float = 0.01, name: str = "load"
    ) -> None:
        self.seen: list[SeenExchange] = []
        self.refused = 0  # connections that could not be opened
        self._port, self._key, self._model = port, key, model
        self._workers, self._pause_s, self._name = workers, pause_s, name
        self._numbers = itertools.count(1)
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def served(self) -> list[SeenExchange]:
        """Those that were answered to the last byte."""
        return [one for one in self.seen if one.served]

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._workers)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let the running exchanges end."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _work(self) -> None:
        while not self._stopping:
            try:
                async with await RawConnection.open(self._port) as client:
                    while not self._stopping:
                        await self._one(client)
                        await asyncio.sleep(self._pause_s)
            except (ConnectionError, TimeoutError):
                self.refused += 1
                await asyncio.sleep(self._pause_s)
            except ConnectionClosed:
                pass  # kept in `seen` as not whole

    async def _one(self, client: RawConnection) -> None:
        number = next(self._numbers)
        stream = {"stream": True, "stream_options": {"include_usage": True}} if number % 2 else {}
        output_tokens = 1 + number % 5
        body = chat_body(self._model, "count to " + "ten " * (number % 7), max_tokens=output_tokens, **stream)
        input_tokens = len(json.dumps(json.loads(body)["messages"]).split())
        request_id = f"{self._name}-{number}"
        status, started_s = 0, time.monotonic()
        try:
            await client.send(request_bytes(body, key=self._key, headers={"x-request-id": request_id}))
            status = (head := await client.read_head()).status
            answer = await client.read_body(head)
        except (ConnectionClosed, ConnectionError, TimeoutError):
            took_s = time.monotonic() - started_s
            self.seen.append(SeenExchange(request_id, status, False, input_tokens, output_tokens, took_s))
            raise
        seen = _seen(request_id, answer) or SeenExchange(request_id, status, True, 0, 0)
        self.seen.append(replace(seen, took_s=time.monotonic() - started_s))


def _seen(request_id: str, answer: RawResponse) -> SeenExchange | None:
    """An answer that reports its tokens; None for an error."""
    if answer.status != _OK:
        return None
    if not (answer.header("content-type") or "").startswith("text/event-stream"):
        usage = answer.json()["usage"]
    elif answer.events()[-1] == "[DONE]":
        usage = json.loads(answer.events()[-2])["usage"]
    else:
        return SeenExchange(request_id, _BROKEN_OFF, True, 0, 0)
    return SeenExchange(request_id, answer.status, True, usage["prompt_tokens"], usage["completion_tokens"])
