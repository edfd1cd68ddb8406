"""What a process counts about its shared store: plain numbers that whoever exposes metrics reads."""

from dataclasses import dataclass, field

from podium.store.redis.errors import StoreTrouble

__all__ = ["Figures"]


@dataclass(slots=True)
class Figures:
    """Counters since the process started. `calls` got an answer; `troubles` did not, by reason."""

    calls: int = 0
    round_trips: int = 0
    connects: int = 0
    times_down: int = 0
    times_unusable: int = 0
    scripts_sent_whole: int = 0  # because the server did not know them, or forbids to ask by digest
    late: int = 0  # decisions that the server did not take because nobody waited any more
    messages: int = 0
    messages_missed: int = 0
    troubles: dict[StoreTrouble, int] = field(default_factory=lambda: dict.fromkeys(StoreTrouble, 0))
