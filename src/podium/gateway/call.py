"""Choosing a backend and calling it: a deadline, at most one retry before the first byte, one answer."""

import asyncio
from dataclasses import replace

from podium.core.clock import Clock
from podium.core.errors import UpstreamError, UpstreamFailed
from podium.core.exchange import Exchange
from podium.core.reasons import Reason
from podium.core.trace import upstream_span_id
from podium.gateway.answers import refusal
from podium.gateway.landing import JSON, Outcome, headers_of
from podium.gateway.ports import Answer, Caller, Headers
from podium.gateway.relay import StreamRelay
from podium.gateway.world import Backend, Pool
from podium.traffic.retry import RetryDecision, may_retry
from podium.traffic.standing import standing_headers
from podium.wire.openai import DONE, Change, Request, read_answer_usage, rewrite_request

__all__ = ["Call"]

_EVENT_STREAM: Headers = (
    b"content-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\n"
    b"x-accel-buffering: no\r\n"  # tells nginx in front of us not to collect events
)


class Call:
    """One exchange's way to a model and back."""

    def __init__(
        self,
        exchange: Exchange,
        caller: Caller,
        request: Request,
        body: bytes,
        pool: Pool,
        outcome: Outcome,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._exchange = exchange
        self._caller = caller
        self._request = request
        self._body = body
        self._pool = pool
        self._outcome = outcome
        self._clock = clock
        self._loop = loop
        self._tried: list[int] = []

    async def run(self) -> None:
        """Leave the answer in the outcome, or raise what went wrong."""
        loop, exchange, outcome = self._loop, self._exchange, self._outcome
        outcome.request_body = self._body
        deadline_s = 0.0  # of all attempts together; the first backend's limit counts
        while True:
            backend = self._choose()
            deadline_s = deadline_s or loop.time() + backend.upstream.total_s
            try:
                await self._attempt(backend, deadline_s)
            except UpstreamError as error:
                outcome.cost_nothing |= error.reason is Reason.UPSTREAM_UNREACHABLE
                decision = may_retry(
                    reason=error.reason,
                    status=error.upstream_status,
                    attempts=exchange.attempts,
                    content_sent=outcome.streaming,
                    other_backend=len(set(self._tried)) < len(self._pool.backends),
                    time_left_s=deadline_s - loop.time(),
                )
                if not decision.retry:
                    raise
                if decision is RetryDecision.RETRY and len(self._pool.backends) == 1:
                    self._tried.clear()
            else:
                return

    def _choose(self) -> Backend:
        """The next backend in turn that this exchange has not tried."""
        pool = self._pool
        index = pool.rotation.choose(pool.backends, self._tried, keep_turn=self._exchange.attempts > 0)
        assert index is not None, "may_retry allows a retry only where a backend is left"
        self._tried.append(index)
        return pool.backends[index]

    async def _attempt(self, backend: Backend, deadline_s: float) -> None:
        exchange, upstream = self._exchange, backend.upstream
        exchange.provider = upstream.provider
        exchange.backend = upstream.label
        exchange.attempts += 1
        if backend.price is not None:
            exchange.price = backend.price.name
        self._outcome.backend = backend
        self._outcome.cost_nothing = False
        hide_usage = exchange.stream and upstream.reports_stream_usage and not self._request.wants_stream_usage
        body = self._body_for(backend, include_usage=hide_usage)
        exchange.upstream_at_ns = self._clock.monotonic_ns()
        answer = await upstream.call(exchange.endpoint, body, headers=self._trace_headers(), deadline_s=deadline_s)
        error = refusal(answer, streamed=exchange.stream)
        if error is not None:
            answer.close()
            self._outcome.cost_nothing = True
            raise error
        if exchange.stream:
            await self._relay(answer, hide_usage=hide_usage)
        else:
            self._take(answer)

    def _body_for(self, backend: Backend, *, include_usage: bool) -> bytes:
        """The request as this backend gets it; the caller's own bytes when nothing has to change."""
        name = backend.upstream.model
        rename = name if name != self._request.model else None
        if rename is None and not include_usage and not self._pool.changes:
            return self._body
        change = self._pool.change
        return rewrite_request(
            self._body,
            Change(
                model=rename,
                defaults=change.defaults,
                system_message=change.system_message,
                include_usage=include_usage,
            ),
        )

    def _trace_headers(self) -> Headers:
        trace = self._exchange.trace
        if trace is None:
            return b""
        span = replace(trace, span_id=upstream_span_id(trace.span_id))
        state = f"tracestate: {trace.tracestate}\r\n" if trace.tracestate else ""
        return f"traceparent: {span.traceparent}\r\n{state}".encode()

    def _take(self, answer: Answer) -> None:
        """A whole answer."""
        exchange, outcome = self._exchange, self._outcome
        try:
            usage = read_answer_usage(answer.body)
        except ValueError:
            raise UpstreamFailed("The model's server sent no JSON.", reason=Reason.UPSTREAM_INVALID) from None
        outcome.usage = usage
        outcome.body = answer.body
        outcome.headers = self._headers(JSON)
        outcome.bytes_out = len(answer.body)
        exchange.status = 200
        self._first_byte()

    async def _relay(self, answer: Answer, *, hide_usage: bool) -> None:
        """A streamed answer."""
        outcome = self._outcome
        relay = StreamRelay(
            answer, self._caller, self._headers(_EVENT_STREAM), hide_usage=hide_usage, committed_at=self._committed
        )
        try:
            await relay.run()
        finally:
            answer.close()
            outcome.usage = relay.usage
            outcome.sample = relay.sample() if relay.usage is None else None
            outcome.bytes_out = relay.bytes_out
        outcome.tail = DONE

    def _headers(self, kind: Headers) -> Headers:
        headers, grant = kind + headers_of(self._exchange), self._outcome.grant
        return headers if grant is None else headers + standing_headers(grant, self._clock.monotonic_ns())

    def _committed(self) -> None:
        self._outcome.streaming = True
        self._exchange.status = 200
        self._first_byte()

    def _first_byte(self) -> None:
        self._exchange.first_byte_at_ns = self._clock.monotonic_ns()
