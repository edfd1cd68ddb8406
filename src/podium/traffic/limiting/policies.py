"""Which buckets a request takes from: limit policies, compiled.

Rules
1. A policy is looked at only for requests that it may hold for: it is filed under one exact value of its `where`.
2. Only dimensions that some policy mentions are looked at, so that without a policy that mentions addresses, a million
   of them are as good as one.
3. What a caller chooses cannot make a key of a bucket long, nor equal to another's.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from ipaddress import ip_address
from typing import NamedTuple

from podium.core.limits import DIMENSIONS, Limit, LimitPolicy
from podium.traffic.limiting.buckets import Bucket
from podium.traffic.limiting.matching import Filter, compile_where

__all__ = ["MAX_KEY_CHARACTERS", "Dimensions", "LimitTable"]

_SECOND_NS = 1_000_000_000
_PLAIN = re.compile(r"[A-Za-z0-9._:@/-]{1,64}\Z").match
_HASH_BYTES = 16
_BY_VARIETY = tuple(DIMENSIONS.index(dimension) for dimension in ("key", "user", "tenant", "model", "tier", "ip"))
_OF_REQUESTS = ("user", "model", "ip")
MAX_KEY_CHARACTERS = 600  # a name of 128, six values of 64, and the words between


class Dimensions(NamedTuple):
    """What a request may be counted by; empty: it has none. `tier` is a label of its key or its tenant."""

    key: str = ""
    user: str = ""
    tenant: str = ""
    model: str = ""
    ip: str = ""
    tier: str = ""


class _Compiled:
    """One policy, ready to be asked."""

    __slots__ = ("_per", "_prefixes", "filters", "name", "policy")

    def __init__(self, name: str, policy: LimitPolicy) -> None:
        self.name = name
        self.policy = policy
        self.filters = compile_where(policy.where)
        self._per = tuple(DIMENSIONS.index(dimension) for dimension in policy.per)
        subjects = ",".join(policy.per)
        self._prefixes = [f"{name}|{_limit_key(limit)}|{subjects}" for limit in policy.limits]

    def mentions(self) -> set[int]:
        """The dimensions that matter to it."""
        return {*self._per, *(filtered.dimension for filtered in self.filters)}

    def matches(self, dimensions: Dimensions) -> bool:
        """True when it holds for a request."""
        return all(filtered.matches(dimensions[filtered.dimension]) for filtered in self.filters)

    def buckets(self, dimensions: Dimensions) -> list[Bucket]:
        """One bucket for each of its limits."""
        subject = "".join([f"|{_subject(index, dimensions[index])}" for index in self._per])
        policy = self.policy
        return [
            Bucket(
                key=prefix + subject,
                what=limit.what,
                amount=limit.amount,
                window_ns=0 if limit.what == "concurrency" else limit.window_s * _SECOND_NS,
                algorithm=limit.algorithm,
                burst=limit.burst or 0,
                priority=policy.priority,
                policy=self.name,
                per=policy.per,
                shared_key=prefix,
            )
            for prefix, limit in zip(self._prefixes, policy.limits, strict=True)
        ]


class LimitTable:
    """All policies; build one a snapshot. It keeps the buckets of `capacity` kinds of requests that came last."""

    __slots__ = ("_cache", "_capacity", "_everyone", "_filed", "_mentioned", "_policies")

    def __init__(self, policies: Mapping[str, LimitPolicy], capacity: int = 20_000) -> None:
        self._capacity = capacity
        self._policies = [_Compiled(name, policy) for name, policy in sorted(policies.items())]
        self._mentioned = tuple(sorted({index for policy in self._policies for index in policy.mentions()}))
        self._everyone: list[_Compiled] = []
        self._filed: dict[int, dict[str, list[_Compiled]]] = {}
        for policy in self._policies:
            self._file(policy)
        self._cache: OrderedDict[tuple[str, ...], tuple[Bucket, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._policies)

    @property
    def cached(self) -> int:
        """Kinds of requests whose buckets are at hand; never above `capacity`."""
        return len(self._cache)

    @property
    def asks_requests(self) -> bool:
        """True when some policy minds more than who the caller is: user, model or address."""
        return any(DIMENSIONS[index] in _OF_REQUESTS for index in self._mentioned)

    def buckets(self, dimensions: Dimensions) -> tuple[Bucket, ...]:
        """The buckets of a request, with different keys, in the order of the policies' names; empty: nothing holds."""
        if not self._policies:
            return ()
        kind = tuple([dimensions[index] for index in self._mentioned])
        found = self._cache.get(kind)
        if found is None:
            found = tuple([bucket for policy in self.matching(dimensions) for bucket in policy.buckets(dimensions)])
            self._cache[kind] = found
            if len(self._cache) > self._capacity:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(kind)
        return found

    def matching(self, dimensions: Dimensions) -> list[_Compiled]:
        """The policies that hold for a request, by name."""
        found = [policy for policy in self._everyone if policy.matches(dimensions)]
        for index, filed in self._filed.items():
            found += [policy for policy in filed.get(dimensions[index], ()) if policy.matches(dimensions)]
        found.sort(key=lambda policy: policy.name)
        return found

    def _file(self, policy: _Compiled) -> None:
        """Under the values of its most telling filter; with none that is exact, it is asked for every request."""
        exact = [filtered for filtered in policy.filters if filtered.exact]
        if not exact:
            self._everyone.append(policy)
            return
        telling: Filter = min(exact, key=lambda filtered: _BY_VARIETY.index(filtered.dimension))
        for value in telling.exact:
            self._filed.setdefault(telling.dimension, {}).setdefault(value, []).append(policy)


def _limit_key(limit: Limit) -> str:
    return limit.what if limit.what == "concurrency" else f"{limit.what}|{limit.window_s}s|{limit.algorithm}"


def _subject(index: int, value: str) -> str:
    if not value:
        return ""
    if DIMENSIONS[index] == "ip":
        value = _ip_subject(value)
    if _PLAIN(value):
        return value
    return "#" + blake2b(value.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES).hexdigest()


def _ip_subject(address: str) -> str:
    """An IPv6 address as its /64 network, which one subscriber has to himself; anything else as it is."""
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped) if mapped is not None else f"{int(parsed) >> 64:016x}/64"
