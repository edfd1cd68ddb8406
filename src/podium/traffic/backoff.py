"""How long to wait before a retry."""

from dataclasses import dataclass

__all__ = ["Backoff"]

_MAX_DOUBLINGS = 60  # keeps 2 ** n a sane float


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential with full jitter.

    Somewhere between nothing and a ceiling that doubles: of the ways to spread retries the one with the least
    work (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). 25 ms at first and 250 ms at
    most as in Envoy's retries, since a caller waits (x-envoy-max-retries: base interval 25 ms, ten times that).
    """

    base_s: float = 0.025
    max_s: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.base_s <= self.max_s:
            raise ValueError("`base_s` is above 0 and at most `max_s`")

    def ceiling_s(self, attempt: int) -> float:
        """The longest wait before retry number `attempt`, which counts from 1."""
        doublings = min(max(attempt - 1, 0), _MAX_DOUBLINGS)
        return min(self.max_s, self.base_s * 2.0**doublings)

    def delay_s(self, attempt: int, random: float) -> float:
        """The wait before retry number `attempt`, from 1; `random` is evenly spread over [0, 1)."""
        return self.ceiling_s(attempt) * random
