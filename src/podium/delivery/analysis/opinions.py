"""What users and judges say of an exchange, and what of it counts for its arm.

Feedback is tied to a request id of the same tenant; the copy that nobody saw (mirrored) is not the one that is meant.
Each kind of it counts once for each exchange: the first one that comes.

A judge compares the candidate's answer with another version's to the same request, twice, in both orders: judges like
what they read first. Its score is the mean of both: 1 when the candidate's was better each time, 0.5 when they are even
or the judge only went by the order, 0 when it was worse each time. So without any score of the baseline's own exchanges
the candidate is compared to 0.5. A judge that marks single answers gives one score for both, for exchanges of all arms.
"""

from collections.abc import Iterator
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from podium.core.errors import InvalidRequest
from podium.core.event import AnswerFlag, Event

__all__ = ["MEASURE_OF", "Feedback", "FeedbackKind", "Judgement", "Opinion", "Received", "meant_by", "opinions_of"]

Mark = Annotated[float, Meta(ge=0, le=1)]
Comment = Annotated[str, Meta(min_length=1, max_length=10_000)]
FeedbackKind = Literal["thumbs", "score", "task_done", "comment"]
MEASURE_OF: Final[dict[FeedbackKind, str]] = {
    "thumbs": "thumbs_up_rate",
    "score": "feedback_score",
    "task_done": "task_done_rate",
}


class Feedback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a user, about one exchange: the body of `POST /v1/feedback`."""

    request_id: Annotated[str, Meta(description="The answer's `x-request-id`.", min_length=1, max_length=128)]
    thumbs: Annotated[Literal["up", "down"] | None, Meta(description="Whether the answer was liked.")] = None
    score: Annotated[Mark | None, Meta(description="From 0 (bad) to 1 (good).")] = None
    task_done: Annotated[bool | None, Meta(description="Whether it did what it was asked for.")] = None
    comment: Annotated[Comment | None, Meta(description="In the user's words.")] = None


class Opinion(NamedTuple):
    """One kind of a feedback."""

    kind: FeedbackKind
    value: float
    comment: str = ""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a feedback."""

    counted: tuple[FeedbackKind, ...]
    repeated: tuple[FeedbackKind, ...]  # known of this exchange already: the first one counts


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """Of a judge, about one exchange. One counts for each exchange: the first."""

    exchange_id: bytes
    judge: str  # public name of the model
    score_first: Mark  # when this exchange's answer was shown first
    score_second: Mark  # and when it was shown second

    @property
    def score(self) -> float:
        """From 0 (worse than the other answer) to 1 (better)."""
        return (self.score_first + self.score_second) / 2


def opinions_of(feedback: Feedback) -> tuple[Opinion, ...]:
    """What it says. InvalidRequest: nothing."""
    told = tuple(_told(feedback))
    if not told:
        raise InvalidRequest("Feedback must say something: thumbs, score, task_done or comment.")
    return told


def _told(feedback: Feedback) -> Iterator[Opinion]:
    if feedback.thumbs is not None:
        yield Opinion("thumbs", float(feedback.thumbs == "up"))
    if feedback.score is not None:
        yield Opinion("score", feedback.score)
    if feedback.task_done is not None:
        yield Opinion("task_done", float(feedback.task_done))
    if feedback.comment is not None:
        yield Opinion("comment", 0.0, feedback.comment.replace("\0", "\ufffd"))


def meant_by(found: tuple[Event, ...]) -> Event | None:
    """The exchange that a request id means, of those that have it, newest first: the newest that a user saw."""
    return next((event for event in found if not event.answer_flags & AnswerFlag.MIRRORED), None)
