"""Streamed chats with a real model: tokens a second at a given concurrency.

Each chat has a prompt of its own from its first word on, so that no prefix cache helps the second asker.
"""

import asyncio
import json
import re
import time

import msgspec

from harness.load.connection import Connection, connect, encode_request
from harness.load.generator import run_generator
from harness.request import PATH, Request

__all__ = ["ChatsJob", "ChatsResult"]

_COMPLETION_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')
_CHAT_LIMIT_S = 180.0


class ChatsJob(msgspec.Struct, frozen=True, kw_only=True):
    """`chats` chats in all, `concurrency` at a time; `series` makes the prompts differ from other jobs'."""

    port: int
    headers: dict[str, str]
    model: str
    series: int
    chats: int
    concurrency: int
    max_tokens: int


class ChatsResult(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens as the model's server reported them."""

    seconds: float
    output_tokens: int
    failed: int


class _Chat:
    """One chat on a connection of its own."""

    def __init__(self) -> None:
        self.body = b""
        self.whole = False
        self.ended = asyncio.Event()

    def heard(self, _connection: Connection, data: bytes) -> None:
        self.body += data

    def on_end(self, connection: Connection, whole: bool) -> None:  # noqa: FBT001 - the protocol's callback
        self.whole = whole and connection.status == 200
        self.ended.set()

    def output_tokens(self) -> int:
        """0 when it failed."""
        reported = _COMPLETION_TOKENS.findall(self.body)
        return int(reported[-1]) if self.whole and reported else 0


def _request(job: ChatsJob, number: int) -> Request:
    body = {
        "model": job.model,
        "messages": [{"role": "user", "content": f"{job.series}-{number}: tell a long story about a lighthouse."}],
        "max_tokens": job.max_tokens,
        "temperature": 0,
        "seed": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return Request(job.port, {"Content-Type": "application/json", **job.headers}, json.dumps(body), PATH)


async def _ask(job: ChatsJob, number: int) -> int:
    chat = _Chat()
    try:
        async with asyncio.timeout(_CHAT_LIMIT_S):
            connection = await connect(lambda: Connection(chat.on_end, chat.heard), job.port)
            connection.send(encode_request(_request(job, number)))
            await chat.ended.wait()
    except (OSError, TimeoutError):
        return 0
    connection.close()
    return chat.output_tokens()


async def _work(job: ChatsJob) -> ChatsResult:
    numbers = iter(range(job.chats))
    tokens: list[int] = []

    async def one_after_another() -> None:
        for number in numbers:
            tokens.append(await _ask(job, number))  # noqa: PERF401 - the list is shared

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(job.concurrency):
            group.create_task(one_after_another())
    return ChatsResult(seconds=time.perf_counter() - began, output_tokens=sum(tokens), failed=tokens.count(0))


if __name__ == "__main__":
    run_generator(ChatsJob, _work)
