"""A model provider that streams: each event is a chunk and a write of its own.

`--events` content events, then the event with the finish reason, the usage event if the request asks for it, and
`[DONE]`. A request for Anthropic's Messages API gets as many deltas with the same words, in the events of that API.
`--interval-ms 0`: as fast as the reader takes them. `--stamp`: each content event tells when it was
written. A request that is not for a stream gets the fixed completion.
"""

import argparse
import asyncio
import json
import signal
import time
from collections import defaultdict
from typing import Any, cast

import uvloop

from harness.request import ANTHROPIC_MODEL, COMPLETION, KEY_CHECK_PATH, MESSAGES_PATH, MODEL, PEER_KEY

__all__ = ["MESSAGE_AROUND", "WORD", "expected_events", "expected_stream"]

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
_END = b"0\r\n\r\n"
WORD = " parcel"
_MESSAGES = f"post {MESSAGES_PATH} ".encode()
_KEY_CHECK = f"get {KEY_CHECK_PATH} ".encode()
_KEY = f"authorization: bearer {PEER_KEY}\r\n".lower().encode()


def _data(payload: str) -> bytes:
    return f"data: {payload}\n\n".encode()


def _choice(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _event([choice])


def _event(choices: list[object], **further: object) -> bytes:
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1767225600,
        "model": MODEL,
        "choices": choices,
        **further,
    }
    return _data(json.dumps(chunk, separators=(",", ":")))


def _framed(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


_ROLE = _choice({"role": "assistant", "content": ""})
_CONTENT = _choice({"content": WORD})
_STAMPED_BEFORE, _STAMPED_AFTER = _framed(_choice({"content": "@0123456789012345@"})).split(b"0123456789012345")
_FINISH = _choice({}, "stop")


def _named(name: str, **fields: object) -> bytes:
    """An event of Anthropic's API."""
    payload = json.dumps({"type": name, **fields}, separators=(",", ":"))
    return f"event: {name}\ndata: {payload}\n\n".encode()


_MESSAGE_START = _named(
    "message_start",
    message={
        "id": "msg_bench",
        "type": "message",
        "role": "assistant",
        "model": ANTHROPIC_MODEL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 46, "output_tokens": 1},
    },
)
_BLOCK_START = _named("content_block_start", index=0, content_block={"type": "text", "text": ""})
_MESSAGE_OPENING = _framed(_MESSAGE_START) + _framed(_BLOCK_START) + _framed(_named("ping"))
_DELTA = _framed(_named("content_block_delta", index=0, delta={"type": "text_delta", "text": WORD}))
MESSAGE_AROUND = 6  # events of a message that are no deltas


def _message_end(events: int) -> list[bytes]:
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        _named("content_block_stop", index=0),
        _named("message_delta", delta=stop, usage={"output_tokens": events}),
        _named("message_stop"),
    ]


def _usage(events: int) -> bytes:
    usage = {"prompt_tokens": 46, "completion_tokens": events, "total_tokens": 46 + events}
    return _event([], usage=usage)


def _last_events(events: int, *, usage: bool) -> list[bytes]:
    return [_FINISH, *([_usage(events)] if usage else []), _data("[DONE]")]


def expected_events(events: int, *, usage: bool) -> int:
    """How many events a stream of `events` content events has in all."""
    return 1 + events + len(_last_events(events, usage=usage))


def expected_stream(events: int, *, usage: bool) -> bytes:
    """The whole body of such a stream, unstamped, as its reader must get it."""
    return b"".join([_ROLE, *([_CONTENT] * events), *_last_events(events, usage=usage)])


class _Settings:
    """How all streams of this process are."""

    def __init__(self, *, events: int, interval_ms: int, stamp: bool) -> None:
        self.events, self.interval_ms, self._stamp = events, interval_ms, stamp
        self._content = _framed(_CONTENT)

    def content(self) -> bytes:
        if self._stamp:
            return b"%b%016d%b" % (_STAMPED_BEFORE, time.monotonic_ns() // 1000, _STAMPED_AFTER)
        return self._content


class _Clock:
    """One timer for all paced streams: those that began in the same millisecond of the interval write together."""

    def __init__(self, settings: _Settings) -> None:
        self._settings = settings
        self._groups: dict[int, set[_Provider]] = defaultdict(set)
        self._began = time.monotonic()
        self._now_ms = 0

    def add(self, stream: "_Provider") -> None:
        elapsed_ms = int((time.monotonic() - self._began) * 1e3)
        self._groups[elapsed_ms % self._settings.interval_ms].add(stream)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(0.001)
            elapsed_ms = int((time.monotonic() - self._began) * 1e3)
            while self._now_ms < elapsed_ms:
                self._now_ms += 1
                self._tick(self._groups.get(self._now_ms % self._settings.interval_ms))

    def _tick(self, group: "set[_Provider] | None") -> None:
        if group:
            content = self._settings.content()
            for stream in tuple(group):
                if not stream.write_next(content):
                    group.discard(stream)


class _Provider(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, settings: _Settings, clock: _Clock) -> None:
        self._settings, self._clock = settings, clock
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._open = self._writable = True
        self._content_left = 0
        self._last: list[bytes] = []  # what comes after the content, in reverse
        self._fast = self._message = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not of the class

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason does not matter
        self._open = False

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        if self._fast:
            self._loop.call_soon(self._write_on)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (request := self._take_request()) is not None:
            head, body = request
            if body:
                self._answer(json.loads(body), message=head.startswith(_MESSAGES))
            else:
                self._answer_get(head)

    def _take_request(self) -> tuple[bytes, bytes] | None:
        """Head, in lower case, and body of the next whole request; None: more has to come."""
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self._received[: end + 2].lower()
        if b"\r\ntransfer-encoding:" in head:
            chunked = self._take_chunked(end + 4)
            return None if chunked is None else (head, chunked)
        _, found, rest = head.partition(b"\r\ncontent-length:")
        length = int(rest.partition(b"\r\n")[0]) if found else 0
        if len(self._received) < end + 4 + length:
            return None
        body = self._received[end + 4 : end + 4 + length]
        self._received = self._received[end + 4 + length :]
        return head, body

    def _take_chunked(self, position: int) -> bytes | None:
        pieces: list[bytes] = []
        while (line_end := self._received.find(b"\r\n", position)) >= 0:
            size = int(self._received[position:line_end].partition(b";")[0], 16)
            position = line_end + 2 + size + 2
            if len(self._received) < position:
                return None
            if size == 0:
                self._received = self._received[position:]
                return b"".join(pieces)
            pieces.append(self._received[line_end + 2 : line_end + 2 + size])
        return None

    def _answer_get(self, head: bytes) -> None:
        refused = head.startswith(_KEY_CHECK) and _KEY not in head
        self._write_json(b"401 Unauthorized" if refused else b"200 OK", b'{"object":"list","data":[]}')

    def _write_json(self, status: bytes, text: bytes) -> None:
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % (status, len(text)) + text)

    def _answer(self, request: dict[str, Any], *, message: bool) -> None:
        if not request.get("stream"):
            self._write_json(b"200 OK", COMPLETION.encode())
            return
        usage = bool((request.get("stream_options") or {}).get("include_usage"))
        self._content_left, self._message = self._settings.events, message
        last = _message_end(self._content_left) if message else _last_events(self._content_left, usage=usage)
        self._last = [_framed(event) for event in reversed(last)]
        self._transport.write(_HEAD + (_MESSAGE_OPENING if message else _framed(_ROLE)))
        if self._settings.interval_ms:
            self._clock.add(self)
        else:
            self._fast = True
            self._loop.call_soon(self._write_on)

    def _write_on(self) -> None:
        """One event in a turn of the loop, so that each is a write of its own and streams take turns."""
        if self._fast and self._writable and self.write_next(_DELTA if self._message else self._settings.content()):
            self._loop.call_soon(self._write_on)

    def write_next(self, content: bytes) -> bool:
        """Write the next event, the content one if any is left; whether there is more to come."""
        if not self._open:
            return False
        if self._content_left:
            self._content_left -= 1
            self._transport.write(content)
            return True
        event = self._last.pop()
        if self._last:
            self._transport.write(event)
            return True
        self._fast = False
        self._transport.write(event + _END)
        return False


async def _serve(port: int, settings: _Settings) -> None:
    loop = asyncio.get_running_loop()
    clock = _Clock(settings)
    server = await loop.create_server(lambda: _Provider(settings, clock), "127.0.0.1", port, backlog=8192)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with server:
        ticking = asyncio.ensure_future(clock.run()) if settings.interval_ms else None
        await stopped.wait()
        if ticking is not None:
            ticking.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--interval-ms", type=int, default=0)
    parser.add_argument("--stamp", action="store_true")
    options = parser.parse_args()
    settings = _Settings(events=options.events, interval_ms=options.interval_ms, stamp=options.stamp)
    uvloop.run(_serve(options.port, settings))


if __name__ == "__main__":
    main()
