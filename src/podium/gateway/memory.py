"""What a model's version learns while it serves: turns, warm prefixes, outliers, delays, budgets."""

from collections.abc import Sequence

from podium.core.resources import Model
from podium.core.serving import Balancing
from podium.traffic.balancing.ports import Balancer
from podium.traffic.balancing.regional import RegionalBalancer
from podium.traffic.balancing.registry import make_balancer
from podium.traffic.hedging import HedgePolicy, Hedger
from podium.traffic.outliers import OutlierPolicy, Outliers
from podium.traffic.retry_budget import RetryBudget, RetryBudgetPolicy

__all__ = ["Memory"]


class Memory:
    """What a model's version learns while it serves; kept from snapshot to snapshot. `model`: its name."""

    __slots__ = ("_budget_policy", "balancer", "balancing", "hedgers", "model", "outliers", "retry_budget")

    def __init__(self, model: str = "") -> None:
        self.model = model
        self.balancing: Balancing | None = None
        self.balancer: Balancer | RegionalBalancer | None = None
        self.outliers: Outliers | None = None
        self.hedgers: tuple[Hedger, Hedger] | None = None  # for whole answers, for streams: their times differ
        self.retry_budget: RetryBudget | None = None
        self._budget_policy: RetryBudgetPolicy | None = None

    def follow(self, model: Model, backends: Sequence[str], now_ns: int) -> None:
        """Go on under a changed spec; what has not changed keeps what it knows. `backends`: their keys."""
        if self.balancing != model.balancing:
            self.balancing = model.balancing
            self.balancer = _balancer(model.balancing)
        failure = model.failure
        self.outliers = _outliers(self.outliers, model, backends, now_ns)
        self.hedgers = _hedgers(self.hedgers, model, now_ns)
        policy = RetryBudgetPolicy(ratio=failure.retries.budget_share, minimum_per_s=failure.retries.budget_per_s)
        if self._budget_policy != policy:
            self._budget_policy = policy
            self.retry_budget = RetryBudget(policy, now_ns)


def _balancer(spec: Balancing) -> Balancer | RegionalBalancer:
    if spec.regions or spec.residency:
        return RegionalBalancer(lambda: make_balancer(spec.strategy))
    return make_balancer(spec.strategy)


def _outliers(old: Outliers | None, model: Model, backends: Sequence[str], now_ns: int) -> Outliers | None:
    spec = model.failure.ejection
    if spec is None:
        return None
    policy = OutlierPolicy(max_ejected_share=spec.max_share)
    if old is None or old.policy != policy:
        return Outliers(policy, backends, now_ns)
    old.set_backends(backends)
    return old


def _hedgers(old: tuple[Hedger, Hedger] | None, model: Model, now_ns: int) -> tuple[Hedger, Hedger] | None:
    spec = model.failure.hedging
    if spec is None:
        return None
    policy = HedgePolicy(
        percentile=spec.percentile,
        minimum_delay_s=spec.minimum_delay_s,
        maximum_delay_s=spec.maximum_delay_s,
        max_share=spec.max_share,
        minimum_samples=spec.minimum_samples,
    )
    if old is not None and old[0].policy == policy:
        return old
    return Hedger(policy, now_ns), Hedger(policy, now_ns)
