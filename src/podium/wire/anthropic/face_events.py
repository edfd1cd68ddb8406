"""The Messages API's answers, whole and streamed, as far as decisions need them."""

import msgspec

from podium.core.usage import Usage
from podium.wire.anthropic.upstream_errors import ErrorDetail, status_of
from podium.wire.openai import StreamEvent
from podium.wire.sse import event_data

__all__ = ["DONE", "EventReader", "needs_reading", "read_answer_usage"]

DONE = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

_MOST_TOKENS = 10**12  # of one exchange; more is nonsense, and no ledger could keep it


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct):
    """What an answer reports. Anthropic counts what came from a cache and went into it beside `input_tokens`."""

    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None

    def updated(self, later: "_Usage") -> "_Usage":
        """This with what a later event of the same stream reports: counts are cumulative, and may be left out."""
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(later), strict=True)
        return _Usage(*(old if new is None else new for old, new in pairs))

    def to_usage(self) -> Usage | None:
        """Ours; None when the upstream left the counts out, sent only zeros, or nonsense.

        Zeros are what a translation writes when the server behind it reports nothing: no answer has no input.
        """
        fresh, made = self.input_tokens or 0, self.output_tokens or 0
        cached, written = self.cache_read_input_tokens or 0, self.cache_creation_input_tokens or 0
        counts = (fresh, made, cached, written)
        if not any(counts) or min(counts) < 0 or max(counts) > _MOST_TOKENS:
            return None
        thinking = self.output_tokens_details.thinking_tokens if self.output_tokens_details is not None else None
        return Usage(
            input_tokens=fresh + cached + written,
            cached_input_tokens=cached,
            cache_write_tokens=written,
            output_tokens=made,
            reasoning_tokens=min(max(thinking or 0, 0), made),
        )


class _Answer(msgspec.Struct):
    usage: _Usage | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode


def read_answer_usage(body: bytes) -> Usage | None:
    """The usage that a whole answer reports; None when it reports none.

    ValueError: the answer is not a JSON object.
    """
    if not body.lstrip().startswith(b"{"):
        raise ValueError("not a JSON object")
    try:
        usage = _decode_answer(body).usage
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError("not a JSON object") from error
    return usage.to_usage() if usage is not None else None


class _Delta(msgspec.Struct):
    """Of a content block, or (`stop_reason`) of the message."""

    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _ContentBlock(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    name: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    delta: _Delta | None = None
    content_block: _ContentBlock | None = None
    message: _Answer | None = None
    usage: _Usage | None = None
    error: msgspec.Raw = msgspec.Raw()


_decode_error = msgspec.json.Decoder(ErrorDetail).decode
_decode_event = msgspec.json.Decoder(_Event).decode

_NOTHING = StreamEvent()
_UNKNOWN = StreamEvent(has_content=True)  # a shape that we do not know is the caller's to read, without delay
_PLAIN = {"content_block_stop": _NOTHING, "ping": _NOTHING, "message_stop": StreamEvent(done=True)}
_EMPTY_AT_FIRST = frozenset(("text", "thinking"))  # kinds of content blocks that begin empty


_AROUND_CONTENT = (b'"message_start"', b'"message_delta"', b'"message_stop"')


class EventReader:
    """Reads the events of one stream, in their order.

    It keeps what `message_start` reports of the usage. Only the usage of `message_delta` is given out, both
    merged: of a stream that breaks before it, half a usage would be taken for the whole.
    """

    __slots__ = ("_usage",)

    def __init__(self) -> None:
        self._usage = _Usage()

    def read(self, event: bytes) -> StreamEvent:
        """The meaning of one whole event; ValueError when its data is not JSON."""
        data = event_data(event)
        if data is None or not data.strip():
            return _NOTHING
        try:
            said = _decode_event(data)
        except msgspec.ValidationError:
            return _UNKNOWN
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise ValueError("an event is not JSON") from error
        return self._meaning(said)

    def _meaning(self, said: _Event) -> StreamEvent:
        match said.type:
            case "content_block_delta":
                return _read_delta(said.delta)
            case "content_block_start":
                return _read_block(said.content_block)
            case "message_start":
                self._usage = (said.message and said.message.usage) or self._usage
                return _NOTHING
            case "message_delta":
                return self._read_message_delta(said)
            case "error":
                return _read_error(bytes(said.error) or b"{}")
            case plain:
                return _PLAIN.get(plain, _UNKNOWN)

    def _read_message_delta(self, said: _Event) -> StreamEvent:
        if said.usage is not None:
            self._usage = self._usage.updated(said.usage)
        reason = None if said.delta is None else said.delta.stop_reason
        return StreamEvent(
            finished=reason is not None,
            finish_reason=reason or "",
            refused=reason == "refusal",
            calls=reason == "tool_use",
            usage=self._usage.to_usage(),
        )


def _read_error(error: bytes) -> StreamEvent:
    try:
        return StreamEvent(error=error, error_status=status_of(_decode_error(error).type))
    except msgspec.DecodeError:
        return StreamEvent(error=error)


def _read_delta(delta: _Delta | None) -> StreamEvent:
    if delta is None:
        return _UNKNOWN
    text = delta.text or delta.thinking or delta.partial_json or ""
    unread = delta.text is delta.thinking is delta.partial_json is None  # a signature, a citation, or news
    return StreamEvent(has_content=unread or bool(text), text=text)


def _read_block(block: _ContentBlock | None) -> StreamEvent:
    if block is None:
        return _UNKNOWN
    text = block.text or block.thinking or block.name or ""
    return StreamEvent(has_content=bool(text) or block.type not in _EMPTY_AT_FIRST, text=text)


def needs_reading(block: bytes) -> bool:
    """True when a block may hold more than content. Cheap on purpose: this is asked for each block of each stream.

    What a model says of this protocol does not look like it: in a text, the quote at a word's end is escaped.
    """
    return b'"error"' in block or (b'"message_' in block and any(word in block for word in _AROUND_CONTENT))
