"""What is known of one backend's load and speed.

Rules
1. Slow answers count at once, fast ones slowly (`PeakEwma`).
2. A failure never makes a backend look fast: it counts as a slow answer.
3. A call that still waits for its first content counts for as long as it has waited. So a backend that hangs looks
   slow before its first timeout.
4. A call that is given up because another backend was first would have taken longer than it was let wait. It counts
   twice as long, and doubly so for each in a row: a backend that only ever loses must not look as fast as hedging
   makes it for the caller.
"""

from podium.traffic.balancing.ewma import PeakEwma

__all__ = ["BackendLoad"]

# What a failure counts as: twice the estimate, within these. A first failure thus weighs like a slow answer; a series
# of them reaches the upper end soon and, with ten seconds of decay, costs the backend its traffic for half a minute.
_FAILURE_LEAST_MS = 1_000.0
_FAILURE_MOST_MS = 60_000.0
_MOST_DOUBLINGS = 10  # from 60 ms to a minute


class BackendLoad:
    """One backend as balancers see it. One object a backend; it outlives snapshots and pools.

    `key`: provider/model. `weight`: its share; 0 takes nothing new (draining). `price`: nano-dollars for a million
    tokens, input and output blended; None when it is not known. `decay_s`: mean lifetime of what was measured.
    """

    __slots__ = (
        "_beaten",
        "_per_token",
        "_ttft",
        "_unproven",
        "_waiting_since_ns",
        "in_flight",
        "key",
        "price",
        "region",
        "weight",
    )

    def __init__(
        self, key: str, *, weight: int = 1, region: str = "", price: int | None = None, decay_s: float = 10.0
    ) -> None:
        self.key = key
        self.weight = weight
        self.region = region
        self.price = price
        self.in_flight = 0
        self._ttft = PeakEwma(decay_s)
        self._per_token = PeakEwma(decay_s)
        # Calls begun since the last sample of TTFT, about: the end of an older call takes one off too.
        self._unproven = 0
        self._waiting_since_ns = 0  # when the first of them began
        self._beaten = 0  # calls in a row

    def __repr__(self) -> str:
        return f"BackendLoad({self.key!r}, weight={self.weight}, in_flight={self.in_flight})"

    @property
    def unproven(self) -> bool:
        """True when a call was begun and no answer has been seen since."""
        return self._unproven > 0

    def began(self, now_ns: int) -> None:
        """A call goes out."""
        self.in_flight += 1
        if not self._unproven:
            self._waiting_since_ns = now_ns
        self._unproven += 1

    def first_content(self, now_ns: int, ttft_ms: float) -> None:
        """The first content of a call is here, `ttft_ms` after it began."""
        self._ttft.sample(ttft_ms, now_ns)
        self._unproven = self._beaten = 0

    def beaten(self, now_ns: int, waited_ms: float) -> None:
        """A call is given up without content `waited_ms` after it began, because another backend was first."""
        self._beaten = min(self._beaten + 1, _MOST_DOUBLINGS)
        self._ttft.sample(min(waited_ms * 2.0**self._beaten, _FAILURE_MOST_MS), now_ns)
        self._unproven = 0

    def ended(self, now_ns: int, *, time_per_output_token_ms: float | None, failed: bool) -> None:
        """A call is over. Once for each `began`.

        `time_per_output_token_ms`: None when there was no second token. `failed`: by the backend's fault; a caller
        that went away or sent nonsense is no failure.
        """
        self.in_flight -= 1
        if self._unproven:
            self._unproven -= 1
        if failed:
            known = self._ttft.read(now_ns) or 0.0
            self._ttft.sample(min(max(2.0 * known, _FAILURE_LEAST_MS), max(known, _FAILURE_MOST_MS)), now_ns)
            self._unproven = 0
        elif time_per_output_token_ms is not None:
            self._per_token.sample(time_per_output_token_ms, now_ns)

    def ttft_ms(self, now_ns: int) -> float | None:
        """How long until the first content, ms; None when nothing is known (any more)."""
        known = self._ttft.read(now_ns)
        if known is None or not self._unproven:
            return known
        return max(known, (now_ns - self._waiting_since_ns) / 1e6)

    def time_per_output_token_ms(self, now_ns: int) -> float | None:
        """How long a further token takes, ms; None when nothing is known (any more)."""
        return self._per_token.read(now_ns)
