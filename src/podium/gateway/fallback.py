"""Which model answers next: the way of one exchange through the models that its operator allows."""

import msgspec

from podium.core.errors import PodiumError, UpstreamError
from podium.core.exchange import Exchange
from podium.gateway.answers import RejectedByUpstream
from podium.gateway.pool import Pool
from podium.gateway.world import World
from podium.traffic.fallback import FallbackCause, cause_of, next_model

__all__ = ["Route"]


class _Said(msgspec.Struct):
    message: str = ""
    code: str | int | None = None
    type: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _Said = msgspec.field(default_factory=_Said)


_decode = msgspec.json.Decoder(_ErrorBody).decode


class Route:
    """Where an exchange is on its way. `model`, `pool` and `overrides` are those of the current model."""

    __slots__ = ("_visited", "_world", "cause", "first", "model", "overrides", "pool")

    def __init__(self, world: World, model: str, pool: Pool) -> None:
        self._world = world
        self._visited = [model]
        self.first = pool
        self.model = model
        self.pool = pool
        self.overrides: dict[str, msgspec.Raw] = {}
        self.cause: FallbackCause | None = None  # why the current model was gone on to; None: it was asked for

    @property
    def is_fallback(self) -> bool:
        """True when it is another model than was asked for."""
        return self.cause is not None

    def go_on(self, error: PodiumError, exchange: Exchange) -> bool:
        """Go on to the next model that may do better after this error; False when there is none."""
        rules = self._world.fallback_rules
        if not rules:
            return False
        cause = _cause(error)
        if cause is None:
            return False
        while True:
            step = next_model(rules, cause, self._visited, max_depth=self.first.failure.max_fallbacks)
            if step.model is None:
                return False
            overrides = self._overrides(step.model)
            self._visited.append(step.model)
            pool = self._world.pool(step.model)
            if pool is None or not pool.backends or not self._world.serves(step.model, exchange.endpoint):
                continue
            self.model, self.pool, self.overrides, self.cause = step.model, pool, overrides, cause
            exchange.fallbacks += 1
            return True

    def _overrides(self, model: str) -> dict[str, msgspec.Raw]:
        """What the rule that led to `model` sets; the latest model's rule counts."""
        for visited in reversed(self._visited):
            pool = self._world.pool(visited)
            for rule in pool.failure.fallbacks if pool is not None else ():
                if rule.model == model:
                    return {
                        name: msgspec.Raw(msgspec.json.encode(value)) for name, value in (rule.parameters or {}).items()
                    }
        return {}


def _cause(error: PodiumError) -> FallbackCause | None:
    if isinstance(error, RejectedByUpstream):
        said = _said(error.body)
        return cause_of(error.reason, error.status, code=str(said.code or said.type or ""), message=said.message)
    status = error.upstream_status if isinstance(error, UpstreamError) else None
    return cause_of(error.reason, status)


def _said(body: bytes) -> _Said:
    try:
        return _decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Said()
