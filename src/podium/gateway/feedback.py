"""Feedback of users on answers: who may give it, on which exchange, and its record in the journal.

Giving feedback is no exchange with a model: it costs nobody anything, and has no event. It is durable in the journal,
as exchanges are, before it is answered. The ledger resolves it to its exchange and counts it once.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

import msgspec

from podium.core.clock import Clock
from podium.core.errors import Forbidden, NotFound, PodiumError, RateLimited, Unavailable
from podium.core.event import AnswerFlag, Event
from podium.core.exchange import Exchange
from podium.core.ids import event_id
from podium.core.limits import Limit, LimitPolicy
from podium.core.reasons import Reason
from podium.core.recent import Recent
from podium.core.records import FeedbackRecord, encode_opinion
from podium.delivery.analysis.opinions import Feedback, check
from podium.gateway import stages
from podium.gateway.flight import Worlds
from podium.gateway.ports import Journal
from podium.gateway.world import Principal
from podium.traffic.limiting.buckets import Refusal
from podium.traffic.limiting.limiter import Limiter
from podium.traffic.limiting.policies import Dimensions, LimitTable

__all__ = ["ENDPOINT", "ExchangeAsker", "FeedbackDesk", "Giver"]

ENDPOINT = "feedback"
_CALLS = ("chat.completions", "completions", "embeddings", "messages")  # who may call may say how it was
_MODEL_CALLS = frozenset(_CALLS)
_MOST_RECENT = 20_000  # exchanges that are known here; some 6 MB
_CHARGE = (1, 0, 0, 0, 0)
_NOT_THERE = "No exchange of yours has this request id."
_MIRRORED = int(AnswerFlag.MIRRORED)


class ExchangeAsker(Protocol):
    """Who knows exchanges that this gateway does not."""

    async def known(self, tenant: str, request_id: str) -> bool | None:
        """Whether a tenant has an exchange of this request id; None: nobody can tell now. Bounded in time."""


class Giver(msgspec.Struct, frozen=True):
    """Who gives feedback."""

    tenant: str
    key_id: str


class FeedbackDesk:
    """One object a gateway process; hears of its exchanges (podium.gateway.ports.EventSink).

    `asker` None: nobody else knows exchanges.
    """

    def __init__(
        self,
        worlds: Worlds,
        journal: Journal,
        clock: Clock,
        *,
        pepper: bytes,
        requests_per_s: int,
        subjects: int,
        asker: ExchangeAsker | None = None,
    ) -> None:
        self._worlds = worlds
        self._journal = journal
        self._clock = clock
        self._pepper = pepper
        self._asker = asker
        self._ended: Recent[tuple[str, str], bytes] = Recent(_MOST_RECENT)
        self._ends: Counter[tuple[str, ...]] = Counter()
        limit = Limit(what="requests", amount=requests_per_s, window_s=1)
        self._limits = LimitTable({"feedback": LimitPolicy(per=("key",), limits=(limit,))})
        self._limiter = Limiter(max_entries=subjects)

    def counts(self) -> Mapping[tuple[str, ...], float]:
        """How it ended: `taken`, `unchecked` (taken, though nobody could tell the exchange), `not_found`, `refused`."""
        return dict(self._ends)

    def observe(self, event: Event) -> None:
        """Take note of an exchange that feedback may be about."""
        if event.endpoint in _MODEL_CALLS and event.key_id and not event.answer_flags & _MIRRORED:
            self._ended.put((event.tenant, event.request_id), event.id)

    def giver(self, authorization: bytes | None) -> Giver:
        """Who asks, and may. Unauthenticated, Forbidden, RateLimited; Unavailable: too early, or the disk is full."""
        try:
            return self._giver(authorization)
        except PodiumError:
            self._ends["refused",] += 1
            raise

    def _giver(self, authorization: bytes | None) -> Giver:
        world = self._worlds.current
        if world is None:
            raise Unavailable("Podium is starting.", retry_after_s=1.0)
        unix_ns, now_ns = self._clock.unix_ns(), self._clock.monotonic_ns()
        nobody = Exchange(ENDPOINT, request_id="", started_unix_ns=unix_ns, started_at_ns=now_ns)
        principal = stages.identify(nobody, authorization, world, pepper=self._pepper, unix_s=unix_ns / 1e9)
        _permit(principal)
        taken = self._limiter.acquire(self._limits.buckets(Dimensions(key=principal.entry.id)), _CHARGE, now_ns)
        if isinstance(taken, Refusal):
            raise RateLimited(taken.message, reason=taken.reason, retry_after_s=taken.retry_after_s)
        self._limiter.settle(taken, _CHARGE, now_ns)
        if not self._journal.accepting:
            raise _unrecorded()
        return Giver(principal.entry.tenant, principal.entry.id)

    async def take(self, giver: Giver, feedback: Feedback) -> bool:
        """Record it; whether it is certain that there is such an exchange.

        InvalidRequest: it says nothing. NotFound: the tenant has no such exchange. Unavailable: it cannot be recorded.
        """
        try:
            certain = await self._take(giver, feedback)
        except NotFound:
            self._ends["not_found",] += 1
            raise
        except PodiumError:
            self._ends["refused",] += 1
            raise
        self._ends["taken" if certain else "unchecked",] += 1
        return certain

    async def _take(self, giver: Giver, feedback: Feedback) -> bool:
        check(feedback)
        exchange_id = self._ended.get((giver.tenant, feedback.request_id))
        known: bool | None = True
        if exchange_id is None:
            known = None if self._asker is None else await self._asker.known(giver.tenant, feedback.request_id)
        if known is False:
            raise NotFound(
                _NOT_THERE,
                reason=Reason.EXCHANGE_NOT_FOUND,
                parameter="request_id",
                hint="It is the answer's `x-request-id`; an exchange is known a few seconds after its end.",
            )
        await self._write(self._record(giver, feedback, exchange_id or b""))
        return known is True

    def _record(self, giver: Giver, said: Feedback, exchange_id: bytes) -> bytes:
        unix_ns = self._clock.unix_ns()
        return encode_opinion(
            FeedbackRecord(
                id=event_id(unix_ns),
                given_unix_s=unix_ns / 1e9,
                tenant=giver.tenant,
                key_id=giver.key_id,
                request_id=said.request_id,
                exchange_id=exchange_id,
                user=said.user or "",
                thumbs=None if said.thumbs is None else float(said.thumbs == "up"),
                score=said.score,
                task_done=None if said.task_done is None else float(said.task_done),
                comment=said.comment,
            )
        )

    async def _write(self, record: bytes) -> None:
        written: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()

        def note(failure: OSError | None) -> None:
            if not written.done():
                written.set_result(failure)

        self._journal.append(record, note)
        if await written is not None:
            raise _unrecorded()


def _permit(principal: Principal) -> None:
    reason = Reason.ENDPOINT_NOT_ALLOWED
    for endpoint in (ENDPOINT, *_CALLS):
        reason = principal.permissions.permit(endpoint, "")
        if reason is Reason.OK:
            return
    if reason is Reason.TENANT_SUSPENDED:
        raise Forbidden("The tenant of this API key is suspended.", reason=reason)
    raise Forbidden("This API key may not give feedback.", reason=reason)


def _unrecorded() -> Unavailable:
    return Unavailable("Podium cannot record feedback right now.", reason=Reason.JOURNAL_UNAVAILABLE, retry_after_s=5.0)
