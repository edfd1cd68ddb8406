"""Writes what a candidate says as a choice of OpenAI's, whole or in pieces.

`chat.writer` writes one choice without extras; Gemini needs several, with log probabilities and signed calls.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from podium.wire.chat.writer import CompletionHead, FinishReason
from podium.wire.gemini.response import FunctionCall, Logprobs, Token, call_arguments
from podium.wire.gemini.signatures import ExtraContent, extra_content

__all__ = ["CallIds", "Choice", "ChoiceWriter", "Message", "SaidCall", "SaidLogprobs", "chunk_head", "said_logprobs"]

_LONGEST_SEED = 32  # of call ids: OpenAI, where a conversation may go on, takes at most 40 characters
_encode = msgspec.json.Encoder().encode


class SaidFunction(msgspec.Struct):
    """What is called."""

    name: str
    arguments: str


class SaidCall(msgspec.Struct):
    """A call; `index` in streams only."""

    id: str
    type: Literal["function"]
    function: SaidFunction
    index: int | UnsetType = UNSET
    extra_content: ExtraContent | UnsetType = UNSET


class TopToken(msgspec.Struct):
    """A token that might have been chosen."""

    token: str
    logprob: float
    bytes: list[int]


class SaidToken(msgspec.Struct):
    """A token that was chosen."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopToken]


class SaidLogprobs(msgspec.Struct):
    """All tokens of an answer, or of a piece of it."""

    content: list[SaidToken]
    refusal: None = None


class Message(msgspec.Struct):
    """What a choice says."""

    role: Literal["assistant"]
    content: str | None
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[SaidCall] | UnsetType = UNSET


class Choice(msgspec.Struct):
    """One whole answer."""

    index: int
    message: Message
    logprobs: SaidLogprobs | None
    finish_reason: FinishReason


class _Delta(msgspec.Struct):
    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET
    tool_calls: list[SaidCall] | UnsetType = UNSET


class _ChunkChoice(msgspec.Struct):
    index: int
    delta: _Delta
    finish_reason: FinishReason | None = None
    logprobs: SaidLogprobs | UnsetType = UNSET


class CallIds:
    """Names the calls of one answer."""

    __slots__ = ("_count", "_given", "_seed")

    def __init__(self, fallback_id: str) -> None:
        self._seed = fallback_id.removeprefix("chatcmpl-")[-_LONGEST_SEED:]
        self._given: set[str] = set()
        self._count = 0

    def said(self, call: FunctionCall, signature: str | None, *, index: int | UnsetType = UNSET) -> SaidCall:
        """The call as OpenAI's, with Gemini's id if it has one of its own."""
        if call.id and call.id not in self._given:
            call_id = call.id
        else:
            call_id = f"call_{self._seed}_{self._count}"
            self._count += 1
        self._given.add(call_id)
        extra = extra_content(signature) if signature else UNSET
        return SaidCall(call_id, "function", SaidFunction(call.name, call_arguments(call)), index, extra)


def said_logprobs(logprobs: Logprobs) -> SaidLogprobs:
    """The same in OpenAI's form."""
    tops = [[TopToken(*_said(token)) for token in step.candidates] for step in logprobs.top_candidates]
    chosen = logprobs.chosen_candidates
    tops += [[] for _ in chosen[len(tops) :]]
    return SaidLogprobs([SaidToken(*_said(token), top) for token, top in zip(chosen, tops, strict=False)])


def _said(token: Token) -> tuple[str, float, list[int]]:
    return token.token, token.log_probability, list(token.token.encode())


def chunk_head(head: CompletionHead) -> bytes:
    """What all chunks of a stream begin with, up to the choice."""
    common = {
        "id": head.id,
        "object": "chat.completion.chunk",
        "created": head.created_unix_s,
        "model": head.model,
    }
    return b"data: " + _encode(common)[:-1] + b',"choices":['


class ChoiceWriter:
    """Writes the events of one choice of a stream. Text is the hot path: all but the text is encoded once."""

    __slots__ = ("_head", "_index", "_reasoning", "_text", "calls", "finished")

    def __init__(self, head: bytes, index: int) -> None:
        self._head = head
        self._index = index
        self._text = head + b'{"index":%d,"delta":{"content":' % index
        self._reasoning = head + b'{"index":%d,"delta":{"reasoning_content":' % index
        self.calls = 0
        self.finished = False

    def role(self) -> bytes:
        """The first event."""
        return self._event(_ChunkChoice(self._index, _Delta(role="assistant", content="")))

    def text(self, text: str) -> bytes:
        """A piece of the answer's text."""
        return self._text + _encode(text) + b'},"finish_reason":null}]}\n\n'

    def reasoning(self, text: str) -> bytes:
        """A piece of the model's thinking."""
        return self._reasoning + _encode(text) + b'},"finish_reason":null}]}\n\n'

    def call(self, call: SaidCall) -> bytes:
        """A whole call: Gemini does not cut them."""
        self.calls += 1
        return self._event(_ChunkChoice(self._index, _Delta(tool_calls=[call])))

    def logprobs(self, logprobs: SaidLogprobs) -> bytes:
        """How likely the tokens of the text before this were."""
        return self._event(_ChunkChoice(self._index, _Delta(), logprobs=logprobs))

    def finish(self, reason: FinishReason) -> bytes:
        """Why the answer ended."""
        self.finished = True
        return self._event(_ChunkChoice(self._index, _Delta(), reason))

    def _event(self, choice: _ChunkChoice) -> bytes:
        return self._head + _encode(choice) + b"]}\n\n"
