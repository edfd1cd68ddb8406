"""What one exchange tells of its arm: for each measure a numerator `y` and a denominator `x`.

Rules, by which retries, fallbacks, hedges and cache hits do not make an arm look better or worse than it is
1. Every exchange that a rollout chose for is an exposure, however it ended. What a tester overrode is nothing at all.
2. Failures of ours or the upstream's are errors of the arm, and so is a fallback: the arm had no answer, another model
   had. Its time, cost, tokens and quality are the other model's, and count for no arm. A fixed answer is an error too.
3. A request that the model's server rejects is an error of the arm: a wrong request meets all arms alike, so what
   differs between them is the version's doing.
4. Callers' own faults, and what a gateway refuses while it starts or stops, say nothing of an arm.
5. A caller that goes away is no error. How long it had waited for the first content counts as the time to it, which
   is at least that: else callers would leave a slow arm, and take the proof along. Nothing else of it counts.
6. An answer that needed no call (from a cache, say) is an exposure, and nothing else: no version made it.
7. Times are the caller's: from the request on, with all retries and waiting. A second call against slowness is paid
   for by the arm's cost, and helps its time: that is what users have.
8. Single backends are judged by calls, not exchanges: each call is a success or a failure of its own backend, and its
   time begins when it was sent. A call that was given up for a quicker one counts with the time that it had.
9. The copy of an exchange whose answer nobody saw (mirrored) counts as any other, but for the feedback of users.

Times to first content and durations are taken as logarithms of milliseconds: their means are those of typical
exchanges, differences are factors, and one exchange of an hour does not drown a thousand others. Time per token is a
ratio of totals: all time after the first token over all tokens after it.
"""

from collections.abc import Iterator
from math import log
from typing import Final, NamedTuple

from podium.core.event import AnswerFlag, Event
from podium.core.reasons import Fault, Reason

__all__ = [
    "INDEX",
    "MEASURES",
    "Call",
    "Contribution",
    "calls_of",
    "is_analysed",
    "log_ms",
    "measures_of",
]

# In the order of the stored columns' making; only ever appended. All but the last two are core.rollouts.MetricName's.
MEASURES: Final = (
    "error_rate",
    "ttft_ms",
    "time_per_output_token_ms",
    "duration_ms",
    "cost_nanousd",
    "input_tokens",
    "output_tokens",
    "empty_rate",
    "truncated_rate",
    "refusal_rate",
    "invalid_format_rate",
    "thumbs_up_rate",
    "feedback_score",
    "task_done_rate",
    "judge_score",
    "call_failure_rate",  # of single calls, by backend
    "call_wait_ms",  # from a call's sending to its first content
)
INDEX: Final = {name: index for index, name in enumerate(MEASURES)}

_ERROR, _TTFT, _PER_TOKEN, _DURATION = (
    INDEX[name] for name in ("error_rate", "ttft_ms", "time_per_output_token_ms", "duration_ms")
)
_COST, _INPUT, _OUTPUT = INDEX["cost_nanousd"], INDEX["input_tokens"], INDEX["output_tokens"]
_EMPTY, _TRUNCATED, _REFUSAL, _FORMAT = (
    INDEX[name] for name in ("empty_rate", "truncated_rate", "refusal_rate", "invalid_format_rate")
)

_TEXT = frozenset({"chat.completions", "completions", "messages"})
# OpenAI's and Anthropic's words, and those of others as they come through.
_LENGTH = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"})
_NOT_THE_ARMS = frozenset({Reason.NOT_READY, Reason.DRAINING, Reason.JOURNAL_UNAVAILABLE})
_SHORTEST_MS = 0.01
_FEWEST_TOKENS = 2

_EMPTY_FLAG, _REFUSED_FLAG = int(AnswerFlag.EMPTY), int(AnswerFlag.REFUSED)
_ASKED_FLAG, _INVALID_FLAG = int(AnswerFlag.FORMAT_ASKED), int(AnswerFlag.FORMAT_INVALID)
_OVERRIDDEN_FLAG = int(AnswerFlag.OVERRIDDEN)


class Contribution(NamedTuple):
    """To one measure: added to a subject's totals."""

    measure: int  # index in MEASURES
    y: float
    x: float


class Call(NamedTuple):
    """What became of one call of the arm's own version."""

    backend: str
    failed: bool
    wait_ms: float | None  # None: it ended before any content for another reason than slowness


def is_analysed(event: Event) -> bool:
    """Whether the exchange belongs to a comparison: an arm was chosen, and no tester named it."""
    return event.arm != "" and event.rollout != "" and not event.answer_flags & _OVERRIDDEN_FLAG


def log_ms(ns: int) -> float:
    """The logarithm of a time in milliseconds; of very short ones that of a hundredth."""
    return log(max(ns / 1e6, _SHORTEST_MS))


def measures_of(event: Event) -> list[Contribution]:
    """The measures of an exchange, each at most once; those that it says nothing of are left out."""
    if answered_elsewhere(event):
        return [Contribution(_ERROR, 1.0, 1.0)]
    if event.reason == Reason.CLIENT_GONE:
        return _of_who_left(event)
    if event.reason == Reason.UPSTREAM_REJECTED:
        return [Contribution(_ERROR, 1.0, 1.0)]
    if event.reason != Reason.OK or event.fault != Fault.NOBODY:
        own = event.fault != Fault.CALLER and event.reason not in _NOT_THE_ARMS
        return [Contribution(_ERROR, 1.0, 1.0)] if own else []
    if not event.attempts:
        return []
    return _of_answer(event)


def answered_elsewhere(event: Event) -> bool:
    """Whether other models were tried: the arm had failed."""
    return event.fallbacks > 0 or event.served_model not in ("", event.model)


def _of_who_left(event: Event) -> list[Contribution]:
    """Rule 5. Whole answers have no first content before their end."""
    if not event.stream or event.upstream_ns < 0:
        return []
    waited_ns = event.first_byte_ns if event.first_byte_ns >= 0 else event.ended_ns
    return [Contribution(_TTFT, log_ms(waited_ns), 1.0)]


def _of_answer(event: Event) -> list[Contribution]:
    flags, tokens = event.answer_flags, event.output_tokens
    told = [
        Contribution(_ERROR, 0.0, 1.0),
        Contribution(_DURATION, log_ms(event.ended_ns), 1.0),
        Contribution(_COST, float(event.cost_nanousd), 1.0),
        Contribution(_INPUT, float(event.input_tokens), 1.0),
        Contribution(_OUTPUT, float(tokens), 1.0),
    ]
    if event.stream and event.first_byte_ns >= 0 and not flags & _EMPTY_FLAG:
        told.append(Contribution(_TTFT, log_ms(event.first_byte_ns), 1.0))
        if tokens >= _FEWEST_TOKENS:
            after_ms = (event.ended_ns - event.first_byte_ns) / 1e6
            told.append(Contribution(_PER_TOKEN, after_ms, float(tokens - 1)))
    if event.endpoint in _TEXT:
        told.append(Contribution(_EMPTY, float(flags & _EMPTY_FLAG != 0), 1.0))
        told.append(Contribution(_REFUSAL, float(flags & _REFUSED_FLAG != 0), 1.0))
        if event.finish_reason:
            told.append(Contribution(_TRUNCATED, float(event.finish_reason.lower() in _LENGTH), 1.0))
        if flags & _ASKED_FLAG:
            told.append(Contribution(_FORMAT, float(flags & _INVALID_FLAG != 0), 1.0))
    return told


def calls_of(event: Event) -> Iterator[Call]:
    """The calls that were made for the arm's own version, in order; those of fallbacks are others'."""
    for call in event.calls:
        if call.kind == "fallback" or call.model != event.model or not call.backend:
            continue
        if call.reason == Reason.OK:  # the one that answered
            content_ns = event.first_byte_ns if event.first_byte_ns >= 0 else call.ended_ns
            yield Call(call.backend, failed=False, wait_ms=_ms(content_ns - call.started_ns))
        elif call.reason == Reason.CLIENT_GONE:  # of the caller, or of who was quicker
            given_up_ns = call.ended_ns if event.first_byte_ns < 0 else min(call.ended_ns, event.first_byte_ns)
            yield Call(call.backend, failed=False, wait_ms=_ms(given_up_ns - call.started_ns))
        else:
            yield Call(call.backend, failed=True, wait_ms=None)


def _ms(ns: int) -> float:
    return max(ns / 1e6, _SHORTEST_MS)
