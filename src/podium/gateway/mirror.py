"""Copies of exchanges for a candidate that nobody sees yet: called beside the traffic, compared, never shown.

A copy is made once the caller's own exchange is over, so it neither delays nor fails it. It is an exchange of its own,
recorded under the caller's tenant and request id and without a key; it takes nothing from limits and budgets.
"""

import asyncio
from collections.abc import Callable, Mapping
from random import random
from types import MappingProxyType

import structlog

from podium.core.clock import Clock
from podium.core.errors import InternalError, PodiumError, Unavailable
from podium.core.event import AnswerFlag
from podium.core.exchange import Exchange
from podium.core.reasons import Reason
from podium.delivery.buckets import CANDIDATE
from podium.gateway.call import Call
from podium.gateway.faces import Face, Request
from podium.gateway.landing import Landing, Outcome
from podium.gateway.pool import Pool
from podium.gateway.ports import Caller, EventSink, Headers, Journal
from podium.gateway.settle import settle
from podium.gateway.world import World

__all__ = ["MOST_COPIES", "Mirrors"]

log = structlog.get_logger(__name__)

MOST_COPIES = 32  # at once, of one gateway process; with their requests they are held in memory


class _Nobody:
    """A caller who is not there (podium.gateway.ports.Caller): takes everything, keeps nothing."""

    gone = False
    address = ""
    body = b""

    def __init__(self, headers: Mapping[bytes, bytes]) -> None:
        self.headers = headers

    async def read_body(self) -> bytes:
        return self.body

    def send(self, status: int, headers: Headers, body: bytes) -> None:
        """Nothing."""

    def start(self, status: int, headers: Headers) -> None:
        """Nothing."""

    def write(self, data: bytes) -> bool:  # noqa: ARG002 - of a caller
        return True

    def finish(self, data: bytes = b"") -> None:
        """Nothing."""

    def on_room(self, callback: Callable[[], None]) -> None:
        """Nothing: there always is room."""


class Mirrors:
    """Makes and owns the copies of one gateway process."""

    def __init__(self, *, gateway: str, journal: Journal, sinks: tuple[EventSink, ...], clock: Clock) -> None:
        self._gateway = gateway
        self._journal = journal
        self._sinks = sinks
        self._clock = clock
        self._copies: set[asyncio.Task[None]] = set()
        self._counts = {"made": 0, "dropped": 0}

    def counts(self) -> Mapping[tuple[str, ...], float]:
        """Copies that were made, and those that would have been too many at once."""
        return {(outcome,): count for outcome, count in self._counts.items()}

    def copy(self, exchange: Exchange, caller: Caller, face: Face, request: Request, body: bytes, world: World) -> None:
        """Begin a copy of an exchange whose call is over, if there is room."""
        rollout = world.rollouts.get(exchange.model)
        pool = None if rollout is None else rollout.mirror()
        if pool is None:
            return
        if len(self._copies) >= MOST_COPIES:
            self._counts["dropped"] += 1
            return
        self._counts["made"] += 1
        copied = self._copied(exchange)
        nobody = _Nobody(MappingProxyType(dict(caller.headers)))
        run = self._run(copied, nobody, face, request, body, world, pool)
        task = asyncio.get_running_loop().create_task(run, name=f"copy for rollout {exchange.rollout}")
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def close(self, timeout_s: float) -> None:
        """Break off what runs, and record it."""
        for task in self._copies:
            task.cancel()
        if self._copies:
            await asyncio.wait(self._copies, timeout=timeout_s)

    def _copied(self, exchange: Exchange) -> Exchange:
        copied = Exchange(
            exchange.endpoint,
            request_id=exchange.request_id,
            started_unix_ns=self._clock.unix_ns(),
            started_at_ns=self._clock.monotonic_ns(),
        )
        copied.tenant = exchange.tenant
        copied.user = exchange.user
        copied.tags = exchange.tags
        copied.model = exchange.model
        copied.stream = exchange.stream
        copied.timeout_s = exchange.timeout_s
        copied.bytes_in = exchange.bytes_in
        copied.rollout = exchange.rollout
        copied.arm = CANDIDATE
        copied.subject = exchange.subject
        copied.answer_flags = int(AnswerFlag.MIRRORED)
        copied.admitted_at_ns = copied.started_at_ns
        return copied

    async def _run(
        self, copied: Exchange, nobody: _Nobody, face: Face, request: Request, body: bytes, world: World, pool: Pool
    ) -> None:
        copied.version = pool.label
        outcome, loop = Outcome(), asyncio.get_running_loop()
        try:
            await Call(copied, nobody, face, request, body, world, pool, outcome, self._clock, loop, random).run()
        except PodiumError as error:
            copied.fail(error)
        except asyncio.CancelledError:
            copied.fail(Unavailable("Podium is shutting down.", reason=Reason.DRAINING))
        except Exception:  # the copy's boundary: a bug of ours is logged and recorded
            log.exception("copy_failed", request_id=copied.request_id)
            copied.fail(InternalError("Podium failed."))
        counting = settle(copied, outcome)
        if counting is not None:
            await counting
        ended_ns = self._clock.monotonic_ns()
        event = copied.to_event(gateway=self._gateway, bytes_out=outcome.bytes_out, ended_at_ns=ended_ns)
        Landing(copied, nobody, outcome, event, self._sinks).record(self._journal)
