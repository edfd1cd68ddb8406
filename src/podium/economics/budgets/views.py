"""Budgets in the words of podium.core.standings."""

from podium.core.standings import BudgetStanding
from podium.economics.budgets.explain import explain
from podium.economics.budgets.values import Standing

__all__ = ["budget_standing"]

_SECOND_NS = 1_000_000_000


def budget_standing(standing: Standing, unix_ns: int) -> BudgetStanding:
    """How an account stands at that moment."""
    charge, rule = standing.charge, standing.charge.rule
    start_ns = charge.start_ns - charge.buckets * charge.bucket_ns
    return BudgetStanding(
        budget=rule.budget,
        subject=dict(charge.subject),
        unit="nanousd" if rule.unit == "usd" else rule.unit,
        period=charge.label,
        starts_unix_s=start_ns / _SECOND_NS,
        ends_unix_s=None if charge.bucket_ns else charge.end_ns / _SECOND_NS,
        amount=rule.amount,
        settled=standing.settled,
        reserved=standing.reserved,
        running=standing.running,
        left=standing.left,
        hard=rule.hard,
        soft_marks=tuple(share for share, _ in rule.soft),
        reached=standing.told,
        sentences=explain(standing, unix_ns),
    )
