"""The end of an exchange: recorded first, then the caller gets the last byte, then every view is told."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from podium.core.errors import MethodNotAllowed, PodiumError, Unavailable
from podium.core.event import Event, encode_event
from podium.core.exchange import Exchange
from podium.core.reasons import Reason
from podium.core.usage import Usage
from podium.gateway.answers import RejectedByUpstream
from podium.gateway.faces import face_of
from podium.gateway.limit_headers import refusal_headers
from podium.gateway.ports import Caller, EventSink, Headers, Journal, Limits
from podium.traffic.limiting.buckets import Refusal
from podium.traffic.limiting.limiter import Grant

if TYPE_CHECKING:
    from podium.gateway.attempt import Attempt

__all__ = ["JSON", "Landing", "Outcome", "headers_of", "json_headers"]

JSON: Headers = b"content-type: application/json\r\n"
_CHALLENGE = b"www-authenticate: Bearer\r\n"


class Outcome:
    """What a call leaves behind for settling and for the caller. Values that stand at first live on the class."""

    attempt: "Attempt | None" = None  # the one that answered, else the last one
    grant: Grant | None = None  # what was taken from limits
    limits: Limits | None = None  # that granted it
    refusal: Refusal | None = None  # of limits
    reserved = False  # something is held, or may be, of budgets
    fixed = False  # the answer is an operator's text: no model made it
    usage: Usage | None = None  # as the upstream reported it
    request_body = b""
    body = b""  # of a whole answer
    headers: Headers = b""
    streaming = False  # the caller has the head of a streamed answer
    tail = b""  # the last bytes of a streamed answer, held back
    sample: tuple[str, float] | None = None  # see StreamRelay.sample
    bytes_out = 0
    events: bytes | None = None  # of a streamed answer that is kept for a judge

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []  # in the order in which they were made

    @property
    def cost_nothing(self) -> bool:
        """True when no model has worked for it: limits get everything back."""
        attempts = self.attempts
        if len(attempts) == 1:  # quicker, and nearly always so
            return not attempts[0].worked
        return not any(attempt.worked for attempt in attempts)


class Landing:
    """Runs once the journal has the event (or cannot take it)."""

    __slots__ = ("_caller", "_event", "_exchange", "_outcome", "_sinks")

    def __init__(
        self, exchange: Exchange, caller: Caller, outcome: Outcome, event: Event, sinks: tuple[EventSink, ...]
    ) -> None:
        self._exchange = exchange
        self._caller = caller
        self._outcome = outcome
        self._event = event
        self._sinks = sinks

    def record(self, journal: Journal) -> None:
        """Hand the event to the journal; the rest follows when it is written."""
        journal.append(encode_event(self._event), self)

    def __call__(self, failure: OSError | None) -> None:
        """Give the caller its last bytes, then tell the views."""
        event = self._event
        if failure is None:
            self._deliver(self._exchange.error)
        else:
            error = _unrecorded()
            self._deliver(error)
            event = replace(event, status=error.status, reason=error.reason, fault=error.fault)
        for sink in self._sinks:
            sink.observe(event)

    def _deliver(self, error: PodiumError | None) -> None:
        caller, outcome = self._caller, self._outcome
        if caller.gone:
            return
        if error is None:
            if outcome.streaming:
                caller.finish(outcome.tail)
            else:
                caller.send(200, outcome.headers, outcome.body)
        elif outcome.streaming:
            caller.finish(face_of(self._exchange.endpoint).error_event(error))
        else:
            rejected = isinstance(error, RejectedByUpstream) and error.body
            body = rejected or face_of(self._exchange.endpoint).error_body(error, self._exchange.request_id)
            caller.send(error.status, self._error_headers(error), body)

    def _error_headers(self, error: PodiumError) -> Headers:
        headers = json_headers(self._exchange)
        if self._outcome.attempts:
            headers += calls_told(self._exchange, self._outcome.attempts)
        if self._outcome.refusal is not None:
            headers += refusal_headers(self._exchange, self._outcome.refusal)
        elif error.retry_after_s is not None:
            headers += b"retry-after: %d\r\n" % max(1, -int(-error.retry_after_s // 1))
        if isinstance(error, MethodNotAllowed):
            headers += b"allow: %b\r\n" % ", ".join(error.allowed).encode()
        if error.status == 401:  # noqa: PLR2004 - RFC 9110, section 15.5.2
            headers += _CHALLENGE
        return headers


def headers_of(exchange: Exchange) -> Headers:
    """The headers that every answer has."""
    request_id = exchange.request_id.encode()
    if exchange.endpoint == "messages":  # Anthropic's clients look for its own header
        return b"x-request-id: %b\r\nrequest-id: %b\r\n" % (request_id, request_id)
    return b"x-request-id: %b\r\n" % request_id


def calls_told(exchange: Exchange, attempts: Sequence["Attempt"], answered: "Attempt | None" = None) -> Headers:
    """Header lines that say how many calls were made, and of several what became of each."""
    text = f"x-podium-attempts: {len(attempts)}\r\n"
    if len(attempts) > 1:
        text += f"x-podium-trail: {', '.join(one.told(won=one is answered) for one in attempts)}\r\n"
    if exchange.hedges:
        text += f"x-podium-hedges: {exchange.hedges}\r\n"
    if exchange.fallbacks:
        text += f"x-podium-fallbacks: {exchange.fallbacks}\r\n"
    return text.encode("ascii", "backslashreplace")


def json_headers(exchange: Exchange) -> Headers:
    """The headers of an answer in JSON."""
    return JSON + headers_of(exchange)


def _unrecorded() -> Unavailable:
    return Unavailable(
        "Podium could not record this exchange, so its answer is withheld.", reason=Reason.JOURNAL_UNAVAILABLE
    )
