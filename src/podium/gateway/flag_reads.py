"""Flags for clients that ask for them: who they are, which they may read, and what those give.

Reading a flag is no exchange with a model, and is not recorded: it costs nobody anything, clients ask often, and a kill
switch has to reach them also while the journal's disk is full. It is counted (`FlagCounts`).
"""

from collections.abc import Mapping
from hashlib import blake2b

import msgspec

from podium import __version__
from podium.core.clock import Clock
from podium.core.errors import RateLimited, Unavailable
from podium.core.exchange import Exchange
from podium.core.limits import Limit, LimitPolicy
from podium.delivery.flags.flagset import FlagSet, missing
from podium.delivery.flags.values import Evaluation
from podium.gateway import stages
from podium.gateway.flag_counts import FlagCounts
from podium.gateway.flags import key_context
from podium.gateway.flight import Worlds
from podium.gateway.world import Principal, World
from podium.identity.permit import name_patterns
from podium.traffic.limiting.buckets import Refusal
from podium.traffic.limiting.limiter import Limiter
from podium.traffic.limiting.policies import Dimensions, LimitTable

__all__ = ["ENDPOINT", "FlagReader", "FlagReads"]

ENDPOINT = "flags"  # what a key's `endpoints` have to cover
_MAX_TENANTS = 1000  # whose readable flags are remembered
_FLAGS_A_REQUEST = 50  # so many flags read at once weigh as much as one request
_TAG = "tag:"


class FlagReads:
    """One object a gateway process."""

    def __init__(
        self,
        worlds: Worlds,
        counts: FlagCounts,
        clock: Clock,
        *,
        pepper: bytes,
        requests_per_s: int,
        subjects: int,
    ) -> None:
        """`requests_per_s` of each key, in this process; `subjects`: keys that are counted by themselves."""
        self._worlds = worlds
        self.counts = counts
        self._clock = clock
        self._pepper = pepper
        self._most = requests_per_s
        limit = Limit(what="requests", amount=requests_per_s, window_s=1)
        self._limits = LimitTable({"flags": LimitPolicy(per=("key",), limits=(limit,))})
        self._limiter = Limiter(max_entries=subjects)
        self._flags: FlagSet | None = None  # that what follows is of
        self._digest = b""
        self._readable: dict[str, tuple[str, ...]] = {}

    def reader(self, authorization: bytes | None) -> "FlagReader":
        """Who asks. Unauthenticated, Forbidden; Unavailable: there is no snapshot yet."""
        world = self._worlds.current
        if world is None:
            raise Unavailable("Podium is starting.", retry_after_s=1.0)
        unix_ns, now_ns = self._clock.unix_ns(), self._clock.monotonic_ns()
        nobody = Exchange(ENDPOINT, request_id="", started_unix_ns=unix_ns, started_at_ns=now_ns)
        principal = stages.identify(nobody, authorization, world, pepper=self._pepper, unix_s=unix_ns / 1e9)
        stages.permit_endpoint(principal, ENDPOINT)
        if self._flags is not world.flags:
            self._flags, self._digest = world.flags, b""
            self._readable.clear()
        return FlagReader(self, world, principal, unix_ns / 1e9)

    def take(self, key_id: str, flags: int) -> None:
        """Take one request's share of the key's limit: RateLimited."""
        buckets = self._limits.buckets(Dimensions(key=key_id))
        charge = min(self._most, 1 + flags // _FLAGS_A_REQUEST), 0, 0, 0, 0
        now_ns = self._clock.monotonic_ns()
        taken = self._limiter.acquire(buckets, charge, now_ns)
        if isinstance(taken, Refusal):
            raise RateLimited(taken.message, reason=taken.reason, retry_after_s=taken.retry_after_s)
        self._limiter.settle(taken, charge, now_ns)

    def count(self, flag: str, evaluation: Evaluation, unix_s: float, *, alone: bool) -> None:
        """Take note of an evaluation."""
        self.counts.count(flag, evaluation, "ofrep" if alone else "ofrep_all", unix_s)

    def counted_again(self, flags: tuple[str, ...], unix_s: float) -> None:
        """Take note that somebody asked for all of these, and nothing has changed for him."""
        self.counts.asked_again(flags, unix_s)

    def readable(self, world: World, tenant: str) -> tuple[str, ...]:
        """The flags that a tenant's keys may read, by name."""
        names = self._readable.get(tenant)
        if names is None:
            if len(self._readable) >= _MAX_TENANTS:
                self._readable.pop(next(iter(self._readable)))
            found = (name for name in world.flags if may_read(world.flags, name, tenant))
            names = self._readable[tenant] = tuple(sorted(found))
        return names

    def digest(self, world: World) -> bytes:
        """What changes when any flag does, and is the same at every gateway."""
        if not self._digest:
            self._digest = blake2b(msgspec.msgpack.encode(world.snapshot.flags), digest_size=16).digest()
        return self._digest


class FlagReader:
    """One request of one key."""

    def __init__(self, reads: FlagReads, world: World, principal: Principal, unix_s: float) -> None:
        self._reads = reads
        self._world = world
        self._principal = principal
        self._unix_s = unix_s

    def one(self, flag: str, attributes: Mapping[str, object]) -> Evaluation:
        """What a flag gives; one that the tenant may not read is not there. RateLimited."""
        self._reads.take(self._principal.entry.id, 0)
        flags = self._world.flags
        if not may_read(flags, flag, self._principal.entry.tenant):
            return missing(flag)
        found = flags.evaluate(flag, self._context(attributes))
        self._reads.count(flag, found, self._unix_s, alone=True)
        return found

    def all(self, attributes: Mapping[str, object], known: frozenset[bytes]) -> "Readings":
        """What all flags that the tenant may read give; not evaluated when the caller knows it. RateLimited."""
        reads = self._reads
        names = reads.readable(self._world, self._principal.entry.tenant)
        reads.take(self._principal.entry.id, len(names))
        context = self._context(attributes)
        tag = self._tag(names, context)
        if tag in known:
            reads.counted_again(names, self._unix_s)
            return Readings(tag=tag, known=True)
        found = tuple(self._world.flags.evaluate_all(names, context))
        for name, evaluation in found:
            reads.count(name, evaluation, self._unix_s, alone=False)
        return Readings(tag=tag, known=False, flags=found)

    def _context(self, attributes: Mapping[str, object]) -> dict[str, object]:
        """The caller's words, but for what the key says; a key without a tier or tags has none by anybody's word."""
        own = key_context(self._principal)
        said = {
            name: value for name, value in attributes.items() if name not in _KEYS_OWN and not name.startswith(_TAG)
        }
        return said | own

    def _tag(self, names: tuple[str, ...], context: dict[str, object]) -> bytes:
        parts = (__version__, self._reads.digest(self._world), "\0".join(names), context)
        return blake2b(msgspec.json.encode(parts, order="sorted"), digest_size=16).hexdigest().encode()


_KEYS_OWN = frozenset(("tenant", "key", "tier"))


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """What all flags give. `tag` names this content; `known`: the caller has it."""

    tag: bytes
    known: bool
    flags: tuple[tuple[str, Evaluation], ...] = ()


def may_read(flags: FlagSet, name: str, tenant: str) -> bool:
    """Whether keys of a tenant may read a flag."""
    flag = flags.flag(name)
    return flag is not None and name_patterns(flag.readers).matches(tenant)
