"""A streamed answer on its way from the upstream to the caller.

Rules
1. Whole events only, as the bytes they came in. Only what has to be understood is decoded: everything up to
   the first content, usage, why a choice ended, errors, and the end.
2. Nothing is sent before the first content: until then a failure can be answered with an honest status, or by
   another backend. What came before it goes out with it.
3. The closing [DONE] is held back until the exchange is recorded. Without it a stream is broken, unless the
   upstream ended it properly after saying why each choice ended.
"""

from collections.abc import Callable

from podium.core.errors import UpstreamError, UpstreamFailed
from podium.core.reasons import Reason
from podium.core.usage import Usage
from podium.gateway.faces import Face
from podium.gateway.ports import Answer, Caller, Headers
from podium.wire.openai import StreamEvent
from podium.wire.sse import SseFramer, split_events

__all__ = ["StreamRelay"]

_TOO_MANY, _UNAVAILABLE = 429, 503
_OVERLOADED = (503, 529)  # as for whole answers
_MAX_HELD_BYTES = 64 * 1024  # of events before the first content
_MAX_KEPT_BYTES = 1024 * 1024
_SAMPLE_BYTES = 8 * 1024  # of a stream, kept to estimate its tokens when the upstream does not report them


class StreamRelay:
    """Relays one attempt's stream. `committed` once a byte of it has gone to the caller.

    `begin` is asked for the head of the caller's answer at the first content; None: somebody else answers, and
    nothing of this stream is wanted.
    """

    __slots__ = (
        "_answer",
        "_begin",
        "_caller",
        "_face",
        "_framer",
        "_held",
        "_hide_usage",
        "_kept",
        "_kept_size",
        "_needs_reading",
        "_read_event",
        "_sample",
        "_sample_size",
        "bytes_out",
        "calls",
        "committed",
        "done",
        "events",
        "finish_reason",
        "finished",
        "refused",
        "unwanted",
        "usage",
    )

    def __init__(
        self,
        answer: Answer,
        caller: Caller,
        face: Face,
        *,
        hide_usage: bool,
        begin: Callable[[], Headers | None],
        keep: bool = False,
    ) -> None:
        """`keep`: all of it is wanted once more at the end (`kept`), for an exchange that is looked at closely."""
        self._answer = answer
        self._caller = caller
        self._face = face
        self._read_event = face.stream_reader()
        self._needs_reading = face.needs_reading
        self._hide_usage = hide_usage
        self._begin = begin
        self._framer = SseFramer()
        self._held: list[bytes] = []
        self._sample: list[bytes] = []
        self._sample_size = 0
        self.committed = False
        self.unwanted = False
        self.done = False
        self.finished = False
        self.events = 0
        self.bytes_out = 0
        self.usage: Usage | None = None
        self.finish_reason = ""
        self.refused = False
        self.calls = False  # of tools, as far as events were read
        self._kept: list[bytes] | None = [] if keep else None
        self._kept_size = 0

    async def run(self) -> None:
        """Relay until the end; UpstreamFailed or UpstreamTimeout when the stream breaks."""
        try:
            await self._answer.relay(self.feed)
        except UpstreamError as error:
            if self.committed and error.partial:
                self._read(error.partial)
            raise
        if self.unwanted:
            return
        if not self.done and not self.finished:
            raise UpstreamFailed("The model's server ended the stream too early.", reason=Reason.UPSTREAM_BROKEN)
        self._commit()

    def feed(self, piece: bytes) -> bool:
        """Take a piece of the body; False when the stream is over."""
        block = self._framer.feed(piece)
        if not block:
            return True
        if self._sample_size < _SAMPLE_BYTES:
            self._sample.append(block)
            self._sample_size += len(block)
        if self._kept is not None and self._kept_size < _MAX_KEPT_BYTES:
            self._kept.append(block)
            self._kept_size += len(block)
        if self.committed and not self._needs_reading(block) and _looks_whole(block):
            self.events += block.count(b"\ndata:") + block.startswith(b"data:")  # text has no bare line ends
            self._write(block)
        else:
            self._read(block)
        return not (self.done or self.unwanted)

    def _write(self, block: bytes) -> None:
        self.bytes_out += len(block)
        if not self._caller.write(block):
            self._answer.pause()

    def _read(self, block: bytes) -> None:
        """Decode each event of a block, and pass on what the caller should see."""
        passed: list[bytes] = []
        content = False
        for raw in split_events(block):
            try:
                event = self._understand(raw)
            except UpstreamFailed:
                if self.committed:
                    self._write(b"".join(passed))  # what came before it is good
                raise
            if event.done:
                break
            if event.has_content:
                self.events += 1
                content = True
            if not (event.usage_only and self._hide_usage):
                passed.append(raw)
        if self.committed:
            self._write(b"".join(passed))
            return
        self._held += passed
        if content or sum(map(len, self._held)) > _MAX_HELD_BYTES:
            self._commit()

    def _understand(self, raw: bytes) -> StreamEvent:
        try:
            event = self._read_event(raw)
        except ValueError:
            message = "The model's server sent an event that is not JSON."
            raise UpstreamFailed(message, reason=Reason.UPSTREAM_INVALID) from None
        if event.error is not None:
            raise _reported(event.error_status)
        self.done |= event.done
        if event.finished:
            self.finished = True
            self.finish_reason = self.finish_reason or event.finish_reason
        self.refused |= event.refused
        self.calls |= event.calls
        self.usage = event.usage or self.usage
        return event

    def _commit(self) -> None:
        """Begin the caller's answer with what was held."""
        if self.committed:
            return
        headers = self._begin()
        if headers is None:
            self.unwanted = True
            return
        self.committed = True
        self._caller.start(200, headers)
        self._caller.on_room(self._answer.resume)
        self._write(b"".join(self._held))
        self._held.clear()

    def kept(self) -> bytes | None:
        """The stream's events; None: they were not to be kept, or there were too many."""
        return None if self._kept is None or self._kept_size >= _MAX_KEPT_BYTES else b"".join(self._kept)

    def sample(self) -> tuple[str, float]:
        """Text from the start of the answer, and how many times as long the whole answer is, about."""
        texts, events, read = [], 0, self._face.stream_reader()
        for raw in split_events(b"".join(self._sample)):
            try:
                event = read(raw)
            except ValueError:
                break
            if event.has_content:
                events += 1
                texts.append(event.text)
        return "".join(texts), max(1.0, self.events / events) if events else 0.0


def _reported(status: int | None) -> UpstreamFailed:
    """The error for one within a stream: what an answer with this status would have meant."""
    if status == _TOO_MANY:
        failure = UpstreamFailed(
            "The model's server has too many requests.", reason=Reason.UPSTREAM_RATE_LIMITED, status=_TOO_MANY
        )
    else:
        failure = UpstreamFailed(
            "The model's server reported an error within the stream.",
            reason=Reason.UPSTREAM_ERROR,
            status=_UNAVAILABLE if status in _OVERLOADED else None,
        )
    failure.upstream_status = status
    return failure


def _looks_whole(block: bytes) -> bool:
    """True when each event ends as JSON does: one that was cut short or torn in two does not. Cheap on purpose."""
    return block.count(b"\n\n") == block.count(b"}\n\n")
