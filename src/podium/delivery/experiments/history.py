"""What a report says about history: whether it was used, of when it is, and what it was good for."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from podium.core.rollouts import ACTIVE_PHASES, Progress, Rollout
from podium.delivery.analysis.history import Past, why_none
from podium.delivery.experiments.effects import EffectRow
from podium.delivery.experiments.words import measure_text, percent

__all__ = ["HistoryReport", "history_of", "reduction_text"]


class HistoryReport(msgspec.Struct, frozen=True, kw_only=True):
    """What subjects did before the start, by which effects are adjusted (CUPED)."""

    used: Annotated[bool, Meta(description="Of some measure at least: see `variance_reduction` of the effects.")]
    sentence: Annotated[str, Meta(description="How, or why not.")]
    since_unix_s: Annotated[float | None, Meta(description="As far back as it was read; null: it was not.")] = None
    until_unix_s: Annotated[float | None, Meta(description="A minute before the start.")] = None
    exchanges: Annotated[int, Meta(description="Of the model, in that time.")] = 0
    complete: Annotated[bool, Meta(description="No more will be read.")] = True


def history_of(rollout: Rollout, progress: Progress, past: Past | None, effects: Iterable[EffectRow]) -> HistoryReport:
    """`past`: as what was observed has it."""
    why = why_none(rollout, progress)
    if why or past is None:
        return HistoryReport(used=False, sentence=f"No history is used: {why or 'none was read'}.")
    found = [row for row in effects if row.variance_reduction is not None]
    between = f"{_moment(past.since_unix_s)} to {_moment(past.until_unix_s)}"
    if not past.exchanges:
        sentence = f"No history is used: the ledger has no exchange of the model from {between}."
    elif not found:
        sentence = (
            f"No history is used: the {past.exchanges:,} exchanges from {between} tell too little of these subjects."
        )
    else:
        sentence = " ".join(_used(rollout, past, found, between))
    if not past.complete and progress.phase in ACTIVE_PHASES:
        sentence += " More of it is still being read."
    return HistoryReport(
        used=bool(found),
        sentence=sentence,
        since_unix_s=past.since_unix_s,
        until_unix_s=past.until_unix_s,
        exchanges=past.exchanges,
        complete=past.complete,
    )


def _used(rollout: Rollout, past: Past, found: list[EffectRow], between: str) -> Iterable[str]:
    several = len(rollout.arms) > 2  # noqa: PLR2004 - an arm, and what it is compared to
    told = ", ".join(
        f"{measure_text(row.measure)}{f' of {row.arm}' if several else ''} {reduction_text(row)}"
        for row in found
        if row.role != "info"
    )
    yield (
        f"Effects are adjusted by what subjects did before the start (CUPED): {past.exchanges:,} exchanges from"
        f" {between}."
    )
    if told:
        yield f"Variance taken out by that: {told}."
    yield "Subjects without history count with the mean."
    if "session" in rollout.sticky_by:
        yield "Sessions have none: what they did counts for their keys."


def reduction_text(row: EffectRow) -> str:
    """`43%`; nothing where there is no history."""
    return "" if row.variance_reduction is None else percent(row.variance_reduction)


def _moment(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M}Z"
