"""What is known of backends and accounts from the calls made so far. Outlives snapshots; one event loop.

An account is one Provider; a backend is one model at it, as one of our models uses it. Here floor 1's breakers,
back-offs, bulkheads and health meet; whoever changes what may be called adds to `Fleet.changes`, and pools look
anew. What a snapshot no longer names is forgotten.
"""

import math
from collections.abc import Callable
from enum import StrEnum
from typing import Literal

from podium.core.resources import Provider
from podium.core.serving import CircuitBreaker, Concurrency, Queueing
from podium.gateway.bursts import Bursts
from podium.gateway.concurrency import adaptive_limit
from podium.gateway.memory import Memory
from podium.gateway.ports import HealthSource, HealthView
from podium.gateway.queue import Capacity, PoolQueue
from podium.traffic.account_backoff import AccountBackoff, RateLimitNotice
from podium.traffic.balancing.load import BackendLoad
from podium.traffic.breaker import Breaker, BreakerCause, BreakerChange, BreakerPolicy, BreakerState, CallResult
from podium.traffic.bulkhead import Bulkhead
from podium.traffic.queueing.adaptive_concurrency import AdaptiveLimit, CallOutcome

__all__ = ["REFUSED", "Account", "BackendState", "BreakerOf", "Fleet", "Opened", "Out"]

_NEVER_NS = math.inf

# Places that a call holds because it is a probe; bits of what `BackendState.enter` returns.
_CLOSED = BreakerState.CLOSED
_BACKEND_PROBE = 1
_ACCOUNT_PROBE = 2
_LIMIT_PROBE = 4
REFUSED = -1

BreakerOf = Literal["backend", "account"]
Opened = Callable[[BreakerOf, str, BreakerCause], None]  # what it is the breaker of, its key or name, and why


class Out(StrEnum):
    """Why a backend takes no call."""

    DRAINING = "draining"
    UNHEALTHY = "unhealthy"
    BREAKER_OPEN = "breaker_open"
    ACCOUNT_BREAKER_OPEN = "account_breaker_open"
    ACCOUNT_LEFT_ALONE = "account_left_alone"
    ACCOUNT_FULL = "account_full"
    FULL = "full"
    EJECTED = "ejected"
    OUTSIDE_RESIDENCY = "outside_residency"


class Account:
    """One provider's account, shared by all of its backends."""

    __slots__ = ("backoff", "breaker", "bulkhead", "health", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.backoff = AccountBackoff()
        self.bulkhead = Bulkhead(None)
        self.breaker: Breaker | None = None
        self.health: HealthView | None = None  # None: nobody checks

    @property
    def calm(self) -> bool:
        """True when every call may be made, and none has to be watched: most accounts, most of the time."""
        return self.breaker is None and self.bulkhead.limit is None and not self.backoff.resting

    @property
    def full(self) -> bool:
        """True when as many calls as are allowed are under way."""
        return self.bulkhead.limit is not None and self.bulkhead.running >= self.bulkhead.limit


class BackendState:
    """One backend: whether it may be called, and what its calls showed."""

    __slots__ = ("_fleet", "account", "breaker", "concurrency", "load", "timed")

    def __init__(self, fleet: "Fleet", account: Account, key: str) -> None:
        self._fleet = fleet
        self.account = account
        self.load = BackendLoad(key)
        self.timed = False  # whether anybody asks how fast it is
        self.breaker: Breaker | None = None
        self.concurrency: AdaptiveLimit | None = None  # None: as many calls at once as come

    @property
    def full(self) -> bool:
        """True when as many calls as it bears are under way."""
        return self.concurrency is not None and self.load.in_flight >= self.concurrency.limit

    @property
    def steady(self) -> bool:
        """True when it takes calls as they come: it is not being probed, and its account does not rest."""
        account = self.account
        return (
            (self.breaker is None or self.breaker.state is _CLOSED)
            and (account.breaker is None or account.breaker.state is _CLOSED)
            and not account.backoff.resting
        )

    def bear(self, spec: Concurrency | None, now_ns: int) -> None:
        """Have a limit on calls at once that finds itself; None: have none."""
        self.concurrency = adaptive_limit(self.concurrency, spec, self.load.in_flight, now_ns)

    def out(self, now_ns: int) -> Out | None:
        """Why it cannot take a call now; None: it can. Changes nothing."""
        account = self.account
        if self.load.weight == 0:
            return Out.DRAINING
        if account.health is not None and not account.health.usable:
            return Out.UNHEALTHY
        if self.breaker is not None and not self.breaker.would_admit(now_ns).allowed:
            return Out.BREAKER_OPEN
        if account.breaker is not None and not account.breaker.would_admit(now_ns).allowed:
            return Out.ACCOUNT_BREAKER_OPEN
        if not account.backoff.would_admit(now_ns).allowed:
            return Out.ACCOUNT_LEFT_ALONE
        return None

    def changes_at_ns(self) -> float:
        """When time alone may bring it back; infinity when it is no matter of time."""
        account = self.account
        moments = [
            None if self.breaker is None else self.breaker.changes_at_ns,
            None if account.breaker is None else account.breaker.changes_at_ns,
            account.backoff.changes_at_ns,
        ]
        return max((moment for moment in moments if moment is not None), default=_NEVER_NS)

    def back_at_ns(self) -> float:
        """When a caller may try again, as far as that is known: how long a running probe takes is not."""
        account = self.account
        moments = [
            None if self.breaker is None else self.breaker.half_open_at_ns,
            None if account.breaker is None else account.breaker.half_open_at_ns,
            account.backoff.until_ns if account.backoff.resting else None,
        ]
        return max((moment for moment in moments if moment is not None), default=_NEVER_NS)

    def explain(self, out: Out, now_ns: int) -> str:
        """A sentence for operators."""
        account = self.account
        if out is Out.BREAKER_OPEN and self.breaker is not None:
            return f"Its breaker is not closed. {self.breaker.explain(now_ns)}"
        if out is Out.ACCOUNT_BREAKER_OPEN and account.breaker is not None:
            return f"The breaker of the account {account.name} is not closed. {account.breaker.explain(now_ns)}"
        if out is Out.ACCOUNT_LEFT_ALONE:
            return f"The account {account.name} rests. {account.backoff.explain(now_ns)}"
        if out is Out.UNHEALTHY and account.health is not None:
            return f"The provider {account.name} fails its health checks. {account.health.explain()}"
        return {
            Out.DRAINING: "Its weight is 0: it takes nothing new.",
            Out.ACCOUNT_FULL: f"The account {account.name} has all of its {account.bulkhead.limit} calls under way.",
            Out.FULL: f"It has as many calls under way as it bears: {self.load.in_flight}.",
            Out.EJECTED: "It was ejected from its pool.",
            Out.OUTSIDE_RESIDENCY: f"The model's residency does not allow the region {self.load.region!r}.",
        }.get(out, str(out))

    def enter(self, now_ns: int) -> int:
        """Begin a call: which places it holds as a probe, to be given to `leave`; REFUSED: it may not be made."""
        account, breaker = self.account, self.breaker
        if (breaker is None or breaker.state is _CLOSED) and self.concurrency is None and account.calm:
            account.bulkhead.running += 1
            if self.timed:
                self.load.began(now_ns)
            else:
                self.load.in_flight += 1
            return 0
        return self._enter_with_care(now_ns)

    def _enter_with_care(self, now_ns: int) -> int:
        """The same when somebody has something to say."""
        account, breaker, probes = self.account, self.breaker, 0
        if self.full:
            return REFUSED
        if breaker is not None and not (admission := breaker.admit(now_ns)).allowed:
            return REFUSED
        if breaker is not None and admission is admission.PROBE:
            probes |= _BACKEND_PROBE
        if account.breaker is not None:
            of_account = account.breaker.admit(now_ns)
            if not of_account.allowed:
                return self._refused(probes)
            probes |= _ACCOUNT_PROBE if of_account is of_account.PROBE else 0
        limits = account.backoff.admit(now_ns)
        if not limits.allowed:
            return self._refused(probes)
        if limits is limits.PROBE:
            probes |= _LIMIT_PROBE
        if not account.bulkhead.try_enter().entered:
            return self._refused(probes)
        self._began(now_ns)
        return probes

    def _began(self, now_ns: int) -> None:
        if self.timed:
            self.load.began(now_ns)
        else:
            self.load.in_flight += 1
        if self.concurrency is not None:
            self.concurrency.started(now_ns)

    def _refused(self, probes: int) -> int:
        self._abandon(probes)
        return REFUSED

    def _abandon(self, probes: int) -> None:
        if self.breaker is not None:
            self.breaker.abandon(probe=bool(probes & _BACKEND_PROBE))
        if self.account.breaker is not None:
            self.account.breaker.abandon(probe=bool(probes & _ACCOUNT_PROBE))
        if probes & _LIMIT_PROBE:
            self.account.backoff.abandon(probe=True)

    def leave(
        self,
        probes: int,
        result: CallResult | None,
        now_ns: int,
        *,
        first_content_ms: float,
        time_per_output_token_ms: float | None = None,
        outcome: CallOutcome = CallOutcome.IGNORED,
    ) -> None:
        """End a call. `result` None: its end says nothing about the backend; `outcome`: about its load."""
        load = self.load
        self.account.bulkhead.running -= 1
        if self.timed:
            failed = result is CallResult.FAILED
            load.ended(now_ns, time_per_output_token_ms=time_per_output_token_ms, failed=failed)
        else:
            load.in_flight -= 1
        if self.concurrency is not None:
            before = self.concurrency.limit
            self.concurrency.ended(now_ns, None, outcome)
            self._resized(before)
        if result is not None:
            self._record(probes, result, first_content_ms, now_ns)
        elif probes:
            self._abandon(probes)
        if probes:
            self._fleet.changes += 1

    def _record(self, probes: int, result: CallResult, first_content_ms: float, now_ns: int) -> None:
        account, breaker, fleet = self.account, self.breaker, self._fleet
        if breaker is not None:
            change = breaker.record(result, first_content_ms, now_ns, probe=bool(probes & _BACKEND_PROBE))
            if change is not None:
                fleet.turned("backend", self.load.key, change)
        if account.breaker is not None:
            change = account.breaker.record(result, first_content_ms, now_ns, probe=bool(probes & _ACCOUNT_PROBE))
            if change is not None:
                fleet.turned("account", account.name, change)
        if probes & _LIMIT_PROBE:
            account.backoff.abandon(probe=True)  # no answer was read: the next call is the probe

    def first_content(self, latency_ms: float, now_ns: int) -> None:
        """Take note of how soon a call had content, for the limit on calls at once."""
        if self.concurrency is not None:
            before = self.concurrency.limit
            self.concurrency.first_content(now_ns, latency_ms)
            self._resized(before)

    def _resized(self, before: int) -> None:
        if self.concurrency is not None and self.concurrency.limit != before:
            self._fleet.changes += 1

    def answered(self, probes: int, notice: RateLimitNotice | None, now_ns: int) -> int:
        """Take note of what an answer's head says about the account's limits; the places still held as a probe."""
        if notice is not None or probes & _LIMIT_PROBE:
            self.account.backoff.record(notice, now_ns, probe=bool(probes & _LIMIT_PROBE))
            self._fleet.changes += 1
        return probes & ~_LIMIT_PROBE


class Fleet:
    """All accounts and backends of one gateway process."""

    def __init__(self, health: HealthSource | None = None) -> None:
        self.changes = 0  # counts what may change which backends can be called
        self.opened: Opened | None = None  # is told of each breaker that opens on calls of our own
        self.bursts = Bursts()  # of arms of rollouts
        self._health = health
        self._accounts: dict[str, Account] = {}
        self._backends: dict[str, BackendState] = {}
        self._memories: dict[str, Memory] = {}
        self._queues: dict[str, PoolQueue] = {}
        self._used: set[str] = set()

    def memory(self, key: str) -> Memory:
        """What the pool with this key, "model version", has learnt; made at its first use."""
        self._used.add(f"memory {key}")
        memory = self._memories.get(key)
        if memory is None:
            memory = self._memories[key] = Memory(key.partition(" ")[0])
        return memory

    def queue(self, model: str, spec: Queueing | None, capacity: Capacity, now_ns: int) -> PoolQueue | None:
        """The queue of a model, now before this pool; None: it has none."""
        if spec is None:
            return None
        self._used.add(f"queue {model}")
        queue = self._queues.get(model)
        if queue is None:
            queue = self._queues[model] = PoolQueue(spec, capacity, now_ns)
        else:
            queue.follow(spec, capacity, now_ns)
        return queue

    def account(self, name: str, spec: Provider, now_ns: int) -> Account:
        """The account of a provider, under its current spec."""
        self._used.add(f"account {name}")
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = Account(name)
        account.bulkhead.limit = spec.max_calls
        account.breaker = _breaker(account.breaker, spec.breaker, now_ns)
        account.health = None if self._health is None else self._health.view(name, spec)
        return account

    def backend(self, key: str, account: Account, breaker: CircuitBreaker | None, now_ns: int) -> BackendState:
        """The state of a backend; `key` tells it from all others."""
        self._used.add(f"backend {key}")
        state = self._backends.get(key)
        if state is None or state.account is not account:
            state = self._backends[key] = BackendState(self, account, key)
        state.breaker = _breaker(state.breaker, breaker, now_ns)
        return state

    def retire_unused(self) -> None:
        """Forget what was not asked for since the last time; running calls keep what they hold."""
        self._accounts = {name: one for name, one in self._accounts.items() if f"account {name}" in self._used}
        self._backends = {key: one for key, one in self._backends.items() if f"backend {key}" in self._used}
        self._memories = {key: one for key, one in self._memories.items() if f"memory {key}" in self._used}
        self._queues = {model: one for model, one in self._queues.items() if f"queue {model}" in self._used}
        self._used.clear()
        if self._health is not None:
            self._health.retire_unused()
        self.changes += 1

    def breaker(self, kind: BreakerOf, key: str) -> Breaker | None:
        """The breaker of the backend with this key, or of the account with this name; None: there is none."""
        owner = self._backends.get(key) if kind == "backend" else self._accounts.get(key)
        return None if owner is None else owner.breaker

    def turned(self, kind: BreakerOf, key: str, change: BreakerChange) -> None:
        """A breaker has changed."""
        self.changes += 1
        if self.opened is not None and change.found_out:
            self.opened(kind, key, change.why)

    def noticed(self) -> None:
        """Something outside of the calls has changed: a health check's result."""
        self.changes += 1


def _breaker(old: Breaker | None, spec: CircuitBreaker | None, now_ns: int) -> Breaker | None:
    """The breaker for a spec; the old one when nothing has changed."""
    if spec is None:
        return None
    policy = BreakerPolicy(
        window_s=spec.window_s,
        minimum_calls=spec.minimum_calls,
        failure_rate=spec.failure_rate,
        slow_call_ms=spec.slow_call_ms,
        slow_call_rate=spec.slow_call_rate,
        consecutive_failures=spec.consecutive_failures,
        open_s=spec.open_s,
        max_open_s=spec.max_open_s,
        probes=spec.probes,
        probe_successes=spec.probe_successes,
    )
    return old if old is not None and old.policy == policy else Breaker(policy, now_ns)
