"""How much a model is asked, and under which names."""

from collections.abc import Collection

from podium.control.ports import Ledger, UsageQuery
from podium.control.specs import State
from podium.core.clock import Clock
from podium.core.resources import Model

__all__ = ["RECENT_S", "Traffic", "public_names"]

_DAY_S = 86_400.0
_RECENT_DAYS = 7.0
RECENT_S = _RECENT_DAYS * _DAY_S
_SHORTER_S = (3600.0, _DAY_S, 2 * _DAY_S, 4 * _DAY_S)


class Traffic:
    """What the ledger tells of it."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def per_day(self, names: Collection[str]) -> tuple[float, float]:
        """Exchanges and answers a day, of the last week, or of as much of it as there was any."""
        now_s = self._clock.unix_ns() / 1e9
        week_s = now_s - RECENT_S
        exchanges, answers = await self._used(names, week_s, None)
        days = _RECENT_DAYS
        for back_s in _SHORTER_S if exchanges else ():  # a model of yesterday is not taken for a quiet one
            if not (await self._used(names, week_s, now_s - back_s))[0]:
                days = back_s / _DAY_S
                break
        return exchanges / days, answers / days

    async def _used(self, names: Collection[str], since_unix_s: float, until_unix_s: float | None) -> tuple[int, int]:
        """Exchanges, and those of them that were answered."""
        exchanges = answers = 0
        for name in names:
            query = UsageQuery(by=(), since_unix_s=since_unix_s, until_unix_s=until_unix_s, model=name)
            for row in await self._ledger.usage(query):
                exchanges += row.exchanges
                answers += row.exchanges - row.errors
        return exchanges, answers


def public_names(state: State, model: str) -> tuple[tuple[str, ...], bool]:
    """What callers may ask for to get this model, and whether it is declared."""
    resource = state.get(("Model", model))
    if resource is None or not isinstance(resource.spec, Model):
        return (model,), False
    return (model, *resource.spec.aliases), True
