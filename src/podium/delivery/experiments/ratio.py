"""What each arm should have got of the subjects by now, when shares changed on the way.

Subjects stick to their arm, so one of them is one draw, however many exchanges it makes and in however many periods.
Sums are kept of exchanges, and not of each subject. So exchanges are expected: over all periods, the arm's share then
times the exchanges of then. And they are shrunk by how unevenly subjects make them. A subject's exchanges of all
periods count together in that: who was in an arm by chance, and has not moved, is there by the same chance in the next
period. This is the first-order correction of Rao and Scott, "The analysis of categorical data from complex sample
surveys" (Journal of the American Statistical Association 76, 1981). Periods tested each by itself and multiplied would
take one draw for several.

Who moved with a change is not one draw; taken for one, less is called a mismatch, never more. So is it with the mean of
the shares: periods of different shares vary less around their sum than one of the mean share.

An arm that gateways took out by themselves got nothing from some moment on that no period tells, so it is left out;
the others keep their proportions without it.
"""

from collections.abc import Iterable, Mapping

from podium.core.rollouts import Progress, Rollout
from podium.delivery.analysis.observed import ArmSeen, Observed, run_us, shares_of
from podium.delivery.analysis.tally import SETTLING_US, span_us
from podium.delivery.analysis.verdict import ShareCheck
from podium.delivery.buckets import arms_at
from podium.delivery.statistics.sample_ratio import SampleRatio, sample_ratio

__all__ = ["expected_exchanges", "share_check"]

_HEARD = (0.0, 0.25, 0.5, 0.75, 1.0)
_FEWEST_ARMS = 2


def share_check(rollout: Rollout, progress: Progress, observed: Observed) -> ShareCheck | None:
    """Whether arms got their shares over the whole run. `observed`: all of its spans, as they are.

    None: there are not two arms to compare, or the shares of some time are not known.
    """
    expected = expected_exchanges(rollout, progress, observed)
    if len(expected) < _FEWEST_ARMS:
        return None
    counts, checked = _checked(observed, expected)
    return ShareCheck(
        counts=counts,
        expected=dict(zip(counts, checked.expected, strict=True)),
        p_value=checked.sequential_p_value,
        mismatch=checked.mismatch,
    )


def expected_exchanges(rollout: Rollout, progress: Progress, observed: Observed) -> dict[str, float]:
    """Of each arm, in all periods together; empty: the shares of some time are not known.

    Gateways hear of a change within two seconds, and exchanges of these are counted in the period before. How many of
    them went by the new shares is not known: what fits best to what was seen is taken.
    """
    periods = _periods(rollout, progress, observed.arms)
    if not periods:
        return {}
    found = [_expected(periods, heard) for heard in (_HEARD if len(periods) > 1 else (0.0,))]
    return max(found, key=lambda expected: _checked(observed, expected)[1].sequential_p_value)


class _Period:
    """A span: its exchanges, the shares of it and of the next one, and how much of it may have gone by these."""

    __slots__ = ("exchanges", "later", "settling", "shares")

    def __init__(
        self, exchanges: int, shares: Mapping[str, float], later: Mapping[str, float], settling: float
    ) -> None:
        self.exchanges = exchanges
        self.shares = shares
        self.later = later
        self.settling = settling


def _periods(rollout: Rollout, progress: Progress, seen: Iterable[ArmSeen]) -> list[_Period]:
    out = {end.arm for end in progress.ended if end.reason == "burst"}
    exchanges: dict[int, int] = {}
    for one in seen:
        if one.span_us >= run_us(progress) and one.name not in out:
            exchanges[one.span_us] = exchanges.get(one.span_us, 0) + one.exchanges
    changes = {span_us(change.unix_s): change.shares for change in progress.changes}
    spans = sorted(exchanges)
    if any(span not in changes for span in spans[1:]):
        return []  # a run that began before changes were noted
    planned = shares_of(arms_at(rollout, 0, progress.before))
    parts = {span: _parts(changes.get(span, planned), out) for span in {*spans, *changes}}
    found = []
    for span in spans:
        after = min((change for change in changes if change > span), default=None)
        settling = 0.0 if after is None else min(1.0, SETTLING_US / (after - span))
        found.append(_Period(exchanges[span], parts[span], parts[span if after is None else after], settling))
    return found


def _parts(shares: Mapping[str, int], out: Iterable[str]) -> dict[str, float]:
    left = {name: count for name, count in shares.items() if name not in out}
    whole = sum(left.values())
    return {name: count / whole for name, count in left.items() if whole}


def _expected(periods: Iterable[_Period], heard: float) -> dict[str, float]:
    """`heard`: the part of the exchanges of the last two seconds of each period that went by the next shares."""
    found: dict[str, float] = {}
    for one in periods:
        later = heard * one.settling
        for shares, part in ((one.shares, 1 - later), (one.later, later)):
            for name, share in shares.items():
                found[name] = found.get(name, 0.0) + share * part * one.exchanges
    return {name: count for name, count in found.items() if count > 0}


def _checked(observed: Observed, expected: Mapping[str, float]) -> tuple[dict[str, int], SampleRatio]:
    exposures = {name: observed.exposures(name) for name in expected}
    whole, squares = (sum(column) for column in zip(*exposures.values(), strict=True))
    effect = max(1.0, squares / whole) if whole else 1.0
    counts = {name: round(count / effect) for name, (count, _) in exposures.items()}
    return counts, sample_ratio(list(counts.values()), list(expected.values()))
