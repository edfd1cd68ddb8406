"""The wire formats that callers speak, each as the functions that an exchange needs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from podium.core.errors import PodiumError
from podium.core.usage import Usage
from podium.wire import fixed, openai
from podium.wire.anthropic import messages
from podium.wire.fixed import FixedAnswer
from podium.wire.openai import Change, StreamEvent

__all__ = ["Face", "Request", "StreamReader", "face_of"]

StreamReader = Callable[[bytes], StreamEvent]


class Request(Protocol):
    """What decisions need of a request."""

    @property
    def model(self) -> str:
        """The public name that is asked for."""

    @property
    def stream(self) -> bool | None:
        """True when the answer is to be streamed."""

    @property
    def wants_stream_usage(self) -> bool:
        """True when the caller wants to see usage in a stream."""

    @property
    def answer_token_limit(self) -> int | None:
        """The most tokens of one answer; None: no limit was set."""

    @property
    def answers(self) -> int:
        """How many answers are asked for at once; 1 or more."""

    @property
    def user(self) -> str | None:
        """The caller's word for who asks."""

    @property
    def safety_identifier(self) -> str | None:
        """Another word for who asks."""


@dataclass(frozen=True, slots=True)
class Face:
    """One wire format. The functions are those of its `wire` module."""

    read_request: Callable[[bytes], Request]
    rewrite_request: Callable[[bytes, Change], bytes]
    read_answer_usage: Callable[[bytes], Usage | None]
    stream_reader: Callable[[], StreamReader]  # one for each stream: some keep what earlier events said
    needs_reading: Callable[[bytes], bool]
    done: bytes  # the end of a stream, held back until the exchange is recorded
    error_body: Callable[[PodiumError, str], bytes]  # the error, the request id
    error_event: Callable[[PodiumError], bytes]
    fixed: Callable[[FixedAnswer], bytes]  # a whole answer that no model made
    fixed_stream: Callable[[FixedAnswer], bytes]  # the same, streamed, but for `done`
    request_text: Callable[[bytes], str]
    answer_text: Callable[[bytes], str]


def _openai(endpoint: str) -> Face:
    return Face(
        read_request=partial(openai.read_request, endpoint),
        rewrite_request=openai.rewrite_request,
        read_answer_usage=openai.read_answer_usage,
        stream_reader=lambda: openai.read_stream_event,
        needs_reading=openai.needs_reading,
        done=openai.DONE,
        error_body=lambda error, _: openai.error_body(error),
        error_event=openai.error_event,
        fixed=partial(fixed.whole, endpoint),
        fixed_stream=partial(fixed.streamed, endpoint),
        request_text=openai.request_text,
        answer_text=openai.answer_text,
    )


_FACES: dict[str, Face] = {
    "messages": Face(
        read_request=messages.read_request,
        rewrite_request=messages.rewrite_request,
        read_answer_usage=messages.read_answer_usage,
        stream_reader=lambda: messages.EventReader().read,
        needs_reading=messages.needs_reading,
        done=messages.DONE,
        error_body=messages.error_body,
        error_event=messages.error_event,
        fixed=partial(fixed.whole, "messages"),
        fixed_stream=partial(fixed.streamed, "messages"),
        request_text=messages.request_text,
        answer_text=messages.answer_text,
    ),
    **{endpoint: _openai(endpoint) for endpoint in ("chat.completions", "completions", "embeddings")},
}
_OPENAI = _FACES["chat.completions"]


def face_of(endpoint: str) -> Face:
    """The format of an endpoint's callers; OpenAI's for what is no model call."""
    return _FACES.get(endpoint, _OPENAI)
