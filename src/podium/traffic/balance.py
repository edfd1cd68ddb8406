"""Which of a version's equal backends takes the next call."""

from collections.abc import Container, Sequence

__all__ = ["RoundRobin"]


class RoundRobin:
    """Each backend in turn. One object a pool; the pool may change its size between two calls."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    def choose(
        self, backends: Sequence[object], excluded: Container[int] = (), *, keep_turn: bool = False
    ) -> int | None:
        """The index of the next backend that is not excluded; None when there is none.

        `keep_turn`: a second try, which does not count as a turn. Else a dead backend of two would be the first
        choice of every exchange, since each one's second try would bring the turn back to it.
        """
        count = len(backends)
        for step in range(count):
            index = (self._next + step) % count
            if index not in excluded:
                if not keep_turn:
                    self._next = index + 1
                return index
        return None
