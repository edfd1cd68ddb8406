import msgspec
import pytest

from podium.core.errors import InvalidRequest
from podium.core.event import AnswerFlag
from podium.delivery.analysis.measures import INDEX
from podium.delivery.analysis.opinions import MEASURE_OF, Feedback, meant_by, opinions_of
from podium.testing.events import make_event


def feedback(**said):
    return msgspec.convert({"request_id": "q", **said}, Feedback)


def test_each_kind_is_an_opinion():
    said = feedback(thumbs="down", score=0.5, task_done=True, comment="good\0")
    assert [tuple(one) for one in opinions_of(said)] == [
        ("thumbs", 0.0, ""),
        ("score", 0.5, ""),
        ("task_done", 1.0, ""),
        ("comment", 0.0, "good\ufffd"),
    ]
    assert set(MEASURE_OF.values()) <= INDEX.keys()


def test_feedback_says_something():
    with pytest.raises(InvalidRequest):
        opinions_of(feedback())


@pytest.mark.parametrize(
    "said",
    [{"score": 1.1}, {"score": -0.1}, {"thumbs": "sideways"}, {"comment": ""}, {"task_done": 1}, {"stars": 5}],
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
