"""The limiter of one gateway process, in memory.

Rules beside the promises of `buckets`
1. The state of a subject is forgotten only when nothing depends on it: it would not refuse, and nothing that has taken
   from it is in flight. What is forgotten starts afresh. Those not used for long go first (second chance).
2. Memory is bounded in entries and in bytes. When all that could be forgotten is in use, further subjects share one
   bucket a limit: none of them gets more than the limit, and no flood of names can lift or forget a limit.
   Bytes go over the bound by these shared buckets, and by what exchanges in flight add to subjects already there.
3. Time never goes back. A step back of the clock up to a second is waited out; a longer one counts as no time.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from math import inf

import msgspec

from podium.traffic.limiting.buckets import MEASURES, NOTHING, Bucket, Charge, Refusal, Standing
from podium.traffic.limiting.gcra import Gcra
from podium.traffic.limiting.memory import Memory
from podium.traffic.limiting.places import Places
from podium.traffic.limiting.sliding_window import SlidingWindow
from podium.traffic.limiting.wording import REASONS, refusal_message

__all__ = ["Grant", "LastRefusal", "Limiter"]

State = Gcra | SlidingWindow | Places

_SECOND_NS = 1_000_000_000
_LOOK_AT = 8  # states that one new one looks at to make room
_MIN_ENTRIES = 64
_MAX_READY = 16_384
_READY_BYTES = 400  # two tuples of some buckets, a third, and a place in a dict
_CONCURRENCY = MEASURES.index("concurrency")


class Grant(msgspec.Struct, eq=False, gc=False):
    """An admitted exchange. Settle or release it when it ends; a second time does nothing."""

    states: Sequence[State]
    charge: Charge  # what was taken from each, by its measure
    serial: int
    at_ns: int  # in the limiter's own time
    ended: bool = False

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """What it has taken from."""
        return tuple(state.bucket for state in self.states)


class LastRefusal:
    """The last time that a bucket had no room: how long ago, how much was asked, what wait was told."""

    __slots__ = ("ago_ns", "amount", "wait_ns")

    def __init__(self, ago_ns: int, amount: int, wait_ns: int | None) -> None:
        self.ago_ns = ago_ns
        self.amount = amount
        self.wait_ns = wait_ns  # None: it was too large to be ever admitted


class Limiter:
    """Admits exchanges. For one event loop: not thread-safe, and nothing in it waits.

    `max_entries` and `max_bytes` bound the buckets kept in memory. `lease_ns`: how long a grant lives that is neither
    renewed nor ended; longer than the longest exchange, where nobody renews.
    """

    __slots__ = (
        "_lease_ns",
        "_max_bytes",
        "_max_entries",
        "_memory",
        "_now_ns",
        "_offset_ns",
        "_ready",
        "_serial",
        "_shared",
        "_states",
    )

    def __init__(
        self, *, max_entries: int = 100_000, max_bytes: int = 256 * 2**20, lease_ns: int = 1000 * _SECOND_NS
    ) -> None:
        self._max_entries = max(max_entries, _MIN_ENTRIES)
        self._max_bytes = max_bytes
        self._lease_ns = lease_ns
        self._states: OrderedDict[str, State] = OrderedDict()  # looked at longest ago first
        self._shared: dict[str, State] = {}  # one a limit at most
        self._memory = Memory()
        self._now_ns = 0
        self._offset_ns = 0
        self._serial = 0
        # Buckets that were asked for together, and their states, as long as these are theirs; by the buckets' identity.
        self._ready: dict[int, tuple[Sequence[Bucket], tuple[State, ...]]] = {}

    def __len__(self) -> int:
        return len(self._states)

    @property
    def bytes(self) -> int:
        """What the buckets weigh, estimated from above."""
        return self._memory.used

    @property
    def shared(self) -> int:
        """Limits that some subjects share because memory is full; 0 is well."""
        return len(self._shared)

    def acquire(self, buckets: Sequence[Bucket], charge: Charge, now_ns: int) -> Grant | Refusal:
        """Take `charge` from every bucket, or nothing at all. The keys of the buckets differ.

        Quickest when the same tuple of buckets comes again.
        """
        now = now_ns + self._offset_ns  # as `_now`, without the call
        if now < self._now_ns:
            now = self._stepped_back(now)
        self._now_ns = now
        serial = self._serial = self._serial + 1
        until_ns = now + self._lease_ns
        ready = self._ready.get(id(buckets))
        states = ready[1] if ready is not None and ready[0] is buckets else self._find(buckets, now)
        for state in states:
            if not state.take(charge[state.what], serial, now, until_ns):
                for taken in states:
                    if taken is state:
                        break
                    taken.undo(charge[taken.what], serial)
                return self._refuse(buckets, charge, now)
        return Grant(states, charge, serial, now)

    def settle(self, grant: Grant, facts: Charge, now_ns: int) -> None:
        """End an exchange that took `facts` in truth: correct the estimate, free its place.

        What it used above the estimate is owed, even over the limit: later exchanges wait for it.
        """
        if grant.ended:
            return
        grant.ended = True
        now = now_ns + self._offset_ns  # as `_now`, without the call
        if now < self._now_ns:
            now = self._stepped_back(now)
        self._now_ns = now
        charge = grant.charge
        serial = self._serial = self._serial + 1
        for state in grant.states:
            what = state.what
            difference = facts[what] - charge[what]
            if difference or what == _CONCURRENCY:
                state.end(difference, grant, serial, now)
            else:
                state.flying -= 1

    def release(self, grant: Grant, now_ns: int) -> None:
        """End an exchange that failed before it cost anything: all that it took is given back."""
        self.settle(grant, NOTHING, now_ns)

    def renew(self, grant: Grant, now_ns: int) -> bool:
        """Start the grant's lease anew; False: it has ended, or lost a place because its lease ran out."""
        if grant.ended:
            return False
        until_ns = self._now(now_ns) + self._lease_ns
        return all([state.renew(grant.serial, until_ns) for state in grant.states])  # noqa: C419 - all of them

    def standings(self, grant: Grant, now_ns: int) -> tuple[Standing, ...]:
        """How the buckets of a grant stand now."""
        now = now_ns + self._offset_ns  # as `_now`, without the call
        if now < self._now_ns:
            now = self._stepped_back(now)
        self._now_ns = now
        found: tuple[Standing, ...] = ()
        for state in grant.states:
            found += (state.standing(now),)
        return found

    def look(self, bucket: Bucket, now_ns: int) -> tuple[Standing, LastRefusal | None]:
        """How a bucket stands and when it last refused, without changing anything."""
        now = self._now(now_ns)
        state = self._states.get(bucket.key) or self._shared.get(bucket.shared_key)
        if state is None:
            return Standing(bucket, bucket.at_once, 0), None
        stands = state.standing(now)
        standing = Standing(bucket, stands.left, stands.reset_ns)
        if state.refused is None:
            return standing, None
        at_ns, amount, wait_ns = state.refused
        return standing, LastRefusal(now - at_ns, amount, wait_ns)

    def _now(self, now_ns: int) -> int:
        now = now_ns + self._offset_ns
        if now < self._now_ns:
            now = self._stepped_back(now)
        self._now_ns = now
        return now

    def _stepped_back(self, now: int) -> int:
        if self._now_ns - now > _SECOND_NS:
            self._offset_ns += self._now_ns - now
        return self._now_ns

    def _refuse(self, buckets: Sequence[Bucket], charge: Charge, now: int) -> Refusal:
        """Of those without room, the one of the highest priority, then of the longest wait; the wait is the longest."""
        states = self._find(buckets, now)
        told: tuple[int, float, Bucket] | None = None
        longest: float = 0
        for bucket, state in zip(buckets, states, strict=True):
            amount = charge[state.what]
            wait_ns = state.wait_ns(amount, now)
            if wait_ns == 0:
                continue
            state.refused = (now, amount, wait_ns)
            wait = inf if wait_ns is None else wait_ns
            longest = max(longest, wait)
            if told is None or (bucket.priority, wait) > told[:2]:
                told = (bucket.priority, wait, bucket)
        assert told is not None
        bucket = told[2]
        return Refusal(
            bucket,
            REASONS[bucket.what],
            refusal_message(bucket, charge[MEASURES.index(bucket.what)]),
            None if longest == inf else longest / _SECOND_NS,
            tuple([state.standing(now) for state in states]),
        )

    def _find(self, buckets: Sequence[Bucket], now: int) -> tuple[State, ...]:
        """The states of the buckets, opened or bound where they are not; remembered, if they stay theirs."""
        mine: list[State] = []
        for bucket in buckets:
            state = self._states.get(bucket.key)
            if state is None:
                state = self._open(bucket, now, mine)
            elif state.bucket is not bucket:
                state.bind(bucket, now)
                self._forget_ready()  # who comes with the old bucket has to bind it again
            mine.append(state)
        states = tuple(mine)
        if type(buckets) is tuple and not self._shared and id(buckets) not in self._ready:
            self._remember(buckets, states)
        return states

    def _remember(self, buckets: tuple[Bucket, ...], states: tuple[State, ...]) -> None:
        if len(self._ready) >= _MAX_READY:
            self._forget_ready()
        if self._memory.used + _READY_BYTES <= self._max_bytes:
            self._ready[id(buckets)] = buckets, states
            self._memory.used += _READY_BYTES

    def _forget_ready(self) -> None:
        self._memory.used -= len(self._ready) * _READY_BYTES
        self._ready.clear()

    def _open(self, bucket: Bucket, now: int, mine: list[State]) -> State:
        """The state of a subject that has none: its own, or the shared one when there is no room."""
        if (len(self._states) >= self._max_entries or self._memory.used >= self._max_bytes) and not self._make_room(
            now, mine
        ):
            return self._open_shared(bucket, now, mine)
        state = self._states[bucket.key] = _new_state(bucket, now, self._memory)
        state.seen_ns = now + self._lease_ns  # its first use alone is no reason to keep it
        return state

    def _open_shared(self, bucket: Bucket, now: int, mine: list[State]) -> State:
        key = bucket.shared_key or bucket.key
        state = self._shared.get(key)
        if state is None:
            for idle in [name for name, other in self._shared.items() if other not in mine and other.idle(now)]:
                self._memory.used -= self._shared.pop(idle).cost
            state = self._shared[key] = _new_state(bucket, now, self._memory)
        elif state.bucket is not bucket:
            state.bind(bucket, now)
        return state

    def _make_room(self, now: int, mine: list[State]) -> bool:
        """Forget what may be forgotten of the few states that were looked at longest ago; False: there is no room.

        First those that are like new, then those that were not used since they were looked at.
        """
        used = None
        for key, state in list(islice(self._states.items(), _LOOK_AT)):
            if state in mine or state.active(now):
                self._states.move_to_end(key)
            elif state.held_ns == state.seen_ns or state.idle(now):
                if self._forget(key):
                    return True
            else:
                state.seen_ns = state.held_ns
                self._states.move_to_end(key)
                used = used or key
        return used is not None and self._forget(used)

    def _forget(self, key: str) -> bool:
        self._forget_ready()  # some of them may be of this one
        self._memory.used -= self._states.pop(key).cost
        return len(self._states) < self._max_entries and self._memory.used < self._max_bytes


def _new_state(bucket: Bucket, now: int, memory: Memory) -> State:
    if bucket.what == "concurrency":
        return Places(bucket, now, memory)
    return (Gcra if bucket.algorithm == "gcra" else SlidingWindow)(bucket, now, memory)
