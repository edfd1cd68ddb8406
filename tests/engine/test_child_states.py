from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.engine.child_states import TABLE, Backoff, ChildState, Occurrence, Restarts, next_state

ENDED = {ChildState.STOPPED, ChildState.FAILED}
RUNNING = {ChildState.STARTING, ChildState.READY, ChildState.STOPPING}


def possible(state):
    return [occurrence for origin, occurrence in TABLE if origin is state]


@st.composite
def lives(draw):
    """Every state that one child goes through, and what happened to it, in order."""
    states, occurrences = [ChildState.STARTING], []
    for _ in range(draw(st.integers(0, 40))):
        happened = draw(st.sampled_from(possible(states[-1])))
        occurrences.append(happened)
        states.append(next_state(states[-1], happened))
    return states, occurrences


@given(lives())
def test_a_child_that_was_asked_to_stop_is_never_started_again(life):
    states, occurrences = life
    if Occurrence.STOP in occurrences:
        after = states[occurrences.index(Occurrence.STOP) + 1 :]
        assert not {ChildState.STARTING, ChildState.READY, ChildState.BACKING_OFF} & set(after)


@given(lives())
def test_an_ended_child_stays_ended(life):
    states, _ = life
    for before, after in pairwise(states):
        if before in ENDED:
            assert after is before


@given(lives())
def test_a_restart_comes_only_after_a_wait(life):
    states, occurrences = life
    for number, after in enumerate(states[1:]):
        if after is ChildState.STARTING:
            assert states[number] is ChildState.BACKING_OFF and occurrences[number] is Occurrence.WAITED


@pytest.mark.parametrize("state", ChildState)
def test_stop_leads_from_every_state_to_an_end(state):
    seen = [state]
    if state is not ChildState.STOPPING:
        seen.append(next_state(state, Occurrence.STOP))
    if seen[-1] is ChildState.STOPPING:
        seen.append(next_state(seen[-1], Occurrence.EXITED))
    assert seen[-1] in ENDED


@pytest.mark.parametrize("state", RUNNING)
def test_an_exit_is_expected_wherever_a_process_runs(state):
    assert {Occurrence.EXITED, Occurrence.MISCONFIGURED} <= set(possible(state))


def test_every_state_but_the_first_can_be_reached():
    assert set(TABLE.values()) == set(ChildState)


def test_what_cannot_happen_is_an_error():
    with pytest.raises(KeyError):
        next_state(ChildState.STOPPED, Occurrence.WAITED)


@given(st.integers(1, 100_000), st.floats(0.001, 10), st.floats(10, 1000))
def test_waits_double_up_to_the_longest(exits, min_s, max_s):
    backoff = Backoff(min_s, max_s)
    wait = backoff.wait_s(exits)
    assert min_s <= wait <= max_s
    assert backoff.wait_s(exits + 1) == pytest.approx(min(max_s, wait * 2))


@given(st.lists(st.floats(0, 59.9), max_size=20))
def test_exits_in_a_row_count_up_until_a_stable_run(runs):
    restarts = Restarts()
    for ran_s in runs:
        restarts = restarts.exited(ran_s, Backoff())
    assert restarts.in_a_row == len(runs)
    assert restarts.exited(60.0, Backoff()).in_a_row == 1


@pytest.mark.parametrize(
    ("restarts", "essential", "hopeless"),
    [
        (Restarts(5), True, True),
        (Restarts(4), True, False),
        (Restarts(5), False, False),
        (Restarts(500).answered(), True, False),
    ],
)
def test_only_an_essential_child_that_never_was_ready_is_given_up(restarts, essential, hopeless):
    assert restarts.hopeless(Backoff(), essential=essential) is hopeless
