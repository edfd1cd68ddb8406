import msgspec
import pytest

from podium.core.errors import InvalidRequest
from podium.core.event import AnswerFlag
from podium.core.records import FeedbackRecord
from podium.delivery.analysis.measures import INDEX
from podium.delivery.analysis.opinions import MEASURE_OF, Feedback, check, meant_by, opinions_of, pair_score
from podium.testing.events import make_event


def feedback(**said):
    return msgspec.convert({"request_id": "q", **said}, Feedback)


def test_each_kind_is_an_opinion():
    said = FeedbackRecord(
        id=b"",
        given_unix_s=1.0,
        tenant="acme",
        key_id="k",
        request_id="q",
        thumbs=0.0,
        score=0.5,
        task_done=1.0,
        comment="good\0",
    )
    assert [tuple(one) for one in opinions_of(said)] == [
        ("thumbs", 0.0, ""),
        ("score", 0.5, ""),
        ("task_done", 1.0, ""),
        ("comment", 0.0, "good\ufffd"),
    ]
    assert set(MEASURE_OF.values()) <= INDEX.keys()


def test_feedback_says_something():
    with pytest.raises(InvalidRequest):
        check(feedback(user="alice"))
    for said in ({"thumbs": "up"}, {"score": 0}, {"task_done": False}, {"comment": "?"}):
        check(feedback(**said))


@pytest.mark.parametrize(
    "said",
    [
        {"score": 1.1},
        {"score": -0.1},
        {"thumbs": "sideways"},
        {"comment": ""},
        {"comment": "x" * 10_001},
        {"task_done": 1},
        {"stars": 5},
        {"request_id": "a\nb"},
        {"request_id": ""},
    ],
)
def test_what_is_no_feedback_is_refused(said):
    with pytest.raises(msgspec.ValidationError):
        feedback(**said)


def test_the_newest_that_a_user_saw_is_meant():
    seen, older = make_event(), make_event()
    copy = make_event(answer_flags=int(AnswerFlag.MIRRORED))
    assert meant_by((copy, seen, older)) is seen
    assert meant_by((copy,)) is None
    assert meant_by(()) is None


def test_a_judge_that_goes_by_the_order_finds_answers_even():
    assert [pair_score(*both) for both in ((1, 1), (0, 0), (0.5, 0.5), (1, 0), (0, 1), (1, 0.5))] == [
        1, 0, 0.5, 0.5, 0.5, 0.5,
    ]  # fmt: skip
