"""Calls that wait for their turn together may become one command: what it says, and whose each answer is."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from redis.exceptions import ResponseError

from podium.store.redis.connection import Command

__all__ = ["Merger", "Single", "commands_of", "spread"]


class Merger(Protocol):
    """Makes one command of what several calls ask for.

    An ask is a sequence of steps; a command has no more than `most` of them, but where one ask alone has.
    """

    @property
    def most(self) -> int:
        """Steps of a command."""

    def command(self, asks: Sequence[Sequence[Any]]) -> Command:
        """The command; called when it is about to be sent, perhaps again."""

    def answers(self, answer: Any, /) -> list[Any]:
        """What the command's answer says of each step: its answer, or a ResponseError."""


class Single(Protocol):
    """A call as this module sees it."""

    command: Command
    merger: Merger | None  # None: `command` is the command
    ask: Sequence[Any]


def commands_of(calls: Iterable[Single]) -> tuple[list[Command], list[int]]:
    """The commands of these calls, in their order, and of how many calls each one is."""
    commands: list[Command] = []
    counts: list[int] = []
    merger: Merger | None = None
    asks: list[Sequence[Any]] = []
    steps = 0
    for call in calls:
        if asks and (call.merger is not merger or (merger is not None and steps + len(call.ask) > merger.most)):
            assert merger is not None
            commands.append(merger.command(asks))
            counts.append(len(asks))
            asks, steps = [], 0
        merger = call.merger
        if merger is None:
            commands.append(call.command)
            counts.append(1)
        else:
            asks.append(call.ask)
            steps += len(call.ask)
    if merger is not None and asks:
        commands.append(merger.command(asks))
        counts.append(len(asks))
    return commands, counts


def spread(calls: Sequence[Single], counts: Sequence[int], answers: Sequence[Any]) -> list[Any]:
    """The answer of each call: to an ask a list with one for each step, or an error of its own, or of the command."""
    found: list[Any] = []
    for count, answer in zip(counts, answers, strict=True):
        first = calls[len(found)]
        if first.merger is None:
            found.append(answer)
        elif isinstance(answer, ResponseError):
            found += [type(answer)(*answer.args) for _ in range(count)]
        else:
            at, answers_of_steps = 0, first.merger.answers(answer)
            for call in calls[len(found) : len(found) + count]:
                own = answers_of_steps[at : at + len(call.ask)]
                at += len(call.ask)
                found.append(next((one for one in own if isinstance(one, ResponseError)), own))
    return found
