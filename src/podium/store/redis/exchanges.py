"""What exchanges ask the shared store for when they begin and end: steps, of which one script does many at once.

Steps of one turn of the event loop, or that wait while all connections are at work, are one script: what they have in
common, the buckets of a key or the accounts of a budget, is sent, read and written once. They are done in order.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from podium.economics.budgets.values import Charge, Cost
from podium.store.redis.budget_words import ChargePacker
from podium.store.redis.scripts import MergedScript, Scripts, script
from podium.traffic.limiting.buckets import MEASURES, Bucket
from podium.traffic.limiting.buckets import Charge as Taken

__all__ = ["Exchanges", "Step", "end_step", "finish_step", "reserve_step", "take_step"]

_NOTHING = Cost(0, 0)
_TAKE, _END, _RESERVE, _SETTLE, _RELEASE = range(1, 6)  # as in exchanges.lua
_REMEMBERED = 20_000  # packed buckets
_pack = msgspec.msgpack.Encoder().encode


class Step:
    """One step: what `exchanges.lua` reads of it; `takes` and `costs` come last."""

    __slots__ = ("amounts", "buckets", "charges", "estimate", "unix_ns", "words")

    def __init__(
        self,
        *words: str | int,
        buckets: tuple[Bucket, ...] | None = None,
        amounts: Sequence[int] = (),
        charges: Sequence[Charge] | None = None,
        estimate: Cost = _NOTHING,
        unix_ns: int = 0,
    ) -> None:
        self.words = words
        self.buckets, self.amounts = buckets, amounts  # how much of each
        self.charges, self.estimate, self.unix_ns = charges, estimate, unix_ns


def take_step(grant: str, deadline_us: int, buckets: tuple[Bucket, ...], charge: Taken) -> Step:
    """Take from all or from none."""
    return Step(_TAKE, grant, deadline_us, buckets=buckets, amounts=_amounts(buckets, charge))


def end_step(grant: str, buckets: tuple[Bucket, ...], charge: Taken, facts: Taken) -> Step:
    """End a grant of this charge that took `facts` in truth."""
    whats = [MEASURES.index(bucket.what) for bucket in buckets]
    return Step(_END, grant, buckets=buckets, amounts=[facts[what] - charge[what] for what in whats])


def reserve_step(
    reservation_id: bytes, deadline_us: int, charges: Sequence[Charge], estimate: Cost, unix_ns: int
) -> Step:
    """Reserve of all or of none."""
    words = (_RESERVE, reservation_id.hex(), deadline_us, unix_ns // 1000)
    return Step(*words, charges=charges, estimate=estimate, unix_ns=unix_ns)


def finish_step(reservation_id: bytes, fact: Cost | None) -> Step:
    """End a reservation; None: it cost nothing."""
    name = reservation_id.hex()
    return Step(_RELEASE, name) if fact is None else Step(_SETTLE, name, *fact)


class Exchanges:
    """Has steps done, those of one process in the fewest scripts."""

    __slots__ = ("_buckets", "_merged", "_packer", "_prefix", "_scripts")

    def __init__(self, scripts: Scripts, prefix: str) -> None:
        self._scripts, self._prefix = scripts, prefix
        self._buckets: dict[str, tuple[Bucket, msgspec.Raw]] = {}
        self._packer = ChargePacker()
        self._merged: dict[tuple[int, int], MergedScript] = {}

    async def run(self, step: Step, skew_us: int, lease_us: int, *, deadline_s: float | None = None) -> Any:
        """What the script answers to a step. StoreUnavailable; ResponseError when the script is wrong.

        `deadline_s`: as in `RedisClient.send`.
        """
        (answer,) = await self.run_all((step,), skew_us, lease_us, deadline_s=deadline_s)
        return answer

    async def run_all(
        self, steps: Sequence[Step], skew_us: int, lease_us: int, *, deadline_s: float | None = None
    ) -> list[Any]:
        """As `run`, of each step."""
        merged = self._script(skew_us, lease_us)
        answers: list[Any] = await self._scripts.run_merged(merged, steps, deadline_s=deadline_s)
        return answers

    def send(self, steps: Sequence[Step], skew_us: int, lease_us: int) -> "asyncio.Future[list[Any]]":
        """As `run_all`, sent now: answers to come. It may also be that the server does not know the script yet."""
        return self._scripts.send_merged(self._script(skew_us, lease_us), steps)

    def _script(self, skew_us: int, lease_us: int) -> MergedScript:
        merged = self._merged.get((skew_us, lease_us))
        if merged is None:
            keys = (f"{self._prefix}:budget1:", f"{self._prefix}:limit1:")

            def arguments(steps: list[Step]) -> tuple[int, int, bytes]:
                return skew_us, lease_us, self._packed(steps)

            merged = self._merged[skew_us, lease_us] = MergedScript(
                script("exchanges", "limits", "budgets"), keys, arguments
            )
        return merged

    def _packed(self, steps: list[Step]) -> bytes:
        bucket_at: dict[int, int] = {}  # by identity: numbers of Lua, which begin at 1
        charge_at: dict[int, int] = {}
        buckets: list[msgspec.Raw] = []
        charges: list[msgspec.Raw] = []
        written = []
        for step in steps:
            words: list[Any] = [*step.words]
            if step.buckets is not None:
                takes: list[int] = []
                for bucket, amount in zip(step.buckets, step.amounts, strict=True):
                    number = bucket_at.get(id(bucket))
                    if number is None:
                        buckets.append(self._packed_bucket(bucket))
                        number = bucket_at[id(bucket)] = len(buckets)
                    takes += (number, amount)
                words.append(takes)
            if step.charges is not None:
                costs: list[int] = []
                estimate = step.estimate
                for charge in step.charges:
                    number = charge_at.get(id(charge))
                    if number is None:
                        charges.append(msgspec.Raw(self._packer.pack(charge, step.unix_ns)))
                        number = charge_at[id(charge)] = len(charges)
                    costs += (number, estimate[0 if charge.rule.unit == "usd" else 1])
                words.append(costs)
            written.append(words)
        return _pack((buckets, charges, written))

    def _packed_bucket(self, bucket: Bucket) -> msgspec.Raw:
        known = self._buckets.get(bucket.key)
        if known is None or known[0] is not bucket:
            if len(self._buckets) >= _REMEMBERED:
                self._buckets.clear()
            known = self._buckets[bucket.key] = (bucket, msgspec.Raw(_pack(_words(bucket))))
        return known[1]


def _amounts(buckets: tuple[Bucket, ...], charge: Taken) -> list[int]:
    return [charge[MEASURES.index(bucket.what)] for bucket in buckets]


def _words(bucket: Bucket) -> tuple[str | int, ...]:
    if bucket.what == "concurrency":
        return bucket.key, "c", bucket.amount, bucket.amount, 0
    kind, burst = ("g", bucket.at_once) if bucket.algorithm == "gcra" else ("s", bucket.amount)
    return bucket.key, kind, bucket.amount, burst, bucket.window_ns // 1000
