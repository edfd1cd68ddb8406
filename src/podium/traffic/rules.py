"""Which limits hold for one key: limit policies, added up."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from podium.core.resources import LimitPolicy

__all__ = ["LimitRule", "LimitTable", "limit_rules"]


@dataclass(frozen=True, slots=True)
class LimitRule:
    """What one subject may use; None: as much as it likes. One minute's worth may come at once."""

    subject: str  # `key:<id>` or `tenant:<name>`; what is counted together
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


class LimitTable:
    """Limit policies by whom they hold for; build one a snapshot."""

    __slots__ = ("_by_key", "_by_tenant", "_everyone")

    def __init__(self, policies: Mapping[str, LimitPolicy]) -> None:
        self._by_key: dict[str, list[LimitPolicy]] = {}
        self._by_tenant: dict[str, list[LimitPolicy]] = {}
        self._everyone: list[LimitPolicy] = []
        for policy in policies.values():
            if policy.key is not None:
                self._by_key.setdefault(policy.key, []).append(policy)
            elif policy.tenant is not None:
                self._by_tenant.setdefault(policy.tenant, []).append(policy)
            else:
                self._everyone.append(policy)

    def rules(self, *, tenant: str, key_id: str) -> tuple[LimitRule, ...]:
        """At most one rule for the tenant and one for the key, in this order; empty: nothing is limited.

        Policies for the same subject become one rule with the smallest of each limit, which refuses exactly
        when one of them would.
        """
        for_tenant = self._everyone + self._by_tenant.get(tenant, [])
        for_key = self._by_key.get(key_id, [])
        groups = ((f"tenant:{tenant}", for_tenant), (f"key:{key_id}", for_key))
        return tuple(_tightest(subject, policies) for subject, policies in groups if policies)


def limit_rules(policies: Mapping[str, LimitPolicy], *, tenant: str, key_id: str) -> tuple[LimitRule, ...]:
    """The rules for one key; see `LimitTable.rules`, which is the way to ask for many keys."""
    return LimitTable(policies).rules(tenant=tenant, key_id=key_id)


def _tightest(subject: str, policies: list[LimitPolicy]) -> LimitRule:
    return LimitRule(
        subject=subject,
        requests_per_minute=_smallest(policy.requests_per_minute for policy in policies),
        tokens_per_minute=_smallest(policy.tokens_per_minute for policy in policies),
        concurrency=_smallest(policy.concurrency for policy in policies),
    )


def _smallest(limits: Iterable[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
