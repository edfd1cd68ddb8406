"""One upstream call of an exchange: made, its answer taken or relayed, and what it showed told to the fleet."""

from enum import StrEnum
from typing import Protocol

from podium.core.clock import Clock
from podium.core.errors import CallerError, PodiumError, UpstreamFailed
from podium.core.exchange import Exchange
from podium.core.reasons import Reason
from podium.core.usage import Usage
from podium.gateway.answer_flags import MAX_REASON, note_stream, note_whole
from podium.gateway.answers import is_plain_success, refusal
from podium.gateway.concurrency import call_outcome
from podium.gateway.faces import Face
from podium.gateway.landing import JSON, Outcome
from podium.gateway.pool import Pick, Pool
from podium.gateway.ports import Answer, Caller, Headers
from podium.gateway.relay import StreamRelay
from podium.traffic.account_backoff import read_rate_limits
from podium.traffic.breaker import CallResult, call_result
from podium.traffic.queueing.adaptive_concurrency import CallOutcome
from podium.wire.answer_facts import AnswerFacts, asks_for_json

__all__ = ["Attempt", "AttemptKind", "Course"]

_EVENT_STREAM: Headers = (
    b"content-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\n"
    b"x-accel-buffering: no\r\n"  # tells nginx in front of us not to collect events
)


_FIRST_SERVER_ERROR = 500
_IGNORED = CallOutcome.IGNORED
_UNSENT = (Reason.UPSTREAM_UNREACHABLE, Reason.UPSTREAM_BUSY)


class AttemptKind(StrEnum):
    """What made it necessary."""

    FIRST = "first"
    RETRY = "retry"
    HEDGE = "hedge"
    FALLBACK = "fallback"


class Course(Protocol):
    """The exchange's call, as an attempt sees it."""

    exchange: Exchange
    caller: Caller
    face: Face
    outcome: Outcome
    clock: Clock

    def claim(self, attempt: "Attempt") -> bool:
        """Whether this attempt's answer is the caller's; False when another one's is."""

    def headers(self, attempt: "Attempt", kind: Headers, notes: Headers) -> Headers:
        """The header lines of the caller's answer."""


class Attempt:
    """One call to one backend, which `Pool.choose` has entered already. Values that stand at first are the class's."""

    first_at_ns = 0
    ended_at_ns = 0
    usage: Usage | None = None
    reason = Reason.CLIENT_GONE  # until it ends in another way: it was given up
    upstream_status = 0
    worked = False  # the model has worked for it, as far as we can know
    lost = False  # another attempt's answer was taken

    def __init__(
        self,
        course: Course,
        pool: Pool,
        pick: Pick,
        kind: AttemptKind,
        *,
        model: str,
        body: bytes,
        hide_usage: bool,
    ) -> None:
        self._course = course
        self._pool = pool
        self.backend, self._probes, self.why = pick
        self.kind = kind
        self.model = model
        self.body = body
        self._hide_usage = hide_usage
        self.started_at_ns = course.clock.monotonic_ns()

    async def run(self, headers: Headers, deadline_s: float) -> None:
        """Leave the answer in the outcome unless another attempt was first, or raise what went wrong."""
        exchange, result = self._course.exchange, None
        self.worked = True
        try:
            upstream = self.backend.upstream
            answer = await upstream.call(exchange.endpoint, self.body, headers=headers, deadline_s=deadline_s)
            self._read_head(answer)
            if exchange.stream:
                await self._relay(answer)
            else:
                await self._take(answer)
        except PodiumError as error:
            self.reason = error.reason
            result = call_result(error.reason)
            if error.reason in _UNSENT or isinstance(error, CallerError):
                self.worked = False  # nothing was sent: no connection, or the protocol cannot say what is asked
            raise
        else:
            if not self.lost:
                self.reason = Reason.OK
                result = CallResult.OK
        finally:
            self._leave(result)

    def _read_head(self, answer: Answer) -> None:
        """What the head of an answer says: about the account's limits, and whether it is what was asked for."""
        course = self._course
        self.upstream_status = answer.status
        if not self._probes and is_plain_success(answer, streamed=course.exchange.stream):
            return
        notice = read_rate_limits(answer.status, answer.headers, course.clock.unix_ns() / 1e9)
        if notice is not None or (self._probes and answer.status < _FIRST_SERVER_ERROR):  # a failure tells no limits
            self._probes = self.backend.state.answered(self._probes, notice, course.clock.monotonic_ns())
        error = refusal(answer, streamed=course.exchange.stream, retry_after_s=notice.wait_s if notice else None)
        if error is not None:
            answer.close()
            self.worked = False
            raise error

    async def _take(self, answer: Answer) -> None:
        """A whole answer."""
        course, outcome = self._course, self._course.outcome
        try:
            usage = course.face.read_answer_usage(answer.body)
        except ValueError:
            raise UpstreamFailed("The model's server sent no JSON.", reason=Reason.UPSTREAM_INVALID) from None
        self._first_content()
        self.usage = usage
        if not course.claim(self):
            self.lost = True
            return
        outcome.usage = usage
        outcome.body = answer.body
        outcome.headers = course.headers(self, JSON, answer.notes)
        outcome.bytes_out = len(answer.body)
        self._begun()
        if course.exchange.rollout:
            await note_whole(course.exchange, self.body, answer.body)

    async def _relay(self, answer: Answer) -> None:
        """A streamed answer."""
        course, outcome = self._course, self._course.outcome

        def begin() -> Headers | None:
            self._first_content()
            if not course.claim(self):
                self.lost = True
                return None
            outcome.streaming = True
            self._begun()
            return course.headers(self, _EVENT_STREAM, answer.notes)

        exchange = course.exchange
        asked = bool(exchange.rollout) and asks_for_json(self.body)
        keep = asked or exchange.judged
        relay = StreamRelay(answer, course.caller, course.face, hide_usage=self._hide_usage, begin=begin, keep=keep)
        try:
            await relay.run()
            if exchange.rollout and relay.committed:
                facts = AnswerFacts(relay.finish_reason, not relay.events, relay.refused, relay.calls)
                await note_stream(exchange, self.body, facts, relay.kept() if asked else None)
                if exchange.judged and not relay.calls:
                    outcome.events = relay.kept()
        finally:
            answer.close()
            self.usage = relay.usage
            if relay.committed:
                exchange.finish_reason = relay.finish_reason[:MAX_REASON]
                outcome.usage = relay.usage
                outcome.sample = relay.sample() if relay.usage is None else None
                outcome.bytes_out = relay.bytes_out
        outcome.tail = course.face.done

    def _first_content(self) -> None:
        """Content is here, or another attempt's is."""
        now_ns = self.first_at_ns = self._course.clock.monotonic_ns()
        state, hedgers = self.backend.state, self._pool.hedgers
        if state.timed:
            count = state.load.beaten if self.lost else state.load.first_content
            count(now_ns, (now_ns - self.started_at_ns) / 1e6)
        if state.concurrency is not None and not self.lost:
            state.first_content((now_ns - self.started_at_ns) / 1e6, now_ns)
        if hedgers is not None:
            hedgers[self._course.exchange.stream].observe((now_ns - self.started_at_ns) / 1e6, now_ns)

    def _begun(self) -> None:
        exchange = self._course.exchange
        exchange.status = 200
        exchange.first_byte_at_ns = self.first_at_ns

    def _leave(self, result: CallResult | None) -> None:
        """Tell the fleet how it went."""
        now_ns = self.ended_at_ns = self._course.clock.monotonic_ns()
        state = self.backend.state
        state.leave(
            self._probes,
            result,
            now_ns,
            first_content_ms=((self.first_at_ns or now_ns) - self.started_at_ns) / 1e6,
            time_per_output_token_ms=self._time_per_output_token_ms() if state.timed else None,
            outcome=_IGNORED if state.concurrency is None else self._load_outcome(),
        )
        if self._pool.outliers is not None:
            self._pool.record(self.backend, result, now_ns)
        del self._course  # which knows us: no cycle is left behind

    def _load_outcome(self) -> CallOutcome:
        return call_outcome(self.reason, self.upstream_status, patient=not self._course.exchange.timeout_s)

    def _time_per_output_token_ms(self) -> float | None:
        usage = self.usage
        if usage is None or usage.output_tokens <= 1 or not self.first_at_ns or not self._course.exchange.stream:
            return None
        return (self.ended_at_ns - self.first_at_ns) / 1e6 / (usage.output_tokens - 1)

    def beaten(self) -> None:
        """Another attempt was first: this one would have taken longer than it has so far."""
        self.lost = True
        if not self.first_at_ns:
            self._first_content()

    def abandon(self) -> None:
        """Give its places back if it never ran."""
        if not self.ended_at_ns:
            self._leave(None)

    def told(self, *, won: bool) -> str:
        """What it was and how it ended, in words for a header."""
        end = "ok" if won else str(self.reason) if self.ended_at_ns else "running"
        return f"{self.kind} {self.backend.upstream.label} {self.why} {end}"
