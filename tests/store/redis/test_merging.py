from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import NoScriptError, ResponseError

from podium.store.redis.merging import commands_of, spread

MOST = 3


class Merger:
    most = MOST

    def __init__(self, name):
        self.name = name

    def command(self, asks):
        return (self.name, *[step for ask in asks for step in ask])

    def answers(self, answer):
        return answer[::-1]  # as the command says it


@dataclass
class Call:
    command: tuple
    merger: Merger | None
    ask: tuple


MERGERS = (None, Merger("a"), Merger("b"))


@given(st.lists(st.tuples(st.sampled_from(MERGERS), st.integers(0, 4))))
def test_each_call_gets_its_own_answers_in_order(kinds):
    calls = [
        Call(("alone", number), merger, () if merger is None else tuple((number, step) for step in range(steps)))
        for number, (merger, steps) in enumerate(kinds)
    ]

    commands, counts = commands_of(calls)
    answers = [command if command[0] == "alone" else list(command[:0:-1]) for command in commands]

    assert spread(calls, counts, answers) == [call.command if call.merger is None else list(call.ask) for call in calls]
    assert all(len(command) - 1 <= MOST or count == 1 for command, count in zip(commands, counts, strict=True))


def test_calls_of_one_merger_are_one_command_up_to_its_steps():
    merger = MERGERS[1]

    commands, counts = commands_of([Call((), merger, (number,)) for number in range(2 * MOST)])

    assert commands == [("a", 0, 1, 2), ("a", 3, 4, 5)]
    assert counts == [3, 3]


def test_an_error_of_the_command_is_everybodys_and_one_of_a_step_its_own():
    merger = MERGERS[1]
    calls = [Call((), merger, (number,)) for number in range(4)]
    wrong = ResponseError("wrong")

    found = spread(calls, [2, 2], [NoScriptError("none"), [1, wrong]])

    assert [type(one) for one in found[:2]] == [NoScriptError, NoScriptError]
    assert found[0] is not found[1]
    assert found[2:] == [wrong, [1]]
