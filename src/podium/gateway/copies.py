"""Exchanges that no caller waits for: copies for other versions, and what a judge is asked.

Each is an exchange of its own, recorded under the caller's tenant and request id, without a key, and marked. It takes
nothing from limits and budgets.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import random
from types import MappingProxyType

import structlog

from podium.core.clock import Clock
from podium.core.errors import InternalError, PodiumError, Unavailable
from podium.core.event import AnswerFlag
from podium.core.exchange import Exchange
from podium.core.reasons import Reason
from podium.gateway.call import Call
from podium.gateway.faces import Face, Request
from podium.gateway.landing import Landing, Outcome
from podium.gateway.pool import Pool
from podium.gateway.ports import EventSink, Headers, Journal
from podium.gateway.settle import settle
from podium.gateway.world import World
from podium.wire.answer_facts import messages_facts, openai_facts, streamed_text

__all__ = ["Copies", "Seen", "answer_text"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """A caller's exchange whose call is over, for those who go on from it."""

    exchange: Exchange
    headers: Mapping[bytes, bytes]  # of its caller
    face: Face
    request: Request
    body: bytes
    world: World
    outcome: Outcome


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


class Copies:
    """Makes and records them, one at a time for who asks; `mirror` and `judging` own the tasks."""

    def __init__(self, *, gateway: str, journal: Journal, sinks: tuple[EventSink, ...], clock: Clock) -> None:
        self.journal = journal
        self.clock = clock
        self._gateway = gateway
        self._sinks = sinks

    def like(self, exchange: Exchange, *, arm: str) -> Exchange:
        """A new exchange for the same request. `arm` empty: it is not compared."""
        copied = self.beside(exchange, exchange.endpoint, exchange.model)
        copied.user = exchange.user
        copied.stream = exchange.stream
        copied.timeout_s = exchange.timeout_s
        copied.bytes_in = exchange.bytes_in
        copied.arm = arm
        copied.subject = exchange.subject
        return copied

    def beside(self, exchange: Exchange, endpoint: str, model: str) -> Exchange:
        """A new exchange with a model, because of this one."""
        made = Exchange(
            endpoint,
            request_id=exchange.request_id,
            started_unix_ns=self.clock.unix_ns(),
            started_at_ns=self.clock.monotonic_ns(),
        )
        made.tenant = exchange.tenant
        made.tags = exchange.tags
        made.model = model
        made.rollout = exchange.rollout
        made.answer_flags = int(AnswerFlag.MIRRORED)
        made.admitted_at_ns = made.started_at_ns
        return made

    async def run(
        self,
        exchange: Exchange,
        headers: Mapping[bytes, bytes],
        face: Face,
        request: Request,
        body: bytes,
        world: World,
        pool: Pool,
    ) -> Outcome:
        """Call and record, whatever happens; errors are the exchange's. `headers`: as a caller would have sent them."""
        exchange.version = pool.label
        outcome, loop = Outcome(), asyncio.get_running_loop()
        nobody = _Nobody(MappingProxyType(dict(headers)))
        try:
            await Call(exchange, nobody, face, request, body, world, pool, outcome, self.clock, loop, random).run()
        except PodiumError as error:
            exchange.fail(error)
        except asyncio.CancelledError:
            exchange.fail(Unavailable("Podium is shutting down.", reason=Reason.DRAINING))
        except Exception:  # the copy's boundary: a bug of ours is logged and recorded
            log.exception("copy_failed", request_id=exchange.request_id)
            exchange.fail(InternalError("Podium failed."))
        counting = settle(exchange, outcome)
        if counting is not None:
            await counting
        ended_ns = self.clock.monotonic_ns()
        event = exchange.to_event(gateway=self._gateway, bytes_out=outcome.bytes_out, ended_at_ns=ended_ns)
        Landing(exchange, nobody, outcome, event, self._sinks).record(self.journal)
        return outcome


def answer_text(exchange: Exchange, outcome: Outcome) -> str | None:
    """What the exchange's own version answered in words; None: it did not, or with calls of tools, or at length."""
    elsewhere = outcome.fixed or exchange.fallbacks or exchange.served_model not in ("", exchange.model)
    if exchange.error is not None or elsewhere or exchange.endpoint == "embeddings":
        return None
    if exchange.stream:
        return None if outcome.events is None else streamed_text(outcome.events)
    facts = messages_facts(outcome.body) if exchange.endpoint == "messages" else openai_facts(outcome.body)
    return None if facts is None or facts.calls else facts.text
