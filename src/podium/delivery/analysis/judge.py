"""Looks at a rollout and says what follows: see podium.delivery.analysis.verdict for the order of things."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from podium.core.rollouts import Analysis, MetricName, Progress, Rollout
from podium.delivery.analysis.alone import LIMIT, WATCH, held_alone, looks_worse
from podium.delivery.analysis.backends import BackendFinding, worse_backends
from podium.delivery.analysis.before import Reference
from podium.delivery.analysis.compared import Look, MetricResult, compared, direction_of
from podium.delivery.analysis.observed import Observed, reference_of, shares_of, windows
from podium.delivery.analysis.tally import span_us
from podium.delivery.analysis.times import Times
from podium.delivery.analysis.verdict import Outcome, ShareCheck, Verdict, VerdictReason
from podium.delivery.analysis.words import ground_sentence, worse_sentence, worse_values
from podium.delivery.buckets import BASELINE, arms_at, steps_of
from podium.delivery.phases import step_of
from podium.delivery.statistics.rates import independent, rate_interval
from podium.delivery.statistics.sample_ratio import sample_ratio

__all__ = ["MOST_LAG_S", "Evidence", "judge"]

MOST_LAG_S = 60.0  # of the ledger behind the gateways
_BROKEN = 0.5  # of answers; no version is meant to be so bad
_BROKEN_RATES: tuple[MetricName, ...] = ("error_rate", "empty_rate", "invalid_format_rate")
_OPINIONS = frozenset({"thumbs_up_rate", "feedback_score", "task_done_rate", "judge_score"})
_BLAME_ALPHA = 0.2  # the arm has failed already: this only chooses between it and one of its backends
_NOTHING = Analysis(metrics=())
_REASONS = {LIMIT: VerdictReason.LIMIT_PASSED, WATCH: VerdictReason.WORSE_THAN_BEFORE}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a look goes by."""

    observed: Observed
    lag_s: float = 0.0  # how far the ledger is behind the gateways' journals
    taken_out: frozenset[str] = field(default_factory=frozenset)  # backends that get nothing any more: left out
    before: Reference | None = None  # where nobody has the version before any more: what it showed until then
    times: Times = field(default_factory=dict)  # needed for limits of quantiles


def judge(rollout: Rollout, progress: Progress, evidence: Evidence, now_unix_s: float) -> Verdict:
    """The verdict of a rollout that is running. The same for the same values."""
    return _Judgement(rollout, progress, evidence, now_unix_s).verdict()


class _Judgement:
    __slots__ = (
        "_analysis",
        "_evidence",
        "_look",
        "_now_s",
        "_observed",
        "_progress",
        "_rollout",
        "_samples",
        "_shares",
    )

    def __init__(self, rollout: Rollout, progress: Progress, evidence: Evidence, now_unix_s: float) -> None:
        self._rollout = rollout
        self._progress = progress
        self._evidence = evidence
        self._observed = evidence.observed
        self._now_s = now_unix_s
        self._analysis = rollout.analysis or _NOTHING
        self._shares = shares_of(progress.arms)
        span = span_us(progress.step_unix_s)
        self._samples = dict.fromkeys(self._shares, 0) | {
            arm.name: arm.exchanges for arm in self._observed.arms if arm.span_us == span
        }
        self._look = self._looks()

    def _looks(self) -> Look:
        """The level is shared out over all that may fail: metrics, arms, and the times that comparison begins anew."""
        analysis = self._analysis
        judged = sum(metric.role != "info" and direction_of(metric) is not None for metric in analysis.metrics)
        arms = max(1, len({arm.name for arm in self._rollout.arms}) - 1)
        tests = max(1, judged) * arms * windows(self._rollout, self._progress.before)
        return Look(
            alpha=analysis.false_return_rate / tests,
            proof_alpha=analysis.false_return_rate,
            tuning=2.0 * analysis.target_samples,
            minimum_subjects=analysis.minimum_subjects,
        )

    @property
    def _watched(self) -> list[str]:
        """The arms that are judged: all but the one that they are compared to."""
        reference = reference_of(self._rollout)
        return [name for name in self._shares if name != reference]

    def verdict(self) -> Verdict:
        results = tuple(self._compared(self._evidence.taken_out, self._look))
        alone = tuple(self._alone(self._evidence.taken_out, self._look))
        shares = self._share_check()
        ground = ground_sentence(self._rollout, self._progress, self._observed, self._evidence.before)
        for outcome, reason, detail, backends in self._findings(results, alone, shares):
            return Verdict(
                outcome=outcome,
                reason=reason,
                detail="; ".join(filter(None, (detail, ground)))[:2000],
                samples=self._samples,
                metrics=results + alone,
                backends=backends,
                shares=shares,
            )
        raise AssertionError("the last finding is always true")

    def _compared(self, without: frozenset[str], look: Look) -> Iterator[MetricResult]:
        reference = reference_of(self._rollout)
        if reference not in self._shares:
            return
        for arm in self._watched:
            for metric in self._analysis.metrics:
                baseline = self._observed.sums(reference, metric.name, without=without)
                candidate = self._observed.sums(arm, metric.name, without=without)
                yield compared(metric, arm, baseline, candidate, look)

    def _alone(self, without: frozenset[str], look: Look) -> Iterator[MetricResult]:
        before = self._evidence.before
        known = before.observed if before is not None and before.enough else None
        yield from held_alone(
            self._rollout,
            self._progress,
            self._watched,
            self._observed,
            known,
            look,
            times=self._evidence.times,
            without=without,
        )

    def _findings(
        self, results: Sequence[MetricResult], alone: Sequence[MetricResult], shares: ShareCheck | None
    ) -> Iterator[tuple[Outcome, VerdictReason, str, tuple[BackendFinding, ...]]]:
        """In the order of their weight; the first one counts."""
        if set(self._shares) == {BASELINE} and self._rollout.strategy != "ab":
            yield "success", VerdictReason.SEEN_ENOUGH, "nobody has the new version yet but testers", ()
        worse = [result for result in (*results, *alone) if result.decision == "worse"]
        backends = self._backends({(result.arm, result.name) for result in worse})
        if backends:
            yield "running", VerdictReason.BACKEND_WORSE, "; ".join(one.sentence for one in backends), backends
        if worse:
            reason = _REASONS.get(worse[0].role, VerdictReason.METRIC_WORSE)
            yield "failed", reason, "; ".join(map(worse_sentence, worse)), ()
        if broken := self._plainly_broken():
            yield "failed", VerdictReason.PLAINLY_BROKEN, broken, ()
        for finding in (self._behind(), self._mismatch(shares), self._silent(), self._unfinished(results, alone)):
            if finding is not None:
                yield *finding, ()
        yield "success", VerdictReason.SEEN_ENOUGH, "the step had its time and samples, and no metric failed", ()

    def _backends(self, failing: set[tuple[str, str]]) -> tuple[BackendFinding, ...]:
        """Those to take out. While arms fail by measures, only theirs, and only if they do not without them."""
        taken_out = self._evidence.taken_out
        if not failing:
            look = replace(self._look, alpha=self._analysis.false_return_rate)
            return worse_backends(self._observed, look, arms=self._shares, taken_out=taken_out)
        look = replace(self._look, alpha=_BLAME_ALPHA, once=True)
        found = worse_backends(self._observed, look, arms={arm for arm, _ in failing}, taken_out=taken_out)
        without = taken_out | {one.backend for one in found}
        look = replace(look, alpha=self._analysis.false_return_rate)
        again = (*self._compared(without, look), *self._alone(without, look))
        rest = any(
            (one.decision == "worse" or (one.role in _REASONS and looks_worse(one))) and (one.arm, one.name) in failing
            for one in again
        )
        return () if rest else found

    def _plainly_broken(self) -> str:
        """Where nothing can be compared: everybody has the new version."""
        if reference_of(self._rollout) in self._shares or self._rollout.analysis is None:
            return ""
        for arm in self._watched:
            for name in _BROKEN_RATES:
                sums = self._observed.sums(arm, name, without=self._evidence.taken_out)
                rate = rate_interval(*independent(sums), alpha=self._look.alpha)
                if rate.above(_BROKEN):
                    return f"{name} of arm `{arm}` is {rate.estimate:.3g}, surely above {rate.lower:.3g}"
        return ""

    def _behind(self) -> tuple[Outcome, VerdictReason, str] | None:
        lag_s = self._evidence.lag_s
        if lag_s <= MOST_LAG_S:
            return None
        return "error", VerdictReason.LEDGER_BEHIND, f"the ledger is {lag_s:.0f} s behind the gateways' journals"

    def _share_check(self) -> ShareCheck | None:
        """None where shares do not say what was meant: copies, weights that were changed, one arm."""
        if len(self._shares) < 2 or self._progress.mirrored or not self._as_planned():  # noqa: PLR2004
            return None
        names = tuple(self._shares)
        seen = {name: self._observed.exposures(name) for name in names}
        whole, squares = (sum(column) for column in zip(*seen.values(), strict=True))
        effect = max(1.0, squares / whole) if whole else 1.0
        counts = [round(seen[name][0] / effect) for name in names]
        checked = sample_ratio(counts, [self._shares[name] for name in names])
        return ShareCheck(
            counts=dict(zip(names, counts, strict=True)),
            expected=dict(zip(names, checked.expected, strict=True)),
            p_value=checked.sequential_p_value,
            mismatch=checked.mismatch,
        )

    def _as_planned(self) -> bool:
        if self._progress.changes or self._progress.step >= len(steps_of(self._rollout)):
            return False
        return shares_of(arms_at(self._rollout, self._progress.step, self._progress.before)) == self._shares

    def _mismatch(self, shares: ShareCheck | None) -> tuple[Outcome, VerdictReason, str] | None:
        if shares is None or not shares.mismatch or self._analysis.sample_ratio_mismatch == "go_on":
            return None
        told = ", ".join(f"{name} {count} of {shares.expected[name]:.0f}" for name, count in shares.counts.items())
        return (
            "inconclusive",
            VerdictReason.SAMPLE_RATIO,
            f"arms have other shares of the subjects than planned: {told}",
        )

    def _silent(self) -> tuple[Outcome, VerdictReason, str] | None:
        """No exchange of an arm for long; arms of no subjects are not waited for."""
        began_s = self._progress.step_unix_s
        for arm in self._watched:
            heard_s = max((seen.last_unix_ns / 1e9 for seen in self._observed.arms if seen.name == arm), default=0.0)
            silent_s = self._now_s - max(began_s, heard_s)
            if silent_s > self._analysis.no_data_after_s:
                return "inconclusive", VerdictReason.NO_DATA, f"arm `{arm}` had no exchange for {silent_s:.0f} s"
        return None

    def _unfinished(
        self, results: Sequence[MetricResult], alone: Sequence[MetricResult]
    ) -> tuple[Outcome, VerdictReason, str] | None:
        step = step_of(self._rollout, self._progress)
        at_step_s = self._now_s - self._progress.step_unix_s
        if at_step_s < step.minimum_s:
            return "running", VerdictReason.TOO_EARLY, f"{at_step_s:.0f} s of {step.minimum_s:.0f} s"
        missing = self._missing(results, step.minimum_samples) or self._doubted(alone)
        if missing is None:
            return None
        reason, detail = missing
        if at_step_s >= self._analysis.inconclusive_after_s:
            return "inconclusive", VerdictReason.TIME_IS_UP, f"after {at_step_s:.0f} s still: {detail}"
        return "running", reason, detail

    def _missing(self, results: Sequence[MetricResult], minimum: int) -> tuple[VerdictReason, str] | None:
        for arm, wanted in self._wanted(minimum):
            if self._samples[arm] < wanted:
                return VerdictReason.TOO_FEW_SAMPLES, f"arm `{arm}` had {self._samples[arm]} of {wanted} exchanges"
        for result in results:
            if result.role != "info" and (unknown := self._unknown(result)) is not None:
                return unknown
        if self._last_comparison():
            for result in results:
                if result.role == "goal" and result.decision != "no_worse":
                    return VerdictReason.GOAL_UNDECIDED, f"it is not proven that {result.name} is no worse"
        return None

    def _doubted(self, alone: Sequence[MetricResult]) -> tuple[VerdictReason, str] | None:
        """What would be a failure if it were sure: nothing goes on before it is, or looks well again."""
        doubted = next(filter(looks_worse, alone), None)
        if doubted is None:
            return None
        return VerdictReason.LOOKS_WORSE, f"{worse_values(doubted)}, which is not sure yet"

    def _unknown(self, result: MetricResult) -> tuple[VerdictReason, str] | None:
        """Opinions come when they come; but a judge that never says anything is down."""
        if result.name == "judge_score" and self._analysis.judge_model is not None and not result.samples:
            detail = f"judge_score of arm `{result.arm}` has no data: the judge has said nothing of it"
            return VerdictReason.TOO_FEW_SAMPLES, detail
        if result.name in _OPINIONS:
            return None
        if result.decision == "too_few" or bool(result.samples) != bool(result.reference_samples):
            known = f"{result.subjects:.0f} of {self._analysis.minimum_subjects} subjects in each arm"
            return VerdictReason.TOO_FEW_SUBJECTS, f"{result.name} of arm `{result.arm}` is known of {known}"
        return None

    def _wanted(self, minimum: int) -> Iterator[tuple[str, int]]:
        """So many exchanges of each arm; of what it is compared to about its share, for without it nothing is seen."""
        reference = reference_of(self._rollout)
        for arm in self._watched:
            yield arm, minimum
        if reference in self._shares and self._watched and not self._progress.mirrored:
            most = max(self._shares[arm] for arm in self._watched)
            yield reference, minimum * min(self._shares[reference], most) // most // 2

    def _last_comparison(self) -> bool:
        """Whether no later step compares anything: goals have to be decided."""
        rollout, before = self._rollout, self._progress.before
        later = range(self._progress.step + 1, len(steps_of(rollout)))
        return not any(reference_of(rollout) in shares_of(arms_at(rollout, step, before)) for step in later)
