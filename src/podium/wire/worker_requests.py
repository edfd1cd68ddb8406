"""What of a request to our workers shapes the answer."""

import re

import msgspec
from msgspec import Raw

from podium.core.errors import InvalidRequest
from podium.wire.openai import encode_json

__all__ = ["Options", "ask_for_stream", "is_plain_streamed_chat", "read_options"]

_NOT_PLAIN = re.compile(rb'"(?:n"|tool|function|developer")')
_STREAMED = re.compile(rb'"stream"\s*:\s*true')  # inside a text its quotes would be escaped


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Options(msgspec.Struct):
    """What of a request shapes its answer."""

    n: int | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None

    @property
    def choices_per_prompt(self) -> int:
        """At least 1."""
        return max(self.n or 1, 1)

    @property
    def wants_usage(self) -> bool:
        """True when the usage event of a stream is asked for."""
        return self.stream_options is not None and self.stream_options.include_usage is True


_decode_options = msgspec.json.Decoder(Options).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def is_plain_streamed_chat(body: bytes) -> bool:
    """True for a streamed chat that certainly has one choice and nothing to do with tools: the worker does it right."""
    return _STREAMED.search(body) is not None and _NOT_PLAIN.search(body) is None


def read_options(body: bytes) -> Options:
    """The options of a request; InvalidRequest when one has the wrong type."""
    try:
        return _decode_options(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidRequest(f"{message}.", parameter=path.strip("`.") or None) from None


def ask_for_stream(body: bytes) -> bytes:
    """The request with its answer as a stream that reports its usage."""
    options = {"stream": True, "stream_options": {"include_usage": True}}
    return encode_json(_decode_fields(body) | options)
