"""How limits and budgets stand, for operators: asked of the store that gateways share, or of each gateway."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from podium.control.budget_repair import budgets_of
from podium.control.ports import KeyStore, Ledger, ResourceStore
from podium.core.clock import Clock
from podium.core.errors import InvalidRequest, NotFound, PodiumError
from podium.core.limits import LimitPolicy
from podium.core.resources import Resource, Tenant
from podium.core.standings import LimitRefusal, LimitStanding, Standings, StandingsQuery
from podium.core.tags import merge_tags, parse_tags
from podium.economics.budgets import values as budgeting
from podium.economics.budgets.rules import BudgetTable, Payer
from podium.economics.budgets.store import BudgetStore
from podium.economics.budgets.views import budget_standing
from podium.traffic.limiting import buckets as limiting
from podium.traffic.limiting.policies import Dimensions, LimitTable
from podium.traffic.limiting.views import limit_standings

__all__ = ["GatewayAsker", "RefusedExchange", "SharedStandings", "StandingsReport", "StandingsUse", "Subject"]

_PAGE = 200
_REFUSED_WITHIN_S = 3600.0  # read by time, so that it needs no index: an hour of exchanges is what it costs
_SHARED = "shared"


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Whose standings an operator asks for."""

    key: str = ""
    tenant: str = ""
    user: str = ""
    model: str = ""
    ip: str = ""
    tags: str = ""


class RefusedExchange(msgspec.Struct, frozen=True, kw_only=True):
    """The last exchange of a key that a limit or a budget refused."""

    request_id: str
    started_unix_s: float
    status: int
    reason: str
    model: str


class StandingsReport(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands in each place that was asked."""

    asked: Annotated[StandingsQuery, Meta(description="Whose standings these are; the key's own values filled in.")]
    places: tuple[Standings, ...]
    last_refused: Annotated[
        RefusedExchange | None, Meta(description="Of the key, within the last hour and in the ledger; null: none.")
    ]


class SharedLimits(Protocol):
    """Limits in a store."""

    async def look(self, bucket: limiting.Bucket) -> limiting.Standing:
        """How a bucket stands now; Unavailable."""


@dataclass(frozen=True, slots=True)
class SharedStandings:
    """The store that gateways share."""

    limits: SharedLimits
    budgets: BudgetStore


class GatewayAsker(Protocol):
    """Who can ask the gateways."""

    async def ask(self, query: StandingsQuery, presented: str) -> tuple[Standings, ...]:
        """The answer of each known gateway, or why it gave none; with the operator's key. Bounded in time."""


class StandingsUse:
    """The use case."""

    def __init__(
        self,
        keys: KeyStore,
        resources: ResourceStore,
        ledger: Ledger,
        clock: Clock,
        *,
        gateways: GatewayAsker | None,
        shared: SharedStandings | None,
    ) -> None:
        self._keys = keys
        self._resources = resources
        self._ledger = ledger
        self._clock = clock
        self._gateways = gateways
        self._shared = shared

    async def limits(self, subject: Subject, presented: str) -> StandingsReport:
        """The limits of a request of this subject. NotFound: there is no such key."""
        _, declared = await self._resources.current()
        query = msgspec.structs.replace(await self._query(subject, declared), budgets=False)
        told = await self._ask(query, presented)
        if self._shared is not None:
            table = LimitTable({one.name: one.spec for one in declared if isinstance(one.spec, LimitPolicy)})
            told = (await self._shared_limits(self._shared, table, query, told),)
        return StandingsReport(asked=query, places=told, last_refused=await self._last_refused(query.key))

    async def budgets(self, subject: Subject, budget: str, most: int, presented: str) -> StandingsReport:
        """The budgets of a request of this subject; or, with `budget` (`*`: each), all of its accounts."""
        _, declared = await self._resources.current()
        known = budgets_of(declared)
        if budget not in ("", "*") and budget not in known:
            raise NotFound(f"there is no budget `{budget}`")
        query = await self._query(subject, declared)
        query = msgspec.structs.replace(query, limits=False, budget=budget, most=most)
        if self._shared is None:
            told = await self._ask(query, presented)
        else:
            told = (await self._shared_budgets(self._shared, BudgetTable(known), query),)
        return StandingsReport(asked=query, places=told, last_refused=await self._last_refused(query.key))

    async def _query(self, subject: Subject, declared: Sequence[Resource]) -> StandingsQuery:
        tenant, tags, tier = subject.tenant, subject.tags, ""
        for name, value in msgspec.structs.asdict(subject).items():
            if "\0" in value:
                raise InvalidRequest(f"`{name}` holds a NUL", parameter=name)
        try:
            if subject.key:
                record = await self._keys.find(subject.key)
                if record is None:
                    raise NotFound(f"there is no key `{subject.key}`", hint="`podium keys list` shows their ids")
                tenant, tier = record.entry.tenant, record.entry.tier
                tags = merge_tags(record.entry.tags, tags)
            parse_tags(tags)
        except ValueError as error:
            raise InvalidRequest(f"`tags`: {error}", parameter="tags") from None
        tenants = {one.name: one.spec for one in declared if isinstance(one.spec, Tenant)}
        if not tier and tenant in tenants:
            tier = tenants[tenant].tier
        try:
            return msgspec.convert(
                {**msgspec.structs.asdict(subject), "tenant": tenant, "tags": tags, "tier": tier}, StandingsQuery
            )
        except msgspec.ValidationError as error:
            raise InvalidRequest(str(error)) from None

    async def _ask(self, query: StandingsQuery, presented: str) -> tuple[Standings, ...]:
        return () if self._gateways is None else await self._gateways.ask(query, presented)

    async def _shared_limits(
        self, shared: SharedStandings, table: LimitTable, query: StandingsQuery, told: Sequence[Standings]
    ) -> Standings:
        """As the store has it, with the last refusals that gateways remember."""
        dimensions = Dimensions(query.key, query.user, query.tenant, query.model, query.ip, query.tier)
        buckets = table.buckets(dimensions)
        try:
            found = await asyncio.gather(*(shared.limits.look(bucket) for bucket in buckets))
        except PodiumError as error:
            return Standings(place=_SHARED, error=error.message)
        standings = {bucket.key: standing for bucket, standing in zip(buckets, found, strict=True)}
        limits = limit_standings(table, lambda bucket: (standings[bucket.key], None), dimensions)
        return Standings(place=_SHARED, limits=tuple(_with_refusal(limit, told) for limit in limits))

    async def _shared_budgets(self, shared: SharedStandings, table: BudgetTable, query: StandingsQuery) -> Standings:
        store, unix_ns = shared.budgets, self._clock.unix_ns()
        try:
            if query.budget:
                accounts = await _accounts(store, query)
            else:
                tags = tuple(parse_tags(query.tags).items())
                payer = Payer(query.tenant, query.key, query.user, query.model, tags)
                accounts = await store.standing(table.charges(payer, unix_ns), unix_ns)
        except PodiumError as error:
            return Standings(place=_SHARED, error=error.message)
        return Standings(place=_SHARED, budgets=tuple(budget_standing(account, unix_ns) for account in accounts))

    async def _last_refused(self, key_id: str) -> RefusedExchange | None:
        if not key_id:
            return None
        since_ns = self._clock.unix_ns() - int(_REFUSED_WITHIN_S * 1e9)
        event = await self._ledger.last_refusal(key_id, since_ns)
        if event is None:
            return None
        return RefusedExchange(
            request_id=event.request_id,
            started_unix_s=event.started_unix_ns / 1e9,
            status=event.status,
            reason=event.reason,
            model=event.model,
        )


async def _accounts(store: BudgetStore, query: StandingsQuery) -> Sequence[budgeting.Standing]:
    prefix = after = "" if query.budget == "*" else f"{query.budget}|"
    found: list[budgeting.Standing] = []
    while len(found) < query.most and (page := await store.accounts(after, _PAGE)):
        after = page[-1].charge.key
        found += [one for one in page if one.charge.key.startswith(prefix)]
        if not after.startswith(prefix):
            break
    return found[: query.most]


def _with_refusal(limit: LimitStanding, told: Sequence[Standings]) -> LimitStanding:
    refusals: list[LimitRefusal] = [
        other.last_refusal
        for place in told
        for other in place.limits
        if (other.policy, other.limit) == (limit.policy, limit.limit) and other.last_refusal is not None
    ]
    last = min(refusals, key=lambda one: one.ago_s, default=None)
    return msgspec.structs.replace(limit, last_refusal=last)
