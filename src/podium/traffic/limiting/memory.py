"""What all states of a limiter are told: how to count what they weigh, and which grant ends."""

from typing import Protocol

__all__ = ["Memory", "Taken"]


class Memory:
    """A sum that states add to when they are made and when they grow; who drops one takes its `cost` off."""

    __slots__ = ("used",)

    def __init__(self) -> None:
        self.used = 0  # bytes


class Taken(Protocol):
    """What a state has to know of a grant that has taken from it."""

    serial: int  # rises with each grant
    at_ns: int  # when it was granted
