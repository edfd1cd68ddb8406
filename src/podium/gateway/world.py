"""A snapshot, compiled into what an exchange looks up. Immutable but for its caches; swapped whole."""

import copy
import math
from collections.abc import Generator, Iterator, Mapping

from podium.core.recent import Recent
from podium.core.resources import BackendSpec, Model
from podium.core.rollouts import ACTIVE_PHASES
from podium.core.snapshot import KeyEntry, Snapshot
from podium.delivery.choose import choose_version, choosers_of, versions_in
from podium.delivery.flags.flagset import FlagSet
from podium.economics.budgets.estimate import DearestPrice
from podium.economics.budgets.rules import BudgetTable
from podium.economics.price import PriceTable
from podium.gateway.bursts import Bursts
from podium.gateway.fleet import Fleet
from podium.gateway.pool import Backend, Pool, pool_label
from podium.gateway.ports import Upstream, UpstreamFactory
from podium.gateway.rollouts import RolloutPools
from podium.identity.permit import CompiledKey
from podium.traffic.limiting.buckets import Bucket
from podium.traffic.limiting.policies import Dimensions, LimitTable

__all__ = ["Principal", "World"]

_MAX_PRINCIPALS = 50_000
_MAX_PROVEN = 10_000
_MAX_PERMITTED = 32  # of one key
_DECLARED_AS = {"messages": "chat.completions"}


class Principal:
    """Who calls: a key with what it may do and how much."""

    __slots__ = ("buckets", "endpoints", "entry", "permissions", "permitted", "tier")

    def __init__(
        self, entry: KeyEntry, permissions: CompiledKey, tier: str, buckets: tuple[Bucket, ...] | None
    ) -> None:
        self.entry = entry
        self.permissions = permissions
        self.tier = tier
        self.buckets = buckets  # of its limits; None: they depend on the request
        self.endpoints: set[str] = set()  # that it was found to be permitted
        self.permitted: dict[tuple[str, str], str] = {}  # endpoints and names of models -> their own names

    def permit(self, endpoint: str, asked: str, model: str) -> None:
        """Remember that it may use this model under this name."""
        if len(self.permitted) >= _MAX_PERMITTED:
            self.permitted.pop(next(iter(self.permitted)))
        self.permitted[endpoint, asked] = model


class World:
    """Everything that a gateway knows at one revision."""

    def __init__(self, snapshot: Snapshot, upstreams: UpstreamFactory, fleet: Fleet, now_ns: int) -> None:
        for _ in self._make(snapshot, upstreams, fleet, now_ns):
            pass

    @classmethod
    def made(
        cls, snapshot: Snapshot, upstreams: UpstreamFactory, fleet: Fleet, now_ns: int
    ) -> Generator[None, None, "World"]:
        """Yields now and then, so that others have a turn while thousands of models are compiled; returns the world."""
        world = cls.__new__(cls)
        yield from world._make(snapshot, upstreams, fleet, now_ns)
        return world

    def with_keys_of(self, snapshot: Snapshot) -> "World":
        """This world with other keys, at once. Everything else that is declared is the same in both snapshots."""
        world = copy.copy(self)
        world._know(snapshot)  # noqa: SLF001 - its own
        return world

    def _know(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._principals: Recent[str, Principal] = Recent(_MAX_PRINCIPALS)
        self._proven: Recent[bytes, tuple[Principal, float]] = Recent(_MAX_PROVEN)

    def _make(self, snapshot: Snapshot, upstreams: UpstreamFactory, fleet: Fleet, now_ns: int) -> Iterator[None]:
        self._know(snapshot)
        self.limits = LimitTable(snapshot.limit_policies)
        self.budgets = BudgetTable(snapshot.budgets)
        self.flags = FlagSet(snapshot.flags)
        self._dearest: dict[str, DearestPrice] = {}
        self._names = {name: name for name in snapshot.models}
        self._names |= {alias: name for name, model in snapshot.models.items() for alias in model.aliases}
        compiler = _Compiler(snapshot, upstreams, fleet, now_ns)
        others = {place: compiler.pool(*place) for place in dict.fromkeys(_other_versions(snapshot))}
        # A model's own version comes last: what it has in common with others is as it says.
        self._pools: dict[str, Pool | None] = {}
        for name, model in snapshot.models.items():
            self._pools[name] = compiler.pool(name, choose_version(model)[0])
            yield
        self.rollouts = self._rollouts(others, fleet.bursts)
        self.fallback_rules = {
            name: pool.fallbacks for name, pool in self._pools.items() if pool is not None and pool.fallbacks
        }

    def _rollouts(self, others: Mapping[tuple[str, str], Pool | None], bursts: Bursts) -> dict[str, RolloutPools]:
        """What moves models between versions now, by model."""
        models = self.snapshot.models
        rollouts = {name: one for name, one in self.snapshot.rollouts.items() if one.model in models}
        choosers = choosers_of(rollouts, self.snapshot.progress)
        found = bursts.follow(choosers.values())
        moved = {}
        for model, chooser in choosers.items():
            own = {models[model].version: self._pools[model]}
            pools = {one: own[one] if one in own else others.get((model, one)) for one in chooser.versions}
            moved[model] = RolloutPools(chooser, pools, found, self.flags)
        return moved

    def key(self, key_id: str) -> KeyEntry | None:
        """The key with this public id."""
        principal = self._principals.get(key_id)
        return self.snapshot.keys.find(key_id) if principal is None else principal.entry

    def remembered(self, authorization: bytes, unix_s: float) -> Principal | None:
        """Who proved themselves with exactly this header in this world; None when that is not known (any more).

        Saves hashing on every exchange. The headers stay in memory as long as the snapshot does.
        """
        proven = self._proven.get(authorization)
        return proven[0] if proven is not None and unix_s < proven[1] else None

    def remember(self, authorization: bytes, principal: Principal) -> None:
        """Keep a proof until the first moment at which anything about the key expires."""
        entry = principal.entry
        ends = [entry.expires_unix_s, *(secret.expires_unix_s for secret in entry.secrets)]
        until_unix_s = min((end for end in ends if end is not None), default=math.inf)
        self._proven.put(authorization, (principal, until_unix_s))

    def principal(self, entry: KeyEntry) -> Principal:
        """The key's permissions and limits, compiled at its first use."""
        principal = self._principals.get(entry.id)
        if principal is None:
            tenant = self.snapshot.tenants.get(entry.tenant)
            permissions = CompiledKey(entry, tenant)
            tier = entry.tier or (tenant.tier if tenant is not None else "")
            buckets = None
            if not self.limits.asks_requests:
                buckets = self.limits.buckets(Dimensions(key=entry.id, tenant=entry.tenant, tier=tier))
            principal = Principal(entry, permissions, tier, buckets)
            self._principals.put(entry.id, principal)
        return principal

    def model(self, name: str) -> tuple[str, Model] | None:
        """The model with this public name or alias, and its own name."""
        own = self._names.get(name)
        return None if own is None else (own, self.snapshot.models[own])

    def serves(self, model: str, endpoint: str) -> bool:
        """Whether a model is declared for an endpoint; Messages are chats."""
        return _DECLARED_AS.get(endpoint, endpoint) in self.snapshot.models[model].endpoints

    @property
    def models(self) -> Mapping[str, Model]:
        """All models by their own names."""
        return self.snapshot.models

    def dearest_price(self, model: str) -> DearestPrice:
        """The most that tokens of a model may cost, wherever it or what it falls back to runs."""
        found = self._dearest.get(model)
        if found is None:
            names = (model, *(rule.model for rule in self.fallback_rules.get(model, ())))
            pools = [pool for name in names if (pool := self._pools.get(name)) is not None]
            pools += [pool for name in names if name in self.rollouts for pool in self.rollouts[name].pools.values()]
            found = DearestPrice(backend.price for pool in pools for backend in pool.backends)
            self._dearest[model] = found
        return found

    def pool(self, model: str) -> Pool | None:
        """The pool of the version that serves a model; None when it names none."""
        return self._pools.get(model)

    def pools(self) -> Mapping[str, Pool]:
        """All pools by their models."""
        return {name: pool for name, pool in self._pools.items() if pool is not None}

    def every_pool(self) -> Mapping[str, Pool]:
        """The same, and those of other versions that take part in rollouts, as `model version`."""
        others = {
            f"{model} {version}": pool
            for model, rollout in self.rollouts.items()
            for version, pool in rollout.pools.items()
            if pool is not self._pools[model]
        }
        return {**self.pools(), **others}

    def upstreams(self) -> list[Upstream]:
        """Every upstream that a version in use names."""
        pools = [*self.pools().values(), *(pool for one in self.rollouts.values() for pool in one.pools.values())]
        return list(dict.fromkeys(backend.upstream for pool in pools for backend in pool.backends))


def _other_versions(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Versions beside their models' own that take part in rollouts, or are kept ready for the way back."""
    for name, rollout in snapshot.rollouts.items():
        progress, model = snapshot.progress.get(name), snapshot.models.get(rollout.model)
        if progress is None or model is None:
            continue
        warm = progress.phase == "promoted" and (
            snapshot.published_unix_s < progress.changed_unix_s + rollout.keep_warm_s
        )
        if warm or progress.phase in ACTIVE_PHASES:
            versions = versions_in(rollout, progress)
            yield from ((rollout.model, version) for version in versions if version != model.version)


class _Compiler:
    """Makes the pools of one snapshot."""

    def __init__(self, snapshot: Snapshot, upstreams: UpstreamFactory, fleet: Fleet, now_ns: int) -> None:
        self._snapshot = snapshot
        self._upstreams = upstreams
        self._fleet = fleet
        self._now_ns = now_ns
        self._prices = PriceTable(snapshot.prices)

    def pool(self, name: str, version_name: str) -> Pool | None:
        """The pool of a version of a model, which keeps its memory when the version becomes the model's own."""
        model = self._snapshot.models[name]
        version = self._snapshot.versions.get(version_name)
        if version is None:
            return None
        label = pool_label(version_name, version)
        made = (self._backend(name, model, label, spec) for spec in version.backends)
        backends = tuple(backend for backend in made if backend is not None)
        memory = self._fleet.memory(f"{name} {version_name}")
        queue = "" if version_name == choose_version(model)[0] else f"{name} {version_name}"
        return Pool(model, label, version, backends, self._fleet, memory, self._now_ns, queue=queue)

    def _backend(self, name: str, model: Model, label: str, spec: BackendSpec) -> Backend | None:
        """None when it cannot be called; the reason is in the log."""
        provider = self._snapshot.providers.get(spec.provider)
        upstream = self._upstreams.upstream(spec.provider, provider, spec.model) if provider is not None else None
        if provider is None or upstream is None:
            return None
        local = provider.protocol == "local"  # each of our workers stands for itself, and is watched
        account_name = f"{spec.provider}/{spec.model}" if local else spec.provider
        account = self._fleet.account(account_name, provider, self._now_ns)
        key = f"{name} {spec.provider}/{spec.model}"
        state = self._fleet.backend(key, account, None if local else model.failure.breaker, self._now_ns)
        price = self._prices.find(spec.provider, spec.model)
        state.timed = model.balancing.strategy == "response_time"
        load = state.load
        load.weight = spec.weight
        load.region = provider.region if spec.region is None else spec.region
        load.price = None if price is None else price.blended_nanousd
        return Backend(upstream, price, state, label)
