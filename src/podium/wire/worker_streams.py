"""Our workers' streams, put right: bytes in, bytes out.

Rules
1. Tool calls are written as text by the model (`tool_calls`); here they become the field.
2. The usage of each choice comes in an event of its own. Here there is one report, at the end, with the sum; a
   prompt counts once for all its choices.
3. A stream of several prompts begins with an event that holds `null`; it is dropped.
"""

from collections.abc import Callable

import msgspec
from msgspec import UNSET, UnsetType

from podium.core.errors import InvalidRequest
from podium.wire.openai import DONE
from podium.wire.sse import SseFramer, event_data, split_events
from podium.wire.tool_calls import Arguments, CallReader, CallStart, Piece, Text
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
    envelope_event,
)

__all__ = ["ChoiceCalls", "StreamTranslator"]


class ChoiceCalls:
    """The calls of one choice on their way into OpenAI's fields."""

    __slots__ = ("_must_call", "_new_id", "_reader")

    def __init__(self, offer: Offer, new_id: Callable[[], str]) -> None:
        self._must_call = offer.must_call
        self._new_id = new_id
        self._reader = CallReader(offer.names)

    def read(self, text: str, *, last: bool) -> list[Delta]:
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

    def _delta(self, piece: Piece) -> Delta:
        match piece:
            case Text(text):
                return Delta(content=text)
            case CallStart(index, name):
                function = CalledFunction(name=name, arguments="")
                return Delta(tool_calls=[CallDelta(index, self._new_id(), "function", function)])
            case Arguments(index, text):
                return Delta(tool_calls=[CallDelta(index, function=CalledFunction(text))])

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
        self.total: TokenCounts | None = None

    def add(self, usage: TokenCounts, choice: int | None) -> None:
        """`choice` None: of a chat, whose one prompt counts once."""
        total = self.total = self.total or TokenCounts()
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
        self._calls: dict[int, ChoiceCalls] = {}
        self._framer = SseFramer()
        self._last = Envelope()

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
            envelope = decode_envelope(data)
        except msgspec.MsgspecError:
            return event  # the gateway says what is wrong with it
        if envelope.error not in (UNSET, NULL):
            return event
        return self._chunk(envelope)

    def _chunk(self, envelope: Envelope) -> bytes:
        self._last = envelope
        if isinstance(envelope.usage, TokenCounts):
            self._usage.add(envelope.usage, envelope.choices[0].index if envelope.choices else None)
        envelope.usage = UNSET
        choices = [made for choice in envelope.choices for made in self._choices(choice)]
        return b"".join([envelope_event(msgspec.structs.replace(envelope, choices=[choice])) for choice in choices])

    def _choices(self, choice: Choice) -> list[Choice]:
        """A chunk's choice as the caller gets it: none, one, or several one after the other."""
        if self._offer is None or isinstance(choice.delta, UnsetType):
            return [choice]
        calls = self._calls.get(choice.index)
        if calls is None:
            calls = self._calls[choice.index] = ChoiceCalls(self._offer, self._new_id)
        given, ended = choice.delta, choice.finish_reason is not None
        deltas = [] if given.content or not (given.role or given.reasoning_content) else [given]
        deltas += calls.read(given.content or "", last=ended)
        made = [Choice(choice.index, delta=delta) for delta in deltas]
        if choice.finish_reason is not None:
            reason = calls.finish_reason(choice.finish_reason)
            made.append(Choice(choice.index, delta=Delta(), finish_reason=reason))
        return made

    def _usage_event(self) -> bytes:
        if not self._report_usage or self._usage.total is None:
            return b""
        return envelope_event(msgspec.structs.replace(self._last, choices=[], usage=self._usage.total))
