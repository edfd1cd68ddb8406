from math import exp, isclose

import pytest

from podium.core.event import AnswerFlag
from podium.delivery.analysis.measures import MEASURES, calls_of, is_analysed, measures_of
from podium.testing.events import make_call, make_event


def told(**changes):
    event = make_event(rollout="r", arm="candidate", **({"finish_reason": "stop"} | changes))
    return {MEASURES[measure]: (y, x) for measure, y, x in measures_of(event)}


FAILED = {"reason": "upstream_timeout", "fault": "upstream", "status": 504, "first_byte_ns": -1}
GONE = {"reason": "client_gone", "fault": "caller", "status": 499}


def test_a_plain_answer_tells_all_but_what_nobody_asked_for():
    measures = told()
    assert measures.keys() == {
        "error_rate",
        "duration_ms",
        "cost_nanousd",
        "input_tokens",
        "output_tokens",
        "ttft_ms",
        "time_per_output_token_ms",
        "empty_rate",
        "refusal_rate",
        "truncated_rate",
    }
    assert measures["error_rate"] == (0, 1)
    assert isclose(exp(measures["ttft_ms"][0]), 90)
    assert isclose(exp(measures["duration_ms"][0]), 700)
    assert measures["time_per_output_token_ms"] == (610, 19)
    assert measures["cost_nanousd"] == (1500, 1)


@pytest.mark.parametrize("reason", ["upstream_timeout", "no_backend", "internal_error", "overloaded"])
def test_failures_of_ours_and_the_upstreams_are_errors_and_nothing_else(reason):
    assert told(**FAILED | {"reason": reason}) == {"error_rate": (1, 1)}


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": "invalid_request", "fault": "caller"},
        {"reason": "draining", "fault": "podium"},
        {"reason": "not_ready", "fault": "podium"},
        {"attempts": 0},  # no call was needed
        GONE | {"stream": False},
        GONE | {"upstream_ns": -1},
    ],
)
def test_what_says_nothing_of_the_arm_counts_for_nothing(changes):
    assert told(**changes) == {}


def test_what_the_models_server_rejects_is_an_error_of_the_arm():
    assert told(reason="upstream_rejected", fault="caller", status=400) == {"error_rate": (1, 1)}


@pytest.mark.parametrize("changes", [{}, GONE, FAILED])
def test_a_fallback_is_an_error_whatever_became_of_it(changes):
    assert told(fallbacks=1, served_model="other", **changes) == {"error_rate": (1, 1)}


def test_who_leaves_has_waited_at_least_so_long():
    assert isclose(exp(told(**GONE, first_byte_ns=-1)["ttft_ms"][0]), 700)
    assert isclose(exp(told(**GONE)["ttft_ms"][0]), 90)
    assert told(**GONE).keys() == {"ttft_ms"}


def test_what_is_told_of_an_answer_counts():
    flags = int(AnswerFlag.REFUSED | AnswerFlag.FORMAT_ASKED | AnswerFlag.FORMAT_INVALID)
    measures = told(answer_flags=flags, finish_reason="length")
    assert measures["refusal_rate"] == measures["invalid_format_rate"] == measures["truncated_rate"] == (1, 1)
    assert measures["empty_rate"] == (0, 1)


def test_an_empty_answer_has_no_time_to_its_first_content():
    measures = told(answer_flags=int(AnswerFlag.EMPTY))
    assert measures["empty_rate"] == (1, 1)
    assert "ttft_ms" not in measures
    assert "time_per_output_token_ms" not in measures


def test_whole_answers_and_embeddings_have_no_such_times_and_embeddings_no_text():
    assert "ttft_ms" not in told(stream=False)
    assert "empty_rate" not in told(endpoint="embeddings", stream=False)
    assert "truncated_rate" not in told(finish_reason="")


def test_only_chosen_exchanges_are_analysed_and_none_that_a_tester_overrode():
    assert is_analysed(make_event(rollout="r", arm="baseline"))
    assert is_analysed(make_event(rollout="r", arm="candidate", answer_flags=int(AnswerFlag.MIRRORED)))
    assert not is_analysed(make_event(rollout="r"))
    assert not is_analysed(make_event())
    assert not is_analysed(make_event(rollout="r", arm="candidate", answer_flags=int(AnswerFlag.OVERRIDDEN)))


def test_each_call_is_judged_for_its_own_backend():
    trail = (
        make_call(backend="p/a", reason="upstream_error", ended_ns=5_400_000),
        make_call(backend="p/b", kind="retry", started_ns=50_000_000),
        make_call(backend="q/c", kind="fallback", model="other"),
    )
    calls = list(calls_of(make_event(trail=trail, attempts=3)))
    assert [(call.backend, call.failed) for call in calls] == [("p/a", True), ("p/b", False)]
    assert calls[1].wait_ms == 40  # from its own sending to the first content


def test_a_call_that_was_too_slow_counts_with_the_time_that_it_had():
    trail = (
        make_call(backend="p/slow", reason="client_gone", started_ns=0, ended_ns=91_000_000),
        make_call(backend="p/quick", kind="hedge", started_ns=80_000_000),
    )
    slow, quick = calls_of(make_event(trail=trail, attempts=2, hedges=1))
    assert (slow.backend, slow.failed, slow.wait_ms) == ("p/slow", False, 90)
    assert (quick.backend, quick.failed, quick.wait_ms) == ("p/quick", False, 10)


def test_an_exchange_with_one_call_is_its_call():
    (call,) = calls_of(make_event())
    assert (call.backend, call.failed, call.wait_ms) == ("local/smollm2", False, 89.6)
    assert list(calls_of(make_event(attempts=0))) == []
    assert list(calls_of(make_event(fallbacks=1, served_model="other"))) == []
