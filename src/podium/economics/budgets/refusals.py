"""Why a budget refuses, in a sentence for the caller."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from math import inf

from podium.core.money import NANOUSD_PER_USD
from podium.core.reasons import Reason
from podium.economics.budgets.account import Account
from podium.economics.budgets.periods import time_zone
from podium.economics.budgets.values import Cost, Refusal, RefusalCause, Rule

__all__ = ["format_amount", "format_moment", "refusal"]

_SECOND_NS = 1_000_000_000
_IN_FLIGHT_RETRY_S = 1.0  # nobody knows when a running exchange ends; a second spreads the retries


def refusal(accounts: Sequence[Account], estimate: Cost, unix_ns: int) -> Refusal:
    """The refusal of the budget that has room last, so that who waits that long finds room in every one."""
    return max(_refusals(accounts, estimate, unix_ns), key=_wait)


def format_amount(rule: Rule, amount: int) -> str:
    """An amount for people: "$12.50", with as many decimals as it has, up to six; "1,200 tokens"."""
    if rule.unit == "tokens":
        return f"{amount:,} tokens"
    text = f"{(Decimal(amount) / NANOUSD_PER_USD).quantize(Decimal('0.000001')):,f}"
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents.rstrip('0').ljust(2, '0')}"


def format_moment(unix_ns: int, zone: str) -> str:
    """A moment in the budget's time zone: "2026-12-01 00:00 Europe/Berlin"; a second that has begun counts as whole."""
    moment = datetime.fromtimestamp(-(-unix_ns // _SECOND_NS), time_zone(zone))
    return f"{moment:%Y-%m-%d %H:%M:%S} {zone}".replace(":00 ", " ", 1)


def _wait(one: Refusal) -> float:
    return inf if one.retry_after_s is None else one.retry_after_s


def _refusals(accounts: Sequence[Account], estimate: Cost, unix_ns: int) -> Iterator[Refusal]:
    for account in accounts:
        rule = account.charge.rule
        amount = estimate.nanousd if rule.unit == "usd" else estimate.tokens
        if account.has_room(amount):
            continue
        named = f"budget {rule.budget!r} of {format_amount(rule, rule.amount)} {rule.how_often}{rule.whom}"
        resets_ns = None
        retry_s: float | None = None
        if amount > rule.amount:
            cause = RefusalCause.TOO_LARGE
            message = f"This request may cost up to {format_amount(rule, amount)}, more than the whole {named}."
        elif account.settled + amount <= rule.amount:
            cause, retry_s = RefusalCause.IN_FLIGHT, _IN_FLIGHT_RETRY_S
            message = f"What is left of the {named} is reserved for requests that are still running."
        else:
            cause = RefusalCause.SPENT
            resets_ns = account.room_at_ns(amount - account.reserved, unix_ns)
            used = f"The {named} is used up" if account.settled >= rule.amount else f"Too little of the {named} is left"
            when = "" if resets_ns is None else f"; there is room again from {format_moment(resets_ns, rule.zone)}"
            message = f"{used}{when}."
            retry_s = None if resets_ns is None else max(0.0, (resets_ns - unix_ns) / _SECOND_NS)
        yield Refusal(Reason.BUDGET_EXHAUSTED, cause, rule.budget, message, resets_ns, retry_s, account.standing())
