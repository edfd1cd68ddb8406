"""A snapshot, compiled into what an exchange looks up. Immutable but for its caches; swapped whole."""

import math
from collections.abc import Mapping

import msgspec

from podium.core.resources import BackendSpec, Model, Version
from podium.core.snapshot import KeyEntry, Snapshot
from podium.delivery.digest import version_digest
from podium.economics.price import CompiledPrice, PriceTable
from podium.gateway.ports import Upstream, UpstreamFactory
from podium.identity.permit import CompiledKey
from podium.traffic.balance import RoundRobin
from podium.traffic.rules import LimitRule, LimitTable
from podium.wire.openai import Change

__all__ = ["Backend", "Pool", "Principal", "World"]

_MAX_PRINCIPALS = 50_000
_MAX_PROVEN = 10_000


class Principal:
    """Who calls: a key with what it may do and how much."""

    __slots__ = ("entry", "permissions", "rules")

    def __init__(self, entry: KeyEntry, permissions: CompiledKey, rules: tuple[LimitRule, ...]) -> None:
        self.entry = entry
        self.permissions = permissions
        self.rules = rules


class Backend:
    """One callable place of a version, with what a call there costs and changes."""

    __slots__ = ("price", "upstream")

    def __init__(self, upstream: Upstream, price: CompiledPrice | None) -> None:
        self.upstream = upstream
        self.price = price


class Pool:
    """A version and the backends that serve it."""

    __slots__ = ("backends", "change", "changes", "label", "rotation")

    def __init__(self, name: str, version: Version, backends: tuple[Backend, ...]) -> None:
        self.label = f"{name}@{version_digest(version)}"
        self.backends = backends
        self.rotation = RoundRobin()
        self.change = Change(
            defaults={key: _raw(value) for key, value in version.parameters.items()},
            system_message=_raw({"role": "system", "content": version.system_prompt})
            if version.system_prompt
            else None,
        )
        self.changes = bool(self.change.defaults or self.change.system_message)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


class World:
    """Everything that a gateway knows at one revision."""

    def __init__(self, snapshot: Snapshot, upstreams: UpstreamFactory) -> None:
        self.snapshot = snapshot
        self._keys = {key.id: key for key in snapshot.keys}
        self._limits = LimitTable(snapshot.limit_policies)
        self._principals: dict[str, Principal] = {}
        self._proven: dict[bytes, tuple[Principal, float]] = {}
        self._names = {name: name for name in snapshot.models}
        self._names |= {alias: name for name, model in snapshot.models.items() for alias in model.aliases}
        prices = PriceTable(snapshot.prices)
        self._pools = {
            name: Pool(name, version, _backends(version.backends, snapshot, upstreams, prices))
            for name, version in snapshot.versions.items()
        }

    def key(self, key_id: str) -> KeyEntry | None:
        """The key with this public id."""
        return self._keys.get(key_id)

    def remembered(self, authorization: bytes, unix_s: float) -> Principal | None:
        """Who proved themselves with exactly this header in this world; None when that is not known (any more).

        Saves hashing on every exchange. The headers stay in memory as long as the snapshot does.
        """
        proven = self._proven.get(authorization)
        return proven[0] if proven is not None and unix_s < proven[1] else None

    def remember(self, authorization: bytes, principal: Principal) -> None:
        """Keep a proof until the first moment at which anything about the key expires."""
        if len(self._proven) >= _MAX_PROVEN:
            self._proven.pop(next(iter(self._proven)))
        entry = principal.entry
        ends = [entry.expires_unix_s, *(secret.expires_unix_s for secret in entry.secrets)]
        self._proven[authorization] = principal, min((end for end in ends if end is not None), default=math.inf)

    def principal(self, entry: KeyEntry) -> Principal:
        """The key's permissions and limits, compiled at its first use."""
        principal = self._principals.get(entry.id)
        if principal is None:
            permissions = CompiledKey(entry, self.snapshot.tenants.get(entry.tenant))
            rules = self._limits.rules(tenant=entry.tenant, key_id=entry.id)
            if len(self._principals) >= _MAX_PRINCIPALS:
                self._principals.pop(next(iter(self._principals)))
            principal = self._principals[entry.id] = Principal(entry, permissions, rules)
        return principal

    def model(self, name: str) -> tuple[str, Model] | None:
        """The model with this public name or alias, and its own name."""
        own = self._names.get(name)
        return None if own is None else (own, self.snapshot.models[own])

    @property
    def models(self) -> Mapping[str, Model]:
        """All models by their own names."""
        return self.snapshot.models

    def pool(self, version: str) -> Pool | None:
        """The version's pool."""
        return self._pools.get(version)

    def upstreams(self) -> list[Upstream]:
        """Every upstream that a version names."""
        return [backend.upstream for pool in self._pools.values() for backend in pool.backends]


def _backends(
    specs: tuple[BackendSpec, ...], snapshot: Snapshot, upstreams: UpstreamFactory, prices: PriceTable
) -> tuple[Backend, ...]:
    backends = []
    for spec in specs:
        provider = snapshot.providers.get(spec.provider)
        upstream = upstreams.upstream(spec.provider, provider, spec.model) if provider is not None else None
        if upstream is not None:
            backends.append(Backend(upstream, prices.find(spec.provider, spec.model)))
    return tuple(backends)
