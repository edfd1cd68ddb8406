"""How a budget stands, in sentences for operators."""

from podium.economics.budgets.refusals import format_amount, format_moment
from podium.economics.budgets.values import Standing

__all__ = ["explain"]


def explain(standing: Standing, unix_ns: int) -> tuple[str, ...]:
    """What `podium budget show` says of one account: whose it is, its figures, and what happens next."""
    charge, rule = standing.charge, standing.charge.rule
    subject = ", ".join(f"{dimension} {value!r}" if value else f"no {dimension}" for dimension, value in charge.subject)
    running = f"{standing.running} running exchange{'' if standing.running == 1 else 's'}"
    amount = f"{format_amount(rule, rule.amount)} {rule.how_often}"
    lines = [
        f"Budget {rule.budget!r} of {subject or 'all exchanges'}: {amount}, {charge.label}.",
        (
            f"Settled {format_amount(rule, standing.settled)} ({standing.settled / rule.amount:.1%}),"
            f" reserved {format_amount(rule, standing.reserved)} for {running},"
            f" left {format_amount(rule, standing.left)}."
        ),
        _next(standing, unix_ns),
    ]
    if standing.told:
        lines.append(f"Soft marks reached: {', '.join(f'{share:.0%}' for share in standing.told)}.")
    return tuple(lines)


def _next(standing: Standing, unix_ns: int) -> str:
    charge, rule = standing.charge, standing.charge.rule
    if charge.bucket_ns:
        anew = "Room comes back as use leaves the window"
    elif charge.end_ns <= unix_ns:
        return "This period has ended; what still runs in it is counted here."
    else:
        anew = f"It starts anew at {format_moment(charge.end_ns, rule.zone)}"
    if not rule.hard:
        return f"{anew}; nothing is refused."
    if standing.left:
        return f"{anew}; what does not fit is refused with 402."
    if standing.settled >= rule.amount:
        return f"{anew}; until then everything that costs is refused with 402."
    return f"{anew}; all that is left is reserved, so requests are refused with 402 until running exchanges have ended."
