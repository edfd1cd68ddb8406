"""An exchange's way to a model and back: backends, retries, second calls, other models, a last resort.

Until the first byte of an answer has gone to the caller, a failure may be mended; each way of mending is a
decision of floor 1, and this is where they follow one another:

    call -> (slow: a second call beside it) -> (failed: a retry) -> (pool failed: another model) -> last resort
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from podium.core.clock import Clock
from podium.core.errors import InvalidRequest, PodiumError, UpstreamError
from podium.core.event import AnswerFlag
from podium.core.exchange import Exchange
from podium.core.reasons import Fault, Reason
from podium.core.trace import upstream_span_id
from podium.gateway.attempt import Attempt, AttemptKind
from podium.gateway.faces import Face, Request
from podium.gateway.fallback import Route
from podium.gateway.landing import Outcome, headers_of
from podium.gateway.last_resort import give_fixed_answer
from podium.gateway.limit_headers import limit_headers
from podium.gateway.pool import Backend, Pick, Pool
from podium.gateway.ports import Caller, Headers
from podium.gateway.queue import PoolQueue, Turn
from podium.gateway.race import Race
from podium.gateway.trail import answer_headers
from podium.gateway.turns import PRIORITY_HEADER, read_priority
from podium.gateway.world import World
from podium.traffic.balancing.ports import CallFacts
from podium.traffic.queueing.fair_queue import Priority
from podium.traffic.retry import RetryDecision, may_retry
from podium.wire.openai import Change

__all__ = ["Call"]

_PREFIX_BYTES = 8 * 1024
_NEVER_NS = 1 << 62
# What is about one version, as a copy or a tester's request is, is answered by nobody else.
_ONE_VERSION = int(AnswerFlag.MIRRORED | AnswerFlag.OVERRIDDEN)
_CANNOT_SAY = (Reason.UNSUPPORTED_PARAMETER, Reason.ENDPOINT_NOT_SUPPORTED)  # of a protocol; another one may


class Call:
    """One exchange's call (podium.gateway.attempt.Course). Values that stand at first are the class's."""

    _winner: Attempt | None = None
    _race: Race | None = None
    _route: Route | None = None  # once the model that was asked for has failed
    _barred: tuple[Backend, ...] = ()  # backends that this exchange may not use, wherever it goes
    _queued_ns = 0  # waited for places
    _deadline_s = 0.0  # of all attempts together; the first backend's limit counts

    def __init__(
        self,
        exchange: Exchange,
        caller: Caller,
        face: Face,
        request: Request,
        body: bytes,
        world: World,
        pool: Pool,
        outcome: Outcome,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        random: Callable[[], float],
    ) -> None:
        self.exchange = exchange
        self.caller = caller
        self.face = face
        self.outcome = outcome
        self.clock = clock
        self._request = request
        self._body = body
        self._loop = loop
        self._random = random
        self._world = world
        self._pool = pool

    async def run(self) -> None:
        """Leave the answer in the outcome, or raise what went wrong."""
        self.outcome.request_body = self._body
        told: PodiumError | None = None
        while True:
            queue = self._pool.queue
            try:
                await (self._serve() if queue is None else self._serve_in_turn(queue))
            except PodiumError as error:
                if self.outcome.streaming:
                    raise
                if told is None or (told.fault is Fault.CALLER and error.fault is not Fault.CALLER):
                    told = error  # what a repeat may mend goes before what it may not
                if self._go_on(error):
                    continue
                if not self.exchange.answer_flags & _ONE_VERSION and give_fixed_answer(
                    self._first_pool, told, self.exchange, self.face, self.outcome
                ):
                    return
                if told is error:
                    raise
                raise told from error
            else:
                return

    def _go_on(self, error: PodiumError) -> bool:
        """Go on to another model, if there is one that may do better."""
        if self._loop.time() >= self._deadline_s > 0 or self.exchange.answer_flags & _ONE_VERSION:
            return False
        if self._route is None:
            self._route = Route(self._world, self.exchange.model, self._pool)
        if not self._route.go_on(error, self.exchange):
            return False
        self._pool, self._barred = self._route.pool, self._route.barred
        return True

    @property
    def _first_pool(self) -> Pool:
        return self._pool if self._route is None else self._route.first

    @property
    def _model(self) -> str:
        """The public name of the model that is called now."""
        return self.exchange.model if self._route is None else self._route.model

    async def _serve_in_turn(self, queue: PoolQueue) -> None:
        """The same, holding one of the pool's places; Overloaded or RateLimited when there is none in time."""
        asked = self.caller.headers.get(PRIORITY_HEADER)
        priority = None if asked is None else read_priority(asked)
        clock, attempts = self.clock, self.outcome.attempts
        began_ns, called, served = clock.monotonic_ns(), len(attempts), False
        if not queue.try_enter(began_ns):
            came_ns = began_ns
            await queue.wait(self._turn(queue, priority, came_ns), clock, self._loop, self._random)
            began_ns = clock.monotonic_ns()
            self._queued_ns += began_ns - came_ns
        try:
            await self._serve()
            served = True
        finally:
            now_ns = clock.monotonic_ns()
            queue.leave(now_ns, worked=len(attempts) > called, served_ns=now_ns - began_ns if served else 0)

    def _turn(self, queue: PoolQueue, asked: Priority | None, now_ns: int) -> Turn:
        tenant, key, turns = self.exchange.tenant, self.exchange.key_id, queue.turns
        entry = self._world.key(key)
        tier = "" if entry is None else self._world.principal(entry).tier
        priority = turns.priority(asked, tenant=tenant, key=key, tier=tier)
        return Turn(tenant, self._start_by_ns(queue, now_ns), priority, turns.weight(tenant))

    def _start_by_ns(self, queue: PoolQueue, now_ns: int) -> int:
        """When it has to begin to be done in time, as far as a time is set."""
        exchange = self.exchange
        if self._deadline_s:
            left_s = self._deadline_s - self._loop.time()
        elif exchange.timeout_s:
            left_s = exchange.timeout_s - (now_ns - exchange.started_at_ns) / 1e9
        else:
            return _NEVER_NS
        return now_ns + int(left_s * 1e9) - queue.typical_ns(now_ns)

    async def _serve(self) -> None:
        """Call the backends of the route's current model until one answers or trying again is over."""
        pool = self._pool
        kind = AttemptKind.FIRST if self._route is None else AttemptKind.FALLBACK
        tried, uncounted = list(self._barred), len(self.outcome.attempts)
        now_ns = self.clock.monotonic_ns()
        pool.retry_budget.deposit(now_ns)
        pick = None if self._barred else pool.only(now_ns)
        pick = pick or pool.choose(self._barred, self._facts())
        if pick is None:
            raise pool.nobody(self.exchange.model, self._barred, now_ns)
        hedge_delay_s = self._hedge_delay_s()
        while True:
            attempt = self._attempt_at(pick, kind)
            try:
                if hedge_delay_s is None:
                    await attempt.run(self._upstream_headers(attempt), self._deadline_s)
                else:
                    await self._run_hedged(attempt, hedge_delay_s, tried)
            except UpstreamError as error:
                tried.append(attempt.backend)
                decision = may_retry(
                    reason=error.reason,
                    status=error.upstream_status,
                    attempts=len(self.outcome.attempts) - uncounted,
                    max_attempts=pool.failure.retries.attempts,
                    content_sent=self.outcome.streaming,
                    other_backend=pool.others(tried),
                    time_left_s=self._deadline_s - self._loop.time(),
                )
                again = await self._again(decision, tried) if decision.retry else None
                if again is None:
                    raise
                pick, kind = again, AttemptKind.RETRY
            except InvalidRequest as error:
                tried.append(attempt.backend)
                uncounted += 1  # nothing was sent: this backend's protocol cannot say what is asked
                other = pool.choose(tried, self._facts()) if error.reason in _CANNOT_SAY else None
                if other is None:
                    raise
                pick = other
            else:
                if self._route is not None:
                    self.exchange.served_model = self._route.model
                return

    async def _again(self, decision: RetryDecision, tried: list[Backend]) -> Pick | None:
        """The backend for another try, if there is one and the budget allows it. The same one gets a little time."""
        pool, budget = self._pool, self._pool.retry_budget
        if not budget.would_withdraw(self.clock.monotonic_ns()).allowed:
            return None
        pick = pool.choose(tried, self._facts())
        if pick is not None or decision is not RetryDecision.RETRY:
            if pick is not None:
                budget.withdraw(self.clock.monotonic_ns())
            return pick
        delay_s = pool.backoff.delay_s(len(tried) - len(self._barred), self._random())
        if delay_s >= self._deadline_s - self._loop.time():
            return None
        budget.withdraw(self.clock.monotonic_ns())
        await asyncio.sleep(delay_s)
        return pool.choose(self._barred, self._facts())

    def _hedge_delay_s(self) -> float | None:
        """How long a call may take until a second one is made; None: there will be none."""
        hedgers = self._pool.hedgers
        return None if hedgers is None else hedgers[self.exchange.stream].plan(self.clock.monotonic_ns()).delay_s

    async def _run_hedged(self, attempt: Attempt, delay_s: float, tried: list[Backend]) -> None:
        """Run an attempt, and a second one beside it when it is slow; whom that one calls has been tried, then."""
        pool = self._pool

        def second() -> Attempt | None:
            assert pool.hedgers is not None
            used = [*tried, attempt.backend]
            pick = pool.choose(used, self._facts()) if pool.others(used) else None
            if pick is None:
                return None
            if not pool.hedgers[self.exchange.stream].start(self.clock.monotonic_ns()):
                self._put_back(pick)
                return None
            try:
                other = self._attempt_at(pick, AttemptKind.HEDGE)
            except PodiumError:  # the request cannot be put for this backend; the first call goes on
                return None
            self.exchange.hedges += 1
            tried.append(other.backend)
            return other

        self._race = Race(lambda one: one.run(self._upstream_headers(one), self._deadline_s))
        await self._race.run(attempt, delay_s, second)

    def _put_back(self, pick: Pick) -> None:
        """Give the places of a call back that is not made."""
        pick[0].state.leave(pick[1], None, self.clock.monotonic_ns(), first_content_ms=0.0)

    def _attempt_at(self, pick: Pick, kind: AttemptKind) -> Attempt:
        backend, exchange = pick[0], self.exchange
        if not self._deadline_s:
            limit_s = backend.upstream.total_s
            if exchange.timeout_s:
                waited_s = (self.clock.monotonic_ns() - exchange.started_at_ns) / 1e9
                limit_s = min(limit_s, exchange.timeout_s - waited_s)
            self._deadline_s = self._loop.time() + limit_s
        hide_usage = exchange.stream and backend.upstream.reports_stream_usage and not self._request.wants_stream_usage
        try:
            body = self._body_for(backend, include_usage=hide_usage)
        except BaseException:
            self._put_back(pick)
            raise
        attempt = Attempt(self, self._pool, pick, kind, model=self._model, body=body, hide_usage=hide_usage)
        self.outcome.attempts.append(attempt)
        exchange.attempts += 1
        exchange.upstream_at_ns = attempt.started_at_ns
        self._note(attempt)
        return attempt

    def _note(self, attempt: Attempt) -> None:
        """This attempt is the one that the exchange speaks of: the last one made, or the one that won."""
        exchange, backend = self.exchange, attempt.backend
        exchange.provider = backend.upstream.provider
        exchange.backend = backend.upstream.label
        exchange.version = self._pool.label
        exchange.why = attempt.why
        exchange.price = backend.price.name if backend.price is not None else ""
        self.outcome.attempt = attempt

    def _body_for(self, backend: Backend, *, include_usage: bool) -> bytes:
        """The request as this backend gets it; the caller's own bytes when nothing has to change."""
        pool, overrides = self._pool, self._route.overrides if self._route is not None else {}
        name = backend.upstream.model
        rename = name if name != self._request.model else None
        if rename is None and not include_usage and not pool.changes and not overrides:
            return self._body
        change = pool.change
        return self.face.rewrite_request(
            self._body,
            Change(
                model=rename,
                defaults=change.defaults,
                system_message=change.system_message,
                tools=change.tools,
                include_usage=include_usage,
                overrides=overrides,
            ),
        )

    def _facts(self) -> CallFacts:
        """What a balancing strategy may know of this call."""
        pool, exchange = self._pool, self.exchange
        prefix = b""
        if pool.takes_prefix:
            start = max(self._body.find(b'"messages"'), self._body.find(b'"prompt"'), 0)
            prefix = self._body[start : start + _PREFIX_BYTES]
        session = ""
        if pool.takes_session:
            named = self.caller.headers.get(b"x-podium-session")
            session = named.decode("latin-1")[:256] if named else exchange.user
        return CallFacts(self.clock.monotonic_ns(), exchange.tenant, session, prefix, self._random())

    def _upstream_headers(self, attempt: Attempt) -> Headers:
        exchange, headers = self.exchange, b""
        if exchange.timeout_s:
            left_ms = max(1, int((self._deadline_s - self._loop.time()) * 1000))
            headers = b"x-podium-timeout-ms: %d\r\n" % left_ms
        if exchange.endpoint == "messages" and (beta := self.caller.headers.get(b"anthropic-beta")) is not None:
            headers += b"anthropic-beta: %b\r\n" % beta
        trace = exchange.trace
        if trace is None:
            return headers
        span = replace(trace, span_id=upstream_span_id(trace.span_id, self.outcome.attempts.index(attempt)))
        state = f"tracestate: {trace.tracestate}\r\n" if trace.tracestate else ""
        return headers + f"traceparent: {span.traceparent}\r\n{state}".encode()

    # podium.gateway.attempt.Course

    def claim(self, attempt: Attempt) -> bool:
        """The first to have content answers."""
        if self._winner is None:
            self._winner = attempt
            if self._race is not None:
                self._note(attempt)
                self._race.won(attempt)
        return self._winner is attempt

    def headers(self, attempt: Attempt, kind: Headers, notes: Headers) -> Headers:
        """The header lines of the caller's answer."""
        exchange, grant, limits = self.exchange, self.outcome.grant, self.outcome.limits
        headers = kind + headers_of(exchange) + answer_headers(attempt, self.outcome.attempts, exchange) + notes
        if self._queued_ns:
            headers += b"x-podium-queued-ms: %d\r\n" % (self._queued_ns // 1_000_000)
        if grant is None or limits is None:
            return headers
        return headers + limit_headers(exchange, limits, grant, self.clock.monotonic_ns())
