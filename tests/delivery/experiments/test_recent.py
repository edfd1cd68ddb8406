import math

import pytest

from podium.core.event import AnswerFlag
from podium.delivery.experiments.recent import recent_of
from podium.testing.events import make_event


def test_a_rate_of_independent_subjects_is_that_of_their_exchanges():
    failed = {"reason": "upstream_error", "fault": "upstream"}
    events = [make_event(user=f"u{number}", **(failed if number % 10 == 0 else {})) for number in range(1000)]
    found = recent_of(events, "error_rate")

    assert found.expected.value == pytest.approx(0.1)
    assert 0.09 < found.expected.variance < 1.2 * 0.09  # on the safe side, for the variance is an estimate too
    assert (found.exchanges, found.samples, found.subjects, found.by_subject) == (1000, 1000, 1000, True)


def test_exchanges_of_one_subject_are_worth_less_where_they_are_alike():
    """A hundred subjects of ten exchanges, which all fail or none does."""
    failed = {"reason": "upstream_error", "fault": "upstream"}
    events = [make_event(user=f"u{number % 100}", **(failed if number % 10 == 0 else {})) for number in range(1000)]
    found = recent_of(events, "error_rate")

    assert 10 < found.expected.design_effect < 15
    assert found.expected.samples_per_subject == 10


def test_times_are_logarithms_of_those_that_have_them():
    events = [make_event(user=f"u{number}", stream=number % 4 == 0, first_byte_ns=10**8) for number in range(400)]
    found = recent_of(events, "ttft_ms")

    assert found.expected.value == pytest.approx(math.log(100))
    assert found.samples_per_exchange == 0.25


def test_tenants_users_and_keys_are_subjects():
    events = [make_event(tenant="a", user="u"), make_event(tenant="b", user="u"), make_event(tenant="b", key_id="k2")]
    assert recent_of(events, "cost_nanousd").subjects == 3


def test_one_subject_alone_is_taken_exchange_by_exchange_and_told():
    events = [make_event(user="u", cost_nanousd=1000 + number) for number in range(50)]
    found = recent_of(events, "cost_nanousd")

    assert (found.subjects, found.by_subject) == (1, False)
    assert 50 * 51 / 12 < found.expected.variance < 1.6 * 50 * 51 / 12


def test_what_answers_were_like_is_known_of_exchanges_of_rollouts_only():
    plain = [make_event(user=f"p{number}") for number in range(10)]
    noted = [
        make_event(user=f"u{number}", rollout="r", answer_flags=int(AnswerFlag.EMPTY) * (number % 2))
        for number in range(20)
    ]
    assert recent_of(plain, "empty_rate") is None
    assert recent_of(plain + noted, "empty_rate").expected.value == 0.5


@pytest.mark.parametrize("measure", ["judge_score", "thumbs_up_rate", "feedback_score", "task_done_rate"])
def test_opinions_are_not_in_exchanges(measure):
    assert recent_of([make_event(user=str(number)) for number in range(9)], measure) is None


def test_of_nothing_nothing_is_known():
    assert recent_of([], "error_rate") is None
    assert recent_of([make_event()], "error_rate") is None
