"""A model's version and the backends that serve it: who takes the next call, who is left out and why."""

import math
from collections.abc import Collection, Sequence

import msgspec

from podium.core.errors import Overloaded, PodiumError, Unavailable, UpstreamError
from podium.core.reasons import Reason
from podium.core.registry import Tool
from podium.core.resources import Model, Version
from podium.core.serving import Queueing
from podium.delivery.digest import version_digest
from podium.economics.price import CompiledPrice
from podium.gateway.fleet import REFUSED, BackendState, Fleet, Out
from podium.gateway.memory import Memory
from podium.gateway.ports import Headers, Upstream
from podium.traffic.backoff import Backoff
from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.ports import CallFacts, Why
from podium.traffic.balancing.region import RegionOrder
from podium.traffic.balancing.regional import RegionalBalancer
from podium.traffic.breaker import CallResult
from podium.traffic.fallback import FallbackCause, FallbackRule
from podium.wire.openai import Change

__all__ = ["Backend", "Pick", "Pool", "pool_label"]

_FULL_S = 1.0  # second calls took the room that the queue had counted on: a call or two will end soon
_UNKNOWN_S = 5.0  # what Retry-After says when it is no matter of time


class Backend:
    """One callable place of a version, with what a call there costs and changes."""

    __slots__ = ("head", "heads", "price", "state", "upstream")

    def __init__(self, upstream: Upstream, price: CompiledPrice | None, state: BackendState, version: str) -> None:
        self.upstream = upstream
        self.price = price
        self.state = state
        self.head: Headers = b"x-podium-version: %b\r\nx-podium-backend: %b\r\n" % (
            version.encode(),
            upstream.label.encode("ascii", "backslashreplace"),
        )
        # What most answers tell: one call was made, and why it was made here.
        self.heads: dict[Why, Headers] = {
            why: self.head + b"x-podium-attempts: 1\r\nx-podium-choice: %b\r\n" % why.encode() for why in Why
        }


Pick = tuple[Backend, int, Why]  # for one call: the backend, the places that it holds as a probe, why it


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _offered(tool: Tool) -> dict[str, object]:
    """As OpenAI spells it."""
    described = {"description": tool.description} if tool.description else {}
    schema = {"parameters": tool.parameters} if tool.parameters else {}
    return {"type": "function", "function": {"name": tool.name, **described, **schema}}


class Pool:
    """The backends of a model's version. Immutable but for what it derives from the fleet's state."""

    def __init__(
        self,
        model: Model,
        label: str,
        version: Version,
        backends: tuple[Backend, ...],
        fleet: Fleet,
        memory: Memory,
        now_ns: int,
        *,
        queue: str = "",
    ) -> None:
        """`queue`: the name of its queue, when that is not the model's."""
        self.label = label
        self.backends = backends
        self.failure = model.failure
        self.balancing = model.balancing
        self.backoff = Backoff(base_s=model.failure.retries.backoff_s, max_s=model.failure.retries.max_backoff_s)
        self.fallbacks = tuple(
            FallbackRule(rule.model, frozenset(FallbackCause(cause) for cause in rule.on))
            for rule in model.failure.fallbacks
        )
        self.change = Change(
            defaults={key: _raw(value) for key, value in version.parameters.items()},
            system_message=_raw({"role": "system", "content": version.system_prompt})
            if version.system_prompt
            else None,
            tools=_raw([_offered(tool) for tool in version.tools]) if version.tools else None,
        )
        self.changes = bool(self.change.defaults or self.change.system_message or self.change.tools)
        memory.follow(model, [backend.state.load.key for backend in backends], now_ns)
        assert memory.balancer is not None
        assert memory.retry_budget is not None
        self._balancer = memory.balancer
        self.outliers = memory.outliers
        self.hedgers = memory.hedgers  # for whole answers, for streams; None: no second calls
        self.retry_budget = memory.retry_budget
        residency = model.balancing.residency
        self.residency = frozenset(residency) if residency else None
        self._order = RegionOrder(model.balancing.regions, self.residency)
        self._abroad = frozenset(self.outside(self.residency))
        self._fleet = fleet
        self._seen = -1
        self._look_again_ns: float = 0
        self._ready: tuple[Backend, ...] = ()
        self._loads: tuple[BackendLoad, ...] = ()
        self._places: int | None = None
        self._queueing = model.queueing
        concurrency = None if model.queueing is None else model.queueing.concurrency
        for backend in backends:
            backend.state.bear(concurrency, now_ns)
        self.takes_prefix = model.balancing.strategy == "prefix_affinity"
        self.takes_session = model.balancing.strategy == "session_affinity"
        self.queue = fleet.queue(queue or memory.model, model.queueing, self, now_ns)  # None: whoever comes is served

    def outside(self, residency: frozenset[str] | None) -> tuple[Backend, ...]:
        """The backends that a residency forbids; None forbids none."""
        order = RegionOrder(allowed=residency)
        return tuple(backend for backend in self.backends if not order.allows(backend.state.load.region))

    def others(self, tried: Collection[Backend]) -> bool:
        """True when somebody can be called who is not in `tried`."""
        return any(backend not in tried for backend in self._ready)

    def only(self, now_ns: int) -> Pick | None:
        """The one backend of a pool that leaves no choice; its places are taken. None: ask `choose`."""
        if self._fleet.changes != self._seen or now_ns >= self._look_again_ns:
            self._look(now_ns)
        if len(self._ready) != 1 or isinstance(self._balancer, RegionalBalancer):
            return None
        backend = self._ready[0]
        probes = backend.state.enter(now_ns)
        return None if probes == REFUSED else (backend, probes, Why.ONLY_ONE)

    def choose(self, tried: Collection[Backend], facts: CallFacts) -> Pick | None:
        """The backend for a call that has tried `tried`; its places are taken. None: nobody else can take it now."""
        now_ns = facts.now_ns
        if self._fleet.changes != self._seen or now_ns >= self._look_again_ns:
            self._look(now_ns)
        excluded: Sequence[int] = ()
        if tried:
            excluded = [index for index, backend in enumerate(self._ready) if backend in tried]
        while True:
            balancer = self._balancer
            choice = (
                balancer.choose(self._loads, excluded, facts, self._order)
                if isinstance(balancer, RegionalBalancer)
                else balancer.choose(self._loads, excluded, facts)
            )
            if choice is None:
                return None
            backend = self._ready[choice.index]
            probes = backend.state.enter(now_ns)
            if probes != REFUSED:
                return backend, probes, choice.why
            excluded = [*excluded, choice.index]

    def _look(self, now_ns: int) -> None:
        """Find out who can be called."""
        if self.outliers is not None and now_ns >= self.outliers.due_at_ns:
            self.outliers.sweep(now_ns)
        ready, again_ns = [], math.inf
        for backend in self.backends:
            if self.out(backend, now_ns) is None:
                ready.append(backend)
            else:
                again_ns = min(again_ns, backend.state.changes_at_ns())
        if self.outliers is not None:
            again_ns = min(again_ns, self.outliers.due_at_ns)
        if tuple(ready) != self._ready:
            self._ready = tuple(ready)
            self._loads = tuple(backend.state.load for backend in ready)
        self._seen = self._fleet.changes
        self._look_again_ns = again_ns
        if self._queueing is not None:
            self._places = self._count_places(self._queueing)

    def places(self, now_ns: int) -> int | None:
        """Exchanges that it can serve at once; None: nobody takes calls. For pools with a queue."""
        if self._fleet.changes != self._seen or now_ns >= self._look_again_ns:
            self._look(now_ns)
        return self._places

    def _count_places(self, spec: Queueing) -> int | None:
        """A backend that is being probed adds none: it takes a call or two from those that the others have room for."""
        if not self._ready:
            return None
        if spec.concurrency is None:
            return spec.places
        states = [backend.state for backend in self._ready]
        limits = [one.concurrency.limit for one in states if one.concurrency is not None and one.steady]
        if not limits:
            return None
        return sum(limits) if spec.places is None else min(sum(limits), spec.places)

    def out(self, backend: Backend, now_ns: int) -> Out | None:
        """Why a backend takes no calls; None: it does."""
        if backend in self._abroad:
            return Out.OUTSIDE_RESIDENCY
        reason = backend.state.out(now_ns)
        if reason is None and self.outliers is not None and self.outliers.ejected(backend.state.load.key):
            return Out.EJECTED
        return reason

    def explain(self, backend: Backend, now_ns: int) -> str:
        """A sentence for operators; empty when the backend takes calls."""
        reason = self.out(backend, now_ns)
        if reason is None and backend.state.account.full:
            return backend.state.explain(Out.ACCOUNT_FULL, now_ns)
        if reason is None:
            return backend.state.explain(Out.FULL, now_ns) if backend.state.full else ""
        if reason is Out.EJECTED and self.outliers is not None:
            return self.outliers.explain(backend.state.load.key, now_ns)
        return backend.state.explain(reason, now_ns)

    def nobody(self, asked: str, barred: Collection[Backend], now_ns: int) -> PodiumError:
        """Why no backend can be called: rate limits of the accounts, or failures.

        `asked`: the model that the caller knows of. `barred`: backends that cannot help anyway.
        """
        outs = {backend: self.out(backend, now_ns) for backend in self.backends if backend not in barred}
        hoped = [backend for backend, out in outs.items() if out not in (Out.DRAINING, Out.OUTSIDE_RESIDENCY)]
        back_ns = min((backend.state.back_at_ns() for backend in hoped), default=math.inf)
        retry_after_s = _UNKNOWN_S if back_ns == math.inf else max(0.0, (back_ns - now_ns) / 1e9)
        if hoped and all(outs[backend] is Out.ACCOUNT_LEFT_ALONE for backend in hoped):
            return UpstreamError(
                "The model's provider has too many requests.",
                reason=Reason.UPSTREAM_RATE_LIMITED,
                status=429,
                retry_after_s=retry_after_s,
            )
        if any(outs[backend] is None and backend.state.full for backend in hoped):
            return Overloaded("All backends of the model have as many calls as they bear.", retry_after_s=_FULL_S)
        return Unavailable(
            f"No backend serves the model {asked!r} right now.",
            reason=Reason.NO_BACKEND,
            retry_after_s=retry_after_s,
            hint="`podium doctor` says which backends are out, and why.",
        )

    def record(self, backend: Backend, result: CallResult | None, now_ns: int) -> None:
        """Take note of a finished call for the comparison with the other backends."""
        if self.outliers is not None and result is not None:
            change = self.outliers.record(backend.state.load.key, result, now_ns)
            if change is not None:
                self._fleet.changes += 1


def pool_label(name: str, version: Version) -> str:
    """The version's name with its digest, as it stands in events."""
    return f"{name}@{version_digest(version)}"
