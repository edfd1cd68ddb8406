"""Whether the shared store is worth a call.

::

    UP ── n failures in a row ──> DOWN ── a probe succeeds ──> UP
    UP, DOWN ── it forbids what is needed ──> UNUSABLE ── a probe succeeds ──> UP

While it is not UP nothing is sent but the probe, so a dead store costs an exchange nothing.
"""

from enum import StrEnum

from podium.store.redis.errors import StoreTrouble, StoreUnavailable
from podium.store.redis.figures import Figures

__all__ = ["Circuit", "StoreState"]


class StoreState(StrEnum):
    """What is believed about the store."""

    UP = "up"
    DOWN = "down"
    UNUSABLE = "unusable"


class Circuit:
    """The belief, and the sentence that says why. `answered` and `failed` are told by whoever sends."""

    __slots__ = ("_failures", "_figures", "_to_open", "sentence", "state")

    def __init__(self, failures_to_open: int, figures: Figures) -> None:
        self._to_open, self._figures = failures_to_open, figures
        self._failures = 0
        self.state = StoreState.UP
        self.sentence = ""

    def check(self) -> None:
        """Raise StoreUnavailable when nothing may be sent."""
        if self.state is not StoreState.UP:
            raise self.error()

    def error(self) -> StoreUnavailable:
        """What a call is told while the store is not up."""
        trouble = StoreTrouble.UNUSABLE if self.state is StoreState.UNUSABLE else StoreTrouble.DOWN
        return StoreUnavailable(trouble, self.sentence)

    def answered(self) -> None:
        """The store answered a call. It brings it up only when a probe got the answer: see `probed`."""
        self._failures = 0

    def failed(self, sentence: str) -> None:
        """The store did not answer, or answered that it cannot."""
        self._failures += 1
        if self._failures >= self._to_open:
            self.open(sentence)

    def open(self, sentence: str) -> None:
        """There is no connection at all."""
        if self.state is StoreState.UP:
            self._figures.times_down += 1
        self.state, self.sentence = StoreState.DOWN, sentence

    def forbid(self, sentence: str) -> None:
        """The store answers, but does not let us do what we need."""
        if self.state is not StoreState.UNUSABLE:
            self._figures.times_unusable += 1
        self.state, self.sentence = StoreState.UNUSABLE, sentence

    def probed(self) -> None:
        """A probe found everything as it must be."""
        self.state, self.sentence, self._failures = StoreState.UP, "", 0
