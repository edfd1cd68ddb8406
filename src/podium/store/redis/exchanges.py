"""What exchanges ask the shared store for when they begin and end: steps, of which one script does many at once.

Steps of one turn of the event loop, or that wait while all connections are at work, are one script: what they have in
common, the buckets of a key or the accounts of a budget, is sent, read and written once. They are done in order.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from podium.economics.budgets.values import Charge, Cost, Reservation
from podium.store.redis.budget_words import ChargeWords
from podium.store.redis.connection import error_of
from podium.store.redis.scripts import MergedScript, Scripts, script
from podium.traffic.limiting.buckets import MEASURES, Bucket
from podium.traffic.limiting.buckets import Charge as Taken

__all__ = ["Exchanges", "Step", "admit_step", "end_step", "finish_step", "reserve_step", "take_step"]

_NOTHING = Cost(0, 0)
_TAKE, _END, _RESERVE, _SETTLE, _RELEASE, _ADMIT = range(1, 7)  # as in exchanges.lua
_REMEMBERED = 20_000  # buckets
_MEASURED_AT = {what: number for number, what in enumerate(MEASURES)}
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


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
    whats = [_MEASURED_AT[bucket.what] for bucket in buckets]
    return Step(_END, grant, buckets=buckets, amounts=[facts[what] - charge[what] for what in whats])


def reserve_step(
    reservation_id: bytes, deadline_us: int, charges: Sequence[Charge], estimate: Cost, unix_ns: int
) -> Step:
    """Reserve of all or of none."""
    words = (_RESERVE, reservation_id.hex(), deadline_us, unix_ns // 1000)
    return Step(*words, charges=charges, estimate=estimate, unix_ns=unix_ns)


def admit_step(
    grant: str, deadline_us: int, buckets: tuple[Bucket, ...], charge: Taken, reservation: Reservation
) -> Step:
    """Take and reserve, both or neither."""
    unix_ns = reservation.made_unix_ns
    step = Step(_ADMIT, grant, deadline_us, reservation.id.hex(), unix_ns // 1000)
    step.buckets, step.amounts = buckets, _amounts(buckets, charge)
    step.charges, step.estimate, step.unix_ns = reservation.charges, reservation.estimate, unix_ns
    return step


def finish_step(reservation_id: bytes, fact: Cost | None) -> Step:
    """End a reservation; None: it cost nothing."""
    name = reservation_id.hex()
    return Step(_RELEASE, name) if fact is None else Step(_SETTLE, name, *fact)


class Exchanges:
    """Has steps done, those of one process in the fewest scripts."""

    __slots__ = ("_buckets", "_charges", "_merged", "_prefix", "_scripts")

    def __init__(self, scripts: Scripts, prefix: str) -> None:
        self._scripts, self._prefix = scripts, prefix
        self._buckets: dict[str, tuple[Bucket, tuple[str | int, ...]]] = {}
        self._charges = ChargeWords()
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
            keys = (f"{self._prefix}:budget2:", f"{self._prefix}:limit2:")

            def arguments(steps: list[Step]) -> tuple[int, int, bytes]:
                return skew_us, lease_us, self._packed(steps)

            merged = self._merged[skew_us, lease_us] = MergedScript(
                script("exchanges", "limits", "budgets"), keys, arguments, _answers
            )
        return merged

    def _packed(self, steps: list[Step]) -> bytes:
        flat: list[str | int] = [0]
        sets: dict[int, list[int]] = {}  # of what comes together, by identity: where in the list each of them is
        for step in steps:
            if step.buckets is not None and id(step.buckets) not in sets:
                sets[id(step.buckets)] = _put(flat, map(self._words_of_bucket, step.buckets))
            if step.charges is not None and id(step.charges) not in sets:
                sets[id(step.charges)] = _put(flat, [self._charges.of(charge, step.unix_ns) for charge in step.charges])
        flat[0] = len(flat) + 1
        for step in steps:
            at = len(flat)
            flat.append(0)
            flat += step.words
            if step.buckets is not None:
                flat.append(2 * len(step.buckets))
                for pair in zip(sets[id(step.buckets)], step.amounts, strict=True):
                    flat += pair
            if step.charges is not None:
                flat.append(2 * len(step.charges))
                estimate = step.estimate
                for number, charge in zip(sets[id(step.charges)], step.charges, strict=True):
                    flat += (number, estimate[0 if charge.rule.unit == "usd" else 1])
            flat[at] = len(flat) - at - 1
        return _pack(flat)

    def _words_of_bucket(self, bucket: Bucket) -> tuple[str | int, ...]:
        known = self._buckets.get(bucket.key)
        if known is None or known[0] is not bucket:
            if len(self._buckets) >= _REMEMBERED:
                self._buckets.clear()
            known = self._buckets[bucket.key] = (bucket, _words(bucket))
        return known[1]


def _put(flat: list[str | int], described: Iterable[tuple[str | int, ...]]) -> list[int]:
    """Where they are then; numbers of Lua begin at 1."""
    numbers = []
    for words in described:
        numbers.append(len(flat) + 1)
        flat += words
    return numbers


def _answers(packed: bytes) -> list[Any]:
    return [error_of(answer) if type(answer) is str else answer for answer in _unpack(packed)]


def _amounts(buckets: tuple[Bucket, ...], charge: Taken) -> list[int]:
    return [charge[_MEASURED_AT[bucket.what]] for bucket in buckets]


def _words(bucket: Bucket) -> tuple[str | int, ...]:
    if bucket.what == "concurrency":
        return bucket.key, "c", bucket.amount, bucket.amount, 0
    kind, burst = ("g", bucket.at_once) if bucket.algorithm == "gcra" else ("s", bucket.amount)
    return bucket.key, kind, bucket.amount, burst, bucket.window_ns // 1000
