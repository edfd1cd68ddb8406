"""Exchanges at the same time: places that are leased, so that who never comes back frees its place too."""

from podium.traffic.limiting.buckets import MEASURES, Bucket, Standing
from podium.traffic.limiting.memory import Memory, Taken

__all__ = ["Places"]

_RETRY_NS = 1_000_000_000  # nobody knows when a running exchange ends; a second spreads the retries
_BASE_BYTES = 1100  # object, numbers, the first leases, place in a table; a test measures it
_FIRST_LEASES = 5
_LEASE_BYTES = 150  # two numbers and a place in a dict that is up to half empty


class Places:
    """Who holds a place. Time that is handed in never goes back."""

    __slots__ = (
        "_amount",
        "_leases",
        "_leases_paid",
        "_memory",
        "_oldest_ns",
        "bucket",
        "cost",
        "flying",
        "held_ns",
        "refused",
        "seen_ns",
        "what",
    )

    def __init__(self, bucket: Bucket, now_ns: int, memory: Memory) -> None:
        self.what = MEASURES.index(bucket.what)
        self.flying = 0
        self.seen_ns = 0  # for who makes room: `held_ns` when it looked last
        self.held_ns = 0
        self.refused: tuple[int, int, int | None] | None = (
            None  # the last refusal: at_ns, amount, wait_ns (None: too large)
        )
        self._leases: dict[int, int] = {}  # serial -> when it ends; the soonest first, as all are equally long
        self._oldest_ns = 0  # none ends before this
        self._leases_paid = _FIRST_LEASES
        self._memory = memory
        self.cost = _BASE_BYTES + len(bucket.key)
        memory.used += self.cost
        self.bind(bucket, now_ns)

    def bind(self, bucket: Bucket, now_ns: int) -> None:  # noqa: ARG002 - one shape
        """Go on under a changed amount; who has a place keeps it."""
        self.bucket = bucket
        self._amount = bucket.amount

    def take(self, amount: int, serial: int, now_ns: int, until_ns: int) -> bool:
        """Lease a place until `until_ns`, which is never before that of an earlier lease. `amount`: 0 or 1.

        False: none is free, and nothing changed.
        """
        leases = self._leases
        if len(leases) + amount > self._amount and self._expire(now_ns) + amount > self._amount:
            return False
        if amount:
            if not leases:
                self._oldest_ns = until_ns
            leases[serial] = until_ns
            if len(leases) > self._leases_paid:
                self._grow()
        return True

    def undo(self, amount: int, serial: int) -> None:  # noqa: ARG002 - one shape
        """Take back the last `take`."""
        self._leases.pop(serial, None)

    def end(self, difference: int, grant: Taken, next_serial: int, now_ns: int) -> None:  # noqa: ARG002 - one shape
        """Free the place of a grant, if it still has it."""
        self._leases.pop(grant.serial, None)

    def renew(self, serial: int, until_ns: int) -> bool:
        """Let a lease end later; False: it has ended, and its place may be another's."""
        if self._leases.pop(serial, None) is None:
            return False
        self._leases[serial] = until_ns
        return True

    def fits(self, amount: int, now_ns: int) -> bool:
        """True when `amount` places are free."""
        return self._expire(now_ns) + amount <= self._amount

    def wait_ns(self, amount: int, now_ns: int) -> int | None:
        """How long to wait before asking again; None: there never are as many places."""
        if self.fits(amount, now_ns):
            return 0
        return _RETRY_NS if amount <= self._amount else None

    def standing(self, now_ns: int) -> Standing:
        """What is left."""
        left = self._amount - (len(self._leases) if now_ns < self._oldest_ns else self._expire(now_ns))
        return Standing(self.bucket, left if left > 0 else 0, 0)  # noqa: FURB136 - a call costs more

    def idle(self, now_ns: int) -> bool:
        """True when a new one would decide the same."""
        return not self._expire(now_ns)

    def active(self, now_ns: int) -> bool:
        """True when something is in flight."""
        return not self.idle(now_ns)

    def _expire(self, now_ns: int) -> int:
        """Forget leases that have ended; how many are left."""
        leases = self._leases
        if now_ns >= self._oldest_ns:
            ended = []
            for serial, until_ns in leases.items():
                if until_ns > now_ns:
                    self._oldest_ns = until_ns
                    break
                ended.append(serial)
            for serial in ended:
                del leases[serial]
        return len(leases)

    def _grow(self) -> None:
        more = self._leases_paid
        self._leases_paid += more
        self.cost += more * _LEASE_BYTES
        self._memory.used += more * _LEASE_BYTES
