"""What users and judges say of an exchange, and what of it counts for its arm.

Feedback is tied to a request id of the same tenant; the copy that nobody saw (mirrored) is not the one that is meant.
Each kind of it counts once for each exchange: the first one that comes.

A judge compares the candidate's answer with another version's to the same request, twice, in both orders: judges like
what they read first. Its score is 1 when the candidate's was better each time, 0 when it was worse each time, and 0.5
when they are even or the judge did not say the same both times: it went by the order, then. So without any score of
the baseline's own exchanges the candidate is compared to 0.5.
"""

from collections.abc import Iterator
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from podium.core.errors import InvalidRequest
from podium.core.event import AnswerFlag, Event
from podium.core.records import FeedbackRecord

__all__ = ["MEASURE_OF", "Feedback", "FeedbackKind", "Opinion", "check", "meant_by", "opinions_of", "pair_score"]

Mark = Annotated[float, Meta(ge=0, le=1)]
Comment = Annotated[str, Meta(min_length=1, max_length=10_000)]
User = Annotated[str, Meta(max_length=128)]
FeedbackKind = Literal["thumbs", "score", "task_done", "comment"]
MEASURE_OF: Final[dict[FeedbackKind, str]] = {
    "thumbs": "thumbs_up_rate",
    "score": "feedback_score",
    "task_done": "task_done_rate",
}
_EVEN = 0.5


class Feedback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a user, about one exchange: the body of `POST /v1/feedback`."""

    request_id: Annotated[str, Meta(description="The answer's `x-request-id`.", pattern=r"^[\x20-\x7e]{1,128}\Z")]
    thumbs: Annotated[Literal["up", "down"] | None, Meta(description="Whether the answer was liked.")] = None
    score: Annotated[Mark | None, Meta(description="From 0 (bad) to 1 (good).")] = None
    task_done: Annotated[bool | None, Meta(description="Whether it did what it was asked for.")] = None
    comment: Annotated[Comment | None, Meta(description="In the user's words.")] = None
    user: Annotated[User | None, Meta(description="Who says so; for your own use.")] = None


class Opinion(NamedTuple):
    """One kind of a feedback."""

    kind: FeedbackKind
    value: float
    comment: str = ""


def check(feedback: Feedback) -> None:
    """InvalidRequest: it says nothing."""
    if (feedback.thumbs, feedback.score, feedback.task_done, feedback.comment) == (None, None, None, None):
        raise InvalidRequest("Feedback must say something: thumbs, score, task_done or comment.")


def opinions_of(record: FeedbackRecord) -> Iterator[Opinion]:
    """What it says."""
    if record.thumbs is not None:
        yield Opinion("thumbs", record.thumbs)
    if record.score is not None:
        yield Opinion("score", record.score)
    if record.task_done is not None:
        yield Opinion("task_done", record.task_done)
    if record.comment is not None:
        yield Opinion("comment", 0.0, record.comment.replace("\0", "\ufffd"))


def pair_score(when_first: float, when_second: float) -> float:
    """A judge's score of an answer, from 0 (worse than the other) to 1 (better): even when both orders disagree."""
    return when_first if when_first == when_second else _EVEN


def meant_by(found: tuple[Event, ...]) -> Event | None:
    """The exchange that a request id means, of those that have it, newest first: the newest that a user saw."""
    return next((event for event in found if not event.answer_flags & AnswerFlag.MIRRORED), None)
