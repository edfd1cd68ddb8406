"""What our workers' answers lack of OpenAI's, put right: bytes in, bytes out.

Rules
1. Tool calls are written as text by the model (`tool_calls`); here they become the field.
2. Of an answer with several choices the worker reports the usage of each in an event of its own, and in a whole
   answer that of the first only. Here there is one report with the sum; a prompt counts once for all its choices.
3. Streams of several prompts begin with an event that holds `null`; it is dropped.
4. An error's `code` is a word or null, never the status, and `param` is there.
"""

import re
from collections.abc import Callable

import msgspec
from msgspec import UNSET, Raw, UnsetType

from podium.core.errors import InvalidRequest, UpstreamFailed
from podium.core.reasons import Reason
from podium.wire.openai import DONE, encode_json
from podium.wire.sse import SseFramer, event_data, split_events
from podium.wire.tool_calls import Arguments, CallReader, CallStart, Piece, Text
from podium.wire.tools import Offer

__all__ = [
    "AnswerCollector",
    "Options",
    "StreamTranslator",
    "ask_for_stream",
    "read_options",
    "translate_answer",
    "translate_error",
]

_NULL = Raw(b"null")
_FIELD = re.compile(r"^Field '(\w+)'")
_SEVERAL_PROMPTS = re.compile(rb'\[\s*["\[]')
_MAX_COLLECTED_BYTES = 64 * 1024 * 1024


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Options(msgspec.Struct):
    """What of a request shapes its answer."""

    n: int | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    prompt: Raw = _NULL

    @property
    def choices_per_prompt(self) -> int:
        """At least 1."""
        return max(self.n or 1, 1)

    @property
    def wants_usage(self) -> bool:
        """True when the usage event of a stream is asked for."""
        return self.stream_options is not None and self.stream_options.include_usage is True

    @property
    def several_choices(self) -> bool:
        """True unless the answer has just one choice. Several prompts are strings or lists of tokens in a list."""
        return self.choices_per_prompt > 1 or _SEVERAL_PROMPTS.match(self.prompt) is not None


_decode_options = msgspec.json.Decoder(Options).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


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


class _CalledFunction(msgspec.Struct, omit_defaults=True):
    arguments: str
    name: str | UnsetType = UNSET


class _CallDelta(msgspec.Struct, omit_defaults=True):
    index: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    function: _CalledFunction | UnsetType = UNSET


class _Delta(msgspec.Struct):
    role: str | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType | None = UNSET
    tool_calls: list[_CallDelta] | UnsetType = UNSET


class _Choice(msgspec.Struct):
    """One choice of a chunk or of a whole answer; which fields are set tells which."""

    index: int
    delta: _Delta | UnsetType = UNSET
    message: _Delta | UnsetType = UNSET
    text: str | UnsetType = UNSET
    logprobs: Raw | UnsetType = UNSET
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: _Details = msgspec.field(default_factory=_Details)


class _Envelope(msgspec.Struct):
    """A chunk or a whole answer."""

    id: str = ""
    object: str = ""
    created: int = 0
    model: str = ""
    system_fingerprint: str | UnsetType = UNSET
    choices: list[_Choice] = []
    usage: _Usage | UnsetType | None = UNSET
    error: Raw | UnsetType = UNSET


_decode = msgspec.json.Decoder(_Envelope).decode


def _event(envelope: _Envelope) -> bytes:
    return b"data: " + encode_json(envelope) + b"\n\n"


class _Calls:
    """The calls of one choice on their way into OpenAI's fields."""

    __slots__ = ("_must_call", "_new_id", "_reader")

    def __init__(self, offer: Offer, new_id: Callable[[], str]) -> None:
        self._must_call = offer.must_call
        self._new_id = new_id
        self._reader = CallReader(offer.names)

    def read(self, text: str, *, last: bool) -> list[_Delta]:
        """The deltas that more text makes."""
        pieces = self._reader.feed(text)
        if self._must_call and self._reader.is_text:
            raise InvalidRequest(
                "The model could not be held to the declared functions: a schema among them allows nothing.",
                parameter="tools",
            )
        if last and not self._must_call:
            pieces += self._reader.end()
        return [self._delta(piece) for piece in pieces]

    def _delta(self, piece: Piece) -> _Delta:
        match piece:
            case Text(text):
                return _Delta(content=text)
            case CallStart(index, name):
                function = _CalledFunction(name=name, arguments="")
                return _Delta(tool_calls=[_CallDelta(index, self._new_id(), "function", function)])
            case Arguments(index, text):
                return _Delta(tool_calls=[_CallDelta(index, function=_CalledFunction(text))])

    def finish_reason(self, given: str) -> str:
        """Why the choice ended, calls considered; a call that a stop word cut off ended too early as well."""
        if not self._reader.calls:
            return given
        whole = given == "stop" and self._reader.closed == self._reader.calls
        return "tool_calls" if whole else "length"


class _UsageSum:
    """The usage of all choices together. `choices_per_prompt`: the request's `n`."""

    __slots__ = ("_chat_prompt", "_choices_per_prompt", "total")

    def __init__(self, choices_per_prompt: int) -> None:
        self._choices_per_prompt = choices_per_prompt
        self._chat_prompt = True
        self.total: _Usage | None = None

    def add(self, usage: _Usage, choice: int | None) -> None:
        """`choice` None: of a chat, whose one prompt counts once."""
        total = self.total = self.total or _Usage()
        first = self._chat_prompt if choice is None else choice % self._choices_per_prompt == 0
        self._chat_prompt = False
        if first:
            total.prompt_tokens += usage.prompt_tokens
            total.prompt_tokens_details.cached_tokens += usage.prompt_tokens_details.cached_tokens
        total.completion_tokens += usage.completion_tokens
        total.total_tokens = total.prompt_tokens + total.completion_tokens


class StreamTranslator:
    """One worker's stream on its way to the gateway; takes the bytes in any pieces."""

    __slots__ = ("_calls", "_framer", "_last", "_new_id", "_offer", "_report_usage", "_usage")

    def __init__(
        self, offer: Offer | None, new_id: Callable[[], str], *, choices_per_prompt: int, report_usage: bool
    ) -> None:
        self._offer = offer
        self._new_id = new_id
        self._report_usage = report_usage
        self._usage = _UsageSum(choices_per_prompt)
        self._calls: dict[int, _Calls] = {}
        self._framer = SseFramer()
        self._last = _Envelope()

    def feed(self, piece: bytes) -> bytes:
        """The events that are complete now, translated.

        InvalidRequest: a call was required, but the grammar could not bring it about.
        """
        block = self._framer.feed(piece)
        return b"".join([self._translate(event) for event in split_events(block)]) if block else b""

    def _translate(self, event: bytes) -> bytes:
        data = event_data(event)
        if data is None:
            return event
        data = data.strip()
        if data == b"[DONE]":
            return self._usage_event() + DONE
        if data == b"null":
            return b""
        try:
            envelope = _decode(data)
        except msgspec.MsgspecError:
            return event  # the gateway says what is wrong with it
        if envelope.error not in (UNSET, _NULL):
            return event
        return self._chunk(envelope)

    def _chunk(self, envelope: _Envelope) -> bytes:
        self._last = envelope
        if isinstance(envelope.usage, _Usage):
            self._usage.add(envelope.usage, envelope.choices[0].index if envelope.choices else None)
        envelope.usage = UNSET
        choices = [made for choice in envelope.choices for made in self._choices(choice)]
        return b"".join([_event(msgspec.structs.replace(envelope, choices=[choice])) for choice in choices])

    def _choices(self, choice: _Choice) -> list[_Choice]:
        """A chunk's choice as the caller gets it: none, one, or several one after the other."""
        if self._offer is None or isinstance(choice.delta, UnsetType):
            return [choice]
        calls = self._calls.get(choice.index)
        if calls is None:
            calls = self._calls[choice.index] = _Calls(self._offer, self._new_id)
        given, ended = choice.delta, choice.finish_reason is not None
        deltas = [given] if given.role and not given.content else []
        deltas += calls.read(given.content or "", last=ended)
        made = [_Choice(choice.index, delta=delta) for delta in deltas]
        if choice.finish_reason is not None:
            reason = calls.finish_reason(choice.finish_reason)
            made.append(_Choice(choice.index, delta=_Delta(), finish_reason=reason))
        return made

    def _usage_event(self) -> bytes:
        if not self._report_usage or self._usage.total is None:
            return b""
        return _event(msgspec.structs.replace(self._last, choices=[], usage=self._usage.total))


class AnswerCollector:
    """A stream on its way to becoming a whole answer."""

    __slots__ = ("_choices", "_done", "_last", "_logprobs", "_size", "_texts", "_translator", "_usage")

    def __init__(self, *, choices_per_prompt: int) -> None:
        self._translator = StreamTranslator(None, str, choices_per_prompt=choices_per_prompt, report_usage=True)
        self._choices: dict[int, _Choice] = {}
        self._texts: dict[int, list[str]] = {}
        self._logprobs: dict[int, list[Raw]] = {}
        self._last = _Envelope()
        self._usage: _Usage | None = None
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
            envelope = _decode(data)
        except msgspec.MsgspecError:
            message = "The model's server sent an event that is not JSON."
            raise UpstreamFailed(message, reason=Reason.UPSTREAM_INVALID) from None
        if envelope.error is not UNSET:
            message = "The model's server reported an error within its answer."
            raise UpstreamFailed(message, reason=Reason.UPSTREAM_ERROR)
        self._last = envelope
        if isinstance(envelope.usage, _Usage):
            self._usage = envelope.usage
        for choice in envelope.choices:
            self._add(choice)

    def _add(self, choice: _Choice) -> None:
        text = choice.text if isinstance(choice.text, str) else ""
        if isinstance(choice.delta, _Delta) and isinstance(choice.delta.content, str):
            text = choice.delta.content
        self._texts.setdefault(choice.index, []).append(text)
        if isinstance(choice.logprobs, Raw) and choice.logprobs != _NULL:
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

    def _whole(self, index: int) -> _Choice:
        choice, text = self._choices[index], "".join(self._texts[index])
        logprobs = _joined(self._logprobs.get(index, []))
        if isinstance(choice.text, str):
            return _Choice(index, text=text, logprobs=logprobs, finish_reason=choice.finish_reason)
        message = _Delta(role="assistant", content=text)
        return _Choice(index, message=message, logprobs=logprobs, finish_reason=choice.finish_reason)


class _Logprobs(msgspec.Struct):
    content: list[Raw] = []


def _joined(pieces: list[Raw]) -> Raw:
    if not pieces:
        return _NULL
    decode = msgspec.json.Decoder(_Logprobs).decode
    return Raw(encode_json(_Logprobs([token for piece in pieces for token in decode(piece).content])))


def translate_answer(body: bytes, offer: Offer, new_id: Callable[[], str]) -> bytes:
    """A whole answer with its calls where OpenAI has them. InvalidRequest as in `StreamTranslator.feed`."""
    try:
        envelope = _decode(body)
    except msgspec.MsgspecError:
        return body  # the gateway says what is wrong with it
    return encode_json(
        msgspec.structs.replace(envelope, choices=[_called(choice, offer, new_id) for choice in envelope.choices])
    )


def _called(choice: _Choice, offer: Offer, new_id: Callable[[], str]) -> _Choice:
    if not isinstance(choice.message, _Delta):
        return choice
    calls = _Calls(offer, new_id)
    deltas = calls.read(choice.message.content or "", last=True)
    made: list[_CallDelta] = []
    for delta in deltas:
        for piece in delta.tool_calls or ():
            if piece.id is not UNSET:
                made.append(msgspec.structs.replace(piece, index=UNSET))
            elif isinstance(piece.function, _CalledFunction) and isinstance(made[-1].function, _CalledFunction):
                made[-1].function.arguments += piece.function.arguments
    text = "".join(delta.content for delta in deltas if delta.content)
    message = _Delta(role="assistant", content=text or None, tool_calls=made or UNSET)
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
