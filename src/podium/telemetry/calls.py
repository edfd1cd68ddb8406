"""What only exchanges have that made several calls, or went on to another model: most have none of it."""

from podium.core.event import Event
from podium.telemetry.series import OTHER

__all__ = ["Calls"]


class Calls:
    """Counts by labels. The label sets are bounded; further ones share `other`."""

    __slots__ = ("_max_series", "attempts", "fallbacks", "hedges")

    def __init__(self, max_series: int) -> None:
        self._max_series = max_series
        self.attempts: dict[tuple[str, ...], int] = {}  # by model, backend, kind, reason
        self.hedges: dict[tuple[str, ...], int] = {}  # by model
        self.fallbacks: dict[tuple[str, ...], int] = {}  # by model asked for, model that answered

    def count(self, event: Event, model: str) -> None:
        """Add an exchange. `model`: the label of the model that it asked for."""
        for call in event.trail:
            self._add(self.attempts, (call.model, call.backend), (call.kind, call.reason), 1)
        if event.attempts and not event.trail:  # the one call that a fallback made
            self._add(self.attempts, (event.served_model or model, event.backend), ("fallback", event.reason), 1)
        if event.hedges:
            self._add(self.hedges, (model,), (), event.hedges)
        if event.fallbacks:
            self._add(self.fallbacks, (model, event.served_model), (), 1)

    def _add(self, sums: dict[tuple[str, ...], int], names: tuple[str, ...], words: tuple[str, ...], by: int) -> None:
        """`names` come from what operators declare, `words` from closed sets."""
        key = names + words
        if key not in sums and len(sums) >= self._max_series:
            key = (OTHER,) * len(names) + words
        sums[key] = sums.get(key, 0) + by
