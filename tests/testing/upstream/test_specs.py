import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.testing.upstream.behaviours import At, Behaviour, Cut, How, Latency, Stop
from podium.testing.upstream.modes import MODES, Mode
from podium.testing.upstream.specs import behaviour_of, split_model


@pytest.mark.parametrize("mode", Mode)
def test_the_name_of_a_mode_is_a_spec(mode):
    assert behaviour_of(mode.value) == MODES[mode]


@pytest.mark.parametrize(
    ("spec", "changes"),
    [
        ("", {}),
        ("slow=2000ms", {"before_content_s": 2.0}),
        ("slow-head=1.5s", {"before_head_s": 1.5}),
        ("paced=0.25", {"between_s": 0.25}),
        ("latency=20ms/0.2", {"latency": Latency(0.02, 0.2)}),
        ("rate=0.5", {"per_second": 0.5}),
        ("cached=7", {"cached_tokens": 7, "cache_write_tokens": 40}),
        ("stop=length,chunks=3", {"stop": Stop.LENGTH, "chunks": 3}),
        ("text=a=b", {"text": "a=b"}),
        ("slow=1s,slow=2s", {"before_content_s": 2.0}),
        ("parallel-tools,slow=10ms", {"calls": 2, "before_content_s": 0.01}),
        ("resets-midway,size=9", {"cut": Cut(At.MIDDLE, How.RESET), "size": 9}),
    ],
)
def test_items_add_up_and_later_ones_win(spec, changes):
    behaviour = behaviour_of(spec)
    assert {name: getattr(behaviour, name) for name in changes} == changes
    rest = {"name", "expected", *changes}
    for name in set(Behaviour.__slots__) - rest:
        assert getattr(behaviour, name) == getattr(Behaviour(), name), name


def test_what_a_gateway_makes_of_it_is_that_of_the_fault_among_the_items():
    for spec in ("tool-call,stalls-midway", "stalls-midway,chunks=4", "text=x,stalls-midway"):
        assert behaviour_of(spec).expected == MODES[Mode.STALLS_MIDWAY].expected


@pytest.mark.parametrize(
    "spec",
    [
        "nothing",
        "slow=fast",
        "slow=-1s",
        "chunks=1.5",
        "latency=1s/1ms",
        "rate=0",
        "silent=3",
        "rate=inf",
        "=",
        "stop=x",
    ],
)
def test_words_that_there_are_not_are_refused(spec):
    with pytest.raises(ValueError, match=r"."):
        behaviour_of(spec)


def test_a_model_name_may_say_how_to_answer():
    assert split_model("gpt-5") == ("gpt-5", None)
    name, behaviour = split_model("m+slow=2000ms+chunks=3")
    assert (name, behaviour.before_content_s, behaviour.chunks) == ("m", 2.0, 3)


@given(st.text())
def test_any_text_is_a_spec_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert isinstance(behaviour_of(text), Behaviour)
