"""The life of one exchange. `_serve` reads like the list in docs/architecture.md, top to bottom.

Stages that decide at once are in `stages`, the upstream call in `call`, the end in `landing`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from random import random
from typing import Any, Protocol

import structlog

from podium.core.clock import Clock
from podium.core.errors import ClientGone, InternalError, PodiumError, Unavailable
from podium.core.exchange import Exchange
from podium.core.reasons import Reason
from podium.economics.budgets.book import Book
from podium.gateway import stages
from podium.gateway.admit import Admitter
from podium.gateway.call import Call
from podium.gateway.copies import Copies, Seen
from podium.gateway.faces import face_of
from podium.gateway.flag_counts import FlagCounts
from podium.gateway.flags import MAX_CONTEXT_LENGTH, check_context_length
from podium.gateway.judging import Judges
from podium.gateway.landing import Landing, Outcome, json_headers
from podium.gateway.mirror import Mirrors
from podium.gateway.ports import Admission, Budgets, Caller, EventSink, Journal, Limits
from podium.gateway.settings import GatewaySettings
from podium.gateway.settle import settle
from podium.gateway.world import Principal, World
from podium.traffic.limiting.limiter import Limiter

__all__ = ["Flight", "View", "Worlds"]

log = structlog.get_logger(__name__)

View = Callable[[World, Principal], bytes]
_LEASE_S = 90_000.0  # above the longest that an exchange may be given to take (core.spec.Seconds)
_ENDED = 1000  # each exchange ends once here; few of them stay in the processor's caches
_Serve = Callable[[Exchange, Caller, Outcome], Awaitable[None]]


class Worlds(Protocol):
    """Where the current world is."""

    @property
    def current(self) -> World | None:
        """None before the first snapshot."""


class Flight:
    """Handles exchanges; one object a gateway process."""

    def __init__(
        self,
        *,
        worlds: Worlds,
        journal: Journal,
        sinks: tuple[EventSink, ...],
        settings: GatewaySettings,
        pepper: bytes,
        clock: Clock,
        limits: Limits | None = None,
        budgets: Budgets | None = None,
        together: Admission | None = None,
    ) -> None:
        """`limits`, `budgets`: those that gateways share; None: this process counts for itself.

        `together`: asks for both at once.
        """
        self.in_flight = 0
        self._landed: asyncio.Future[None] | None = None  # somebody waits for the last one
        self._worlds = worlds
        self._journal = journal
        self._sinks = sinks
        self._settings = settings
        self._pepper = pepper
        self._clock = clock
        copies = Copies(gateway=settings.name, journal=journal, sinks=sinks, clock=clock)
        self.mirrors = Mirrors(copies)
        self.judges = Judges(copies)
        self.flag_counts = FlagCounts(clock.unix_ns() / 1e9)
        self._loop = asyncio.get_running_loop()  # asked for once: each asking is a system call on Python 3.11
        self.admitter = Admitter(
            limits or Limiter(max_entries=settings.limited_subjects, lease_ns=int(_LEASE_S * 1e9)),
            budgets or Book(lease_s=_LEASE_S, max_ended=_ENDED),
            settings,
            clock,
            together,
        )

    def fly(self, exchange: Exchange, caller: Caller) -> Coroutine[Any, Any, None]:
        """Carry a model call from its head to its last byte. Every way out of here ends in one event."""
        return self._end_in_one_event(exchange, caller, self._serve)

    async def _serve(self, exchange: Exchange, caller: Caller, outcome: Outcome) -> None:
        """The stages, in order. Screening and caching have their place behind `admit`, when they come."""
        world = self._world()
        principal = self._identify(exchange, caller, world)
        face = face_of(exchange.endpoint)
        stages.check_head(exchange, caller, principal)
        body = caller.body
        if body is None:
            body = await caller.read_body()
        request = stages.read(exchange, body, face)
        stages.permit(exchange, principal, request, world)
        if MAX_CONTEXT_LENGTH in world.flags:
            check_context_length(exchange, caller, principal, world, self.flag_counts)
        waiting = self.admitter.admit(exchange, caller, principal, request, world, outcome)
        if waiting is not None:
            await waiting
        pool = stages.choose_pool(exchange, world, caller, principal, self.flag_counts)
        clock, loop = self._clock, self._loop
        call = Call(exchange, caller, face, request, body, world, pool, outcome, clock, loop, random)
        if exchange.mirrored or exchange.judged:
            seen = Seen(exchange, caller.headers, face, request, body, world, outcome)
            return await self._run_compared(call, seen, caller)
        return await call.run()

    async def _run_compared(self, call: Call, seen: Seen, caller: Caller) -> None:
        """The call of an exchange that others go on from, once it is over: a copy, a judge."""
        answered = False
        try:
            await call.run()
            answered = True
        finally:
            judged = answered and seen.exchange.judged
            if seen.exchange.mirrored and not caller.gone:
                self.mirrors.copy(seen, partial(self.judges.compare, seen) if judged else None)
            elif judged and not seen.exchange.mirrored:
                self.judges.judge(seen)

    def view(self, exchange: Exchange, caller: Caller, render: View) -> Coroutine[Any, Any, None]:
        """Answer from what the gateway knows, without a model."""

        async def serve(exchange: Exchange, caller: Caller, outcome: Outcome) -> None:
            world = self._world()
            principal = self._identify(exchange, caller, world)
            outcome.headers, outcome.body = json_headers(exchange), render(world, principal)
            outcome.bytes_out = len(outcome.body)
            exchange.status = 200

        return self._end_in_one_event(exchange, caller, serve)

    def reject(self, exchange: Exchange, caller: Caller, error: PodiumError) -> None:
        """End an exchange that no endpoint takes."""
        exchange.fail(error)
        self._land(exchange, caller, Outcome())

    async def _end_in_one_event(self, exchange: Exchange, caller: Caller, serve: _Serve) -> None:
        self.in_flight += 1
        outcome = Outcome()
        try:
            await serve(exchange, caller, outcome)
        except PodiumError as error:
            exchange.fail(error)
        except asyncio.CancelledError:
            exchange.fail(_interrupted(caller))
        except Exception:  # the exchange's boundary: a bug of ours is logged, recorded and answered
            log.exception("exchange_failed", request_id=exchange.request_id)
            exchange.fail(InternalError("Podium failed. The request id helps to find out why."))
        try:
            counting = settle(exchange, outcome)
            if counting is not None:
                await counting
        finally:
            self.admitter.end(exchange, outcome)
            self.in_flight -= 1
            self._land(exchange, caller, outcome)
            if self._landed is not None and not self.in_flight and not self._landed.done():
                self._landed.set_result(None)

    async def all_landed(self, timeout_s: float) -> None:
        """Wait until no exchange runs, at most `timeout_s`: also those whose callers are gone have to be recorded."""
        if self.in_flight:
            self._landed = self._loop.create_future()
            await asyncio.wait([self._landed], timeout=timeout_s)

    def _world(self) -> World:
        world = self._worlds.current
        if world is None:
            hint = "No snapshot yet: does `podium control` run?"
            raise Unavailable("Podium is starting.", retry_after_s=1.0, hint=hint)
        if not self._journal.accepting:
            raise Unavailable(
                "Podium cannot record exchanges right now.",
                reason=Reason.JOURNAL_UNAVAILABLE,
                retry_after_s=5.0,
                hint="Is the disk of the data folder full?",
            )
        return world

    def _identify(self, exchange: Exchange, caller: Caller, world: World) -> Principal:
        authorization = caller.headers.get(b"authorization") or _api_key(caller)
        unix_s = exchange.started_unix_ns / 1e9
        principal = stages.identify(exchange, authorization, world, pepper=self._pepper, unix_s=unix_s)
        stages.permit_endpoint(principal, exchange.endpoint)
        return principal

    def _land(self, exchange: Exchange, caller: Caller, outcome: Outcome) -> None:
        """Record, then give the caller the last byte."""
        event = exchange.to_event(
            gateway=self._settings.name, bytes_out=outcome.bytes_out, ended_at_ns=self._clock.monotonic_ns()
        )
        landing = Landing(exchange, caller, outcome, event, self._sinks)
        if exchange.key_id and exchange.reason is not Reason.JOURNAL_UNAVAILABLE:
            landing.record(self._journal)
        else:
            landing(None)  # an exchange of nobody costs nobody anything: it is counted, not kept


def _api_key(caller: Caller) -> bytes | None:
    """The key of callers who send it Anthropic's way, as if it had come in the usual one."""
    key = caller.headers.get(b"x-api-key")
    return None if key is None else b"Bearer " + key


def _interrupted(caller: Caller) -> PodiumError:
    if caller.gone:
        return ClientGone("The caller closed the connection.")
    return Unavailable("Podium is shutting down.", reason=Reason.DRAINING, retry_after_s=1.0)
