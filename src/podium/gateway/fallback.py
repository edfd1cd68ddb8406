"""Which model answers next: the way of one exchange through the models that its operator allows."""

import msgspec

from podium.core.errors import PodiumError
from podium.core.exchange import Exchange
from podium.core.serving import Fallback
from podium.gateway.answers import cause_to_go_on
from podium.gateway.pool import Backend, Pool
from podium.gateway.world import World
from podium.traffic.fallback import FallbackCause, next_model

__all__ = ["Route"]


class Route:
    """Where an exchange is on its way. `model`, `pool`, `barred` and `overrides` are those of the current model.

    `barred`: its backends that the residency of the model asked for forbids, which holds for whoever answers instead.
    """

    __slots__ = ("_skipped", "_visited", "_world", "barred", "first", "model", "overrides", "pool")

    def __init__(self, world: World, model: str, pool: Pool) -> None:
        self._world = world
        self._visited = [model]
        self._skipped = 0  # of those visited: could not be called at all, so they do not count
        self.first = pool
        self.model = model
        self.pool = pool
        self.barred: tuple[Backend, ...] = ()
        self.overrides: dict[str, msgspec.Raw] = {}

    def go_on(self, error: PodiumError, exchange: Exchange) -> bool:
        """Go on to the next model that may do better after this error; False when there is none."""
        rules = self._world.fallback_rules
        cause = cause_to_go_on(error) if rules else None
        if cause is None:
            return False
        while True:
            depth = self.first.failure.max_fallbacks + self._skipped
            step = next_model(rules, cause, self._visited, max_depth=depth)
            if step.model is None:
                return False
            overrides = self._overrides(step.model, cause)
            self._visited.append(step.model)
            if self._enter(step.model, exchange.endpoint):
                self.overrides = overrides
                exchange.fallbacks += 1
                return True
            self._skipped += 1

    def _enter(self, model: str, endpoint: str) -> bool:
        """Make a model the current one; False when nothing of it may be called for this exchange."""
        pool = self._world.pool(model)
        if pool is None or not self._world.serves(model, endpoint):
            return False
        barred = pool.outside(self.first.residency)
        if len(barred) == len(pool.backends):
            return False
        self.model, self.pool, self.barred = model, pool, barred
        return True

    def _overrides(self, model: str, cause: FallbackCause) -> dict[str, msgspec.Raw]:
        """What the rule that led to `model` sets; the latest model's rule counts."""
        for visited in reversed(self._visited):
            pool = self._world.pool(visited)
            for rule in pool.failure.fallbacks if pool is not None else ():
                if rule.model == model and cause in rule.on:
                    return _raw_parameters(rule)
        return {}


def _raw_parameters(rule: Fallback) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in (rule.parameters or {}).items()}
