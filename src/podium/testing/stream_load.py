"""So many streamed chats a second, whatever becomes of them, and what the caller saw of each."""

import asyncio
import contextlib
import itertools
import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from podium.testing.openai_requests import chat_body, request_bytes
from podium.testing.raw_http import ConnectionClosed, RawConnection, RawResponse

__all__ = ["SeenStream", "StreamLoad"]

_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenStream:
    """One streamed chat, as its caller saw it. Times are those of the event loop."""

    request_id: str
    started_s: float
    head_s: float = 0.0  # when the head came, which Podium sends with the first content; 0: never
    ended_s: float = 0.0
    status: int = 0  # 0: no head came, or nobody listened
    complete: bool = False  # [DONE] came
    pieces: int = 0  # chunks with content
    stops: tuple[str, ...] = ()  # why the model stopped, as the chunks say it
    error: str = ""  # the code of the error, within the stream or instead of it; "": none
    cut_off: bool = False  # the connection ended before the answer did
    backend: str = ""  # these four from the headers
    model: str = ""
    attempts: int = 0
    trail: str = ""
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def served(self) -> bool:
        """Answered to the last byte, and the model said that it had finished."""
        return self.status == _OK and self.complete and bool(self.stops) and not self.error

    @property
    def broken(self) -> bool:
        """Ended by an error after content had come, and not as if all were well."""
        return self.status == _OK and self.pieces > 0 and bool(self.error) and not (self.complete or self.cut_off)

    @property
    def head_after_s(self) -> float:
        """How long the first content took."""
        return self.head_s - self.started_s


class StreamLoad:
    """Begins at most `per_second` chats a second while the block runs, each on a connection of its own."""

    def __init__(
        self,
        port: int,
        key: str,
        *,
        model: str,
        per_second: float,
        name: str = "stream",
        users: int = 0,
        patience_s: float = 10.0,
        **fields: Any,
    ) -> None:
        """`users`: so many take turns, each named in its chats; 0: nobody is named. `patience_s`: for each read."""
        self.seen: list[SeenStream] = []  # in the order in which they ended
        self._port, self._key, self._every_s, self._name = port, key, 1 / per_second, name
        fields = {"stream": True, "stream_options": {"include_usage": True}, **fields}
        named: list[dict[str, Any]] = [{"user": f"{name}-user-{number}"} for number in range(users)]
        self._bodies = itertools.cycle([chat_body(model, **fields, **user) for user in named or [{}]])
        self._patience_s = patience_s
        self._stopping = asyncio.Event()
        self._beginner: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()

    def since(self, started_s: float) -> list[SeenStream]:
        """Those that began at this time or later and have ended."""
        return [one for one in self.seen if one.started_s >= started_s]

    @property
    def served(self) -> list[SeenStream]:
        """Those that were answered to their end."""
        return [one for one in self.seen if one.served]

    @property
    def failed(self) -> list[SeenStream]:
        """The others."""
        return [one for one in self.seen if not one.served]

    async def __aenter__(self) -> Self:
        self._beginner = asyncio.create_task(self._begin())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let the running ones end."""
        self._stopping.set()
        if self._beginner is not None:
            await self._beginner
        await asyncio.gather(*self._running)

    async def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        due_s, numbers = loop.time(), itertools.count(1)
        while not self._stopping.is_set():
            task = asyncio.create_task(self._one(f"{self._name}-{next(numbers)}"))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            due_s = max(due_s + self._every_s, loop.time())  # what a busy machine delays is not made up for
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), due_s - loop.time())

    async def _one(self, request_id: str) -> None:
        loop = asyncio.get_running_loop()
        started_s, head_s, head = loop.time(), 0.0, None
        try:
            async with await RawConnection.open(self._port, timeout_s=self._patience_s) as client:
                await client.send(
                    request_bytes(next(self._bodies), key=self._key, headers={"x-request-id": request_id})
                )
                head = await client.read_head()
                head_s = loop.time()
                answer = await client.read_body(head)
        except (ConnectionClosed, ConnectionError, TimeoutError):
            status = 0 if head is None else head.status
            seen = SeenStream(
                request_id=request_id,
                started_s=started_s,
                head_s=head_s,
                ended_s=loop.time(),
                status=status,
                cut_off=True,
            )
        else:
            seen = _seen(request_id, answer, started_s, head_s, loop.time())
        self.seen.append(seen)


def _seen(request_id: str, answer: RawResponse, started_s: float, head_s: float, ended_s: float) -> SeenStream:
    events = answer.events() if answer.status == _OK else [answer.body.decode()]
    chunks = [json.loads(event) for event in events if event != "[DONE]"]
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    usage: dict[str, int] = next((chunk["usage"] for chunk in chunks if chunk.get("usage")), {})
    return SeenStream(
        request_id=request_id,
        started_s=started_s,
        head_s=head_s,
        ended_s=ended_s,
        status=answer.status,
        complete=events[-1:] == ["[DONE]"],
        pieces=sum(1 for choice in choices if choice["delta"].get("content")),
        stops=tuple(choice["finish_reason"] for choice in choices if choice.get("finish_reason")),
        error=next((str(chunk["error"]["code"]) for chunk in chunks if "error" in chunk), ""),
        backend=answer.header("x-podium-backend") or "",
        model=answer.header("x-podium-model") or "",
        attempts=int(answer.header("x-podium-attempts") or 0),
        trail=answer.header("x-podium-trail") or "",
        input_tokens=usage.get("prompt_tokens", 0),
        output_tokens=usage.get("completion_tokens", 0),
    )
