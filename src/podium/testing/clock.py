"""A clock that stands still until a test moves it."""

__all__ = ["TestClock"]


class TestClock:
    """Matches `podium.core.clock.Clock`; both times move together unless the wall clock is made to jump."""

    __test__ = False  # not a test class, whatever its name says to pytest

    def __init__(self, *, monotonic_ns: int = 1_000_000_000, unix_ns: int = 1_800_000_000_000_000_000) -> None:
        self._monotonic_ns = monotonic_ns
        self._unix_ns = unix_ns

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back."""
        return self._monotonic_ns

    def unix_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC."""
        return self._unix_ns

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks; ValueError when it would go back."""
        if seconds < 0:
            raise ValueError("time does not go back; see jump()")
        nanoseconds = round(seconds * 1e9)
        self._monotonic_ns += nanoseconds
        self._unix_ns += nanoseconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or NTP does; durations are untouched."""
        self._unix_ns += round(seconds * 1e9)
