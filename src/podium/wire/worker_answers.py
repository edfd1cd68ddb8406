"""Our workers' whole answers and errors, put right.

Rules
1. As in `worker_streams`, tool calls become the field.
2. A whole answer is made from a stream: with several choices only that reports the usage of each.
3. An error's `code` is a word or null, never the status, and `param` is there.
"""

import re
from collections.abc import Callable

import msgspec
from msgspec import UNSET, Raw

from podium.core.errors import UpstreamFailed
from podium.core.reasons import Reason
from podium.wire.openai import DONE, encode_json
from podium.wire.sse import event_data, split_events
from podium.wire.tools import Offer
from podium.wire.worker_shapes import (
    NULL,
    CallDelta,
    CalledFunction,
    Choice,
    Delta,
    Envelope,
    TokenCounts,
    decode_envelope,
)
from podium.wire.worker_streams import ChoiceCalls, StreamTranslator

__all__ = ["AnswerCollector", "translate_answer", "translate_error"]

_FIELD = re.compile(r"^Field '(\w+)'")
_MAX_COLLECTED_BYTES = 64 * 1024 * 1024


class AnswerCollector:
    """A stream on its way to becoming a whole answer."""

    __slots__ = ("_choices", "_done", "_last", "_logprobs", "_size", "_texts", "_translator", "_usage")

    def __init__(self, *, choices_per_prompt: int) -> None:
        self._translator = StreamTranslator(None, str, choices_per_prompt=choices_per_prompt, report_usage=True)
        self._choices: dict[int, Choice] = {}
        self._texts: dict[int, list[str]] = {}
        self._logprobs: dict[int, list[Raw]] = {}
        self._last = Envelope()
        self._usage: TokenCounts | None = None
        self._done = False
        self._size = 0

    def feed(self, piece: bytes) -> bool:
        """Take a piece of the stream; False after its end. UpstreamFailed: it holds an error, or is too large."""
        self._size += len(piece)
        if self._size > _MAX_COLLECTED_BYTES:
            raise UpstreamFailed("The model's server sent too large an answer.", reason=Reason.UPSTREAM_INVALID)
        for event in split_events(self._translator.feed(piece)):
            data = event_data(event)
            if event == DONE:
                self._done = True
            elif data is not None:
                self._take(data)
        return not self._done

    def _take(self, data: bytes) -> None:
        try:
            envelope = decode_envelope(data)
        except msgspec.MsgspecError:
            message = "The model's server sent an event that is not JSON."
            raise UpstreamFailed(message, reason=Reason.UPSTREAM_INVALID) from None
        if envelope.error is not UNSET:
            message = "The model's server reported an error within its answer."
            raise UpstreamFailed(message, reason=Reason.UPSTREAM_ERROR)
        self._last = envelope
        if isinstance(envelope.usage, TokenCounts):
            self._usage = envelope.usage
        for choice in envelope.choices:
            self._add(choice)

    def _add(self, choice: Choice) -> None:
        text = choice.text if isinstance(choice.text, str) else ""
        if isinstance(choice.delta, Delta) and isinstance(choice.delta.content, str):
            text = choice.delta.content
        self._texts.setdefault(choice.index, []).append(text)
        if isinstance(choice.logprobs, Raw) and choice.logprobs != NULL:
            self._logprobs.setdefault(choice.index, []).append(choice.logprobs)
        whole = self._choices.setdefault(choice.index, choice)
        whole.finish_reason = choice.finish_reason or whole.finish_reason

    def body(self) -> bytes:
        """The whole answer; UpstreamFailed when the stream broke off."""
        if not self._done:
            message = "The model's server ended the answer too early."
            raise UpstreamFailed(message, reason=Reason.UPSTREAM_BROKEN)
        whole = msgspec.structs.replace(
            self._last,
            object=self._last.object.removesuffix(".chunk"),
            choices=[self._whole(index) for index in sorted(self._choices)],
            usage=self._usage if self._usage is not None else UNSET,
        )
        return encode_json(whole)

    def _whole(self, index: int) -> Choice:
        choice, text = self._choices[index], "".join(self._texts[index])
        logprobs = _joined(self._logprobs.get(index, []))
        if isinstance(choice.text, str):
            return Choice(index, text=text, logprobs=logprobs, finish_reason=choice.finish_reason)
        message = Delta(role="assistant", content=text)
        return Choice(index, message=message, logprobs=logprobs, finish_reason=choice.finish_reason)


class _Logprobs(msgspec.Struct):
    content: list[Raw] = []


def _joined(pieces: list[Raw]) -> Raw:
    if not pieces:
        return NULL
    decode = msgspec.json.Decoder(_Logprobs).decode
    return Raw(encode_json(_Logprobs([token for piece in pieces for token in decode(piece).content])))


def translate_answer(body: bytes, offer: Offer, new_id: Callable[[], str]) -> bytes:
    """A whole answer with its calls where OpenAI has them. InvalidRequest as in `StreamTranslator.feed`."""
    try:
        envelope = decode_envelope(body)
    except msgspec.MsgspecError:
        return body  # the gateway says what is wrong with it
    return encode_json(
        msgspec.structs.replace(envelope, choices=[_called(choice, offer, new_id) for choice in envelope.choices])
    )


def _called(choice: Choice, offer: Offer, new_id: Callable[[], str]) -> Choice:
    if not isinstance(choice.message, Delta):
        return choice
    calls = ChoiceCalls(offer, new_id)
    deltas = calls.read(choice.message.content or "", last=True)
    made: list[CallDelta] = []
    for delta in deltas:
        for piece in delta.tool_calls or ():
            if piece.id is not UNSET:
                made.append(msgspec.structs.replace(piece, index=UNSET))
            elif isinstance(piece.function, CalledFunction) and isinstance(made[-1].function, CalledFunction):
                made[-1].function.arguments += piece.function.arguments
    text = "".join(delta.content for delta in deltas if delta.content)
    message = Delta(role="assistant", content=text or None, tool_calls=made or UNSET)
    reason = calls.finish_reason(choice.finish_reason or "stop")
    return msgspec.structs.replace(
        choice, message=message, finish_reason=reason, logprobs=UNSET if made else choice.logprobs
    )


class _WorkerErrorObject(msgspec.Struct):
    message: str
    type: str = "server_error"


class _WorkerError(msgspec.Struct):
    error: _WorkerErrorObject


_decode_error = msgspec.json.Decoder(_WorkerError).decode


def translate_error(body: bytes, endpoint: str) -> bytes:
    """An error in OpenAI's words; the body as it is when it is none of the worker's."""
    try:
        error = _decode_error(body).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return body
    kind, code, field = error.type, None, _FIELD.match(error.message)
    parameter = field[1] if field is not None else None
    if kind == "exceed_context_size_error":
        kind, code = "invalid_request_error", "context_length_exceeded"
        parameter = "messages" if endpoint == "chat.completions" else "prompt"
    return encode_json({"error": {"message": error.message, "type": kind, "param": parameter, "code": code}})
