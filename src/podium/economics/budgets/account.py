"""What one subject has used of one budget in one period: settled and reserved, kept apart.

Rules
1. `settled` is what exchanges cost, `reserved` what running ones may cost at most. Neither is ever the other's.
2. A cost counts where its exchange was reserved: in that period, or in that bucket of a rolling window. One that
   is settled after the period's end changes the old period; a cost whose bucket has left the window counts no more.
3. A rolling window only moves forward. A clock that steps back finds all of it still counted.
4. A mark (`set_mark`) cuts time for the repair: from then on what was reserved before it is summed apart, so that it
   can be compared with the ledger while newer exchanges run. A mark lies a little in the future when it is set.
"""

from podium.economics.budgets.values import Charge, Correction, Crossing, Part, Standing

__all__ = ["Account"]

_NEVER = 1 << 200


class Account:
    """The sums of one account, under the charge that it was last asked with."""

    __slots__ = (
        "_before",
        "_buckets",
        "_told",
        "alert_at",
        "charge",
        "latest",
        "limit",
        "mark_ns",
        "mended_ns",
        "moves_at_ns",
        "reserved",
        "rolls",
        "running",
        "running_before",
        "settled",
        "unit",
    )

    def __init__(self, charge: Charge) -> None:
        self.settled = 0  # of a rolling one: in the window that ends with bucket `latest`
        self.reserved = 0
        self.running = 0
        self.mark_ns = 0
        self.mended_ns = 0  # of what was reserved before, the ledger has the last word
        self.latest = 0  # bucket, rolling
        self.moves_at_ns = 0 if charge.bucket_ns else _NEVER  # the end of that bucket
        self._before = 0  # settled, of what was reserved before the mark; calendar periods
        self.running_before = 0  # of those, reserved before the mark
        self.rolls = bool(charge.bucket_ns)
        self._buckets: dict[int, int] | None = {} if self.rolls else None
        self._told: dict[float, int] = {}  # soft marks, and the bucket in which they were reached
        self.bind(charge)

    def bind(self, charge: Charge) -> None:
        """Go on under a changed budget; what was used stays used."""
        self.charge = charge
        self.unit = 0 if charge.rule.unit == "usd" else 1  # of a Cost
        self.limit = charge.rule.amount if charge.rule.hard else _NEVER  # of settled and reserved together
        self._await_next_alert()

    def set_mark(self, mark_ns: int) -> None:
        """Cut at this moment; all that is running was reserved before it."""
        self.mark_ns = mark_ns
        self._before = self.settled
        self.running_before = self.running

    def advance(self, unix_ns: int) -> None:
        """Move a rolling window to this moment."""
        buckets = self._buckets
        if buckets is None:
            return
        bucket = unix_ns // self.charge.bucket_ns
        if bucket <= self.latest:
            return
        self.latest = bucket
        self.moves_at_ns = (bucket + 1) * self.charge.bucket_ns
        oldest = bucket - self.charge.buckets
        for old in [known for known in buckets if known < oldest]:
            self.settled -= buckets.pop(old)
        if self._told:
            self._told = {share: told for share, told in self._told.items() if told >= oldest}
            self._await_next_alert()

    def has_room(self, amount: int) -> bool:
        """True when that much more may be reserved."""
        return self.settled + self.reserved + amount <= self.limit

    def count(self, amount: int, made_ns: int) -> tuple[Crossing, ...]:
        """Add what an exchange cost that was reserved at `made_ns`; the soft marks that this reached."""
        buckets = self._buckets
        if buckets is None:
            self.settled += amount
            if made_ns < self.mark_ns:
                self._before += amount
        else:
            charge = self.charge
            bucket = made_ns // charge.bucket_ns
            if bucket < self.latest - charge.buckets:
                return ()
            buckets[bucket] = buckets.get(bucket, 0) + amount
            self.settled += amount
        return self.crossings() if self.settled >= self.alert_at else ()

    def correct(self, correction: Correction) -> tuple[Crossing, ...] | None:
        """Apply a correction, and hear the soft marks that it reached; None when it is void. Once: then it is void."""
        if correction.mark_ns != self.mark_ns or self.running_before:
            return None
        change = correction.actual - correction.expected
        if self._buckets is None:
            if self._before != correction.expected:
                return None
            self._before += change
            self.settled += change
        else:
            bucket = correction.start_ns // self.charge.bucket_ns
            if bucket < self.latest - self.charge.buckets or self._buckets.get(bucket, 0) != correction.expected:
                return None
            self._buckets[bucket] = correction.actual
            self.settled += change
        self.mended_ns = max(self.mended_ns, self.mark_ns)
        return self.crossings() if self.settled >= self.alert_at else ()

    def learn(self, start_ns: int, amount: int) -> tuple[Crossing, ...]:
        """Hear that at least this much was settled in the part that begins then; the soft marks that this reached."""
        if self._buckets is None:
            more = amount - self.settled
            if more <= 0:
                return ()
            self._before += more
        else:
            bucket = start_ns // self.charge.bucket_ns
            more = amount - self._buckets.get(bucket, 0)
            if more <= 0 or not self.latest - self.charge.buckets <= bucket <= self.latest:
                return ()
            self._buckets[bucket] = amount
        self.settled += more
        return self.crossings() if self.settled >= self.alert_at else ()

    def standing(self) -> Standing:
        """How it stands."""
        return Standing(
            charge=self.charge,
            settled=self.settled,
            reserved=self.reserved,
            running=self.running,
            told=tuple(sorted(self._told)),
            mark_ns=self.mark_ns,
            running_before_mark=self.running_before,
            parts=self._parts(),
        )

    def room_at_ns(self, amount: int, unix_ns: int) -> int | None:
        """When time alone makes room for an amount; None: it does not within one window or period.

        What is reserved now is taken to stay.
        """
        rule, needed = self.charge.rule, self.settled + self.reserved + amount
        if self._buckets is None:
            return self.charge.end_ns if amount <= rule.amount else None
        for bucket in sorted(self._buckets):
            needed -= self._buckets[bucket]
            if needed <= rule.amount:
                return max(unix_ns, (bucket + self.charge.buckets + 1) * self.charge.bucket_ns)
        return None

    def _parts(self) -> tuple[Part, ...]:
        charge = self.charge
        if not self.mark_ns:
            return ()
        if self._buckets is None:
            end_ns = min(charge.end_ns, self.mark_ns)
            return (Part(charge.start_ns, end_ns, self._before),) if end_ns > charge.start_ns else ()
        length_ns = charge.bucket_ns
        oldest, marked = self.latest - charge.buckets, min(self.latest, self.mark_ns // length_ns - 1)
        return tuple(
            Part(bucket * length_ns, (bucket + 1) * length_ns, self._buckets.get(bucket, 0))
            for bucket in range(oldest, marked + 1)
        )

    def crossings(self) -> tuple[Crossing, ...]:
        """The soft marks that are reached and were not told yet. None is while `settled` is below `alert_at`."""
        charge, reached = self.charge, []
        for share, amount in charge.rule.soft:
            if self.settled >= amount and share not in self._told:
                self._told[share] = self.latest
                reached.append(share)
        self._await_next_alert()
        rule = charge.rule
        return tuple(
            Crossing(rule.budget, charge.key, charge.subject, share, self.settled, rule.amount, rule.unit)
            for share in reached
        )

    def _await_next_alert(self) -> None:
        left = [amount for share, amount in self.charge.rule.soft if share not in self._told]
        self.alert_at = min(left, default=_NEVER)
