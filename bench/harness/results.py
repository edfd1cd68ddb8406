"""The raw data of a series of rounds, kept as JSON under .bench/results/."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

__all__ = ["DISTURBED_CORES", "Run", "Series", "joined_series", "load_series", "save_series"]

DISTURBED_CORES = 0.1  # processor use of strangers, or taken by the host, from which on a run counts as disturbed


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of one contestant in one round."""

    metric: str
    contestant: str
    round: int
    values: dict[str, float]  # empty when it could not be measured
    problems: tuple[str, ...] = ()  # each marks the contestant in the results
    waited_s: float = 0.0  # for an idle machine
    load_core_busy: float = 0.0
    other_cores: float = 0.0
    stolen_cores: float = 0.0

    @property
    def disturbed(self) -> bool:
        """Whether others used the machine meanwhile."""
        return self.other_cores > DISTURBED_CORES or self.stolen_cores > DISTURBED_CORES


class Series(msgspec.Struct, kw_only=True):
    """All rounds of one run of the harness. Grows run by run."""

    started: str
    commit: str
    quick: bool
    rounds: int
    machine: dict[str, str]
    versions: dict[str, str]  # contestant -> version
    titles: dict[str, str]  # contestant -> its name for people, in the order of the tables
    abouts: dict[str, str]
    beside: dict[str, str] = {}  # alternative -> the contestant that its ratios are to
    calibration_ms: list[dict[int, float]] = []  # per round: core -> time of a fixed piece of work
    runs: list[Run] = []
    missing: dict[str, str] = {}  # contestant -> why it could not take part
    ended: str = ""

    def of(self, metric: str, contestant: str) -> list[Run]:
        """The runs of one contestant, by round."""
        return [run for run in self.runs if run.metric == metric and run.contestant == contestant]

    def values(self, metric: str, contestant: str, value: str) -> dict[int, float]:
        """One figure by round; rounds without it are left out."""
        return {run.round: run.values[value] for run in self.of(metric, contestant) if value in run.values}


def save_series(series: Series, path: Path) -> None:
    """Write the file anew, at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(series), indent=1))
    os.replace(draft, path)  # noqa: PTH105 - atomic by its contract


def load_series(path: Path) -> Series:
    """A saved series."""
    return msgspec.json.decode(path.read_bytes(), type=Series)


def joined_series(parts: Sequence[Series]) -> Series:
    """One series of several that ran one after the other. ValueError: they do not belong together.

    Ratios are made within a round, so all of a metric is of one of them: the last one that measured it. `commit` then
    says which metrics are of which.
    """
    first, *others = sorted(parts, key=lambda part: part.started)
    joined = msgspec.structs.replace(first)
    commits = {run.metric: first.commit for run in first.runs}
    for part in others:
        if any(getattr(part, name) != getattr(first, name) for name in ("machine", "quick")):
            raise ValueError("only runs on one machine, all of them quick or none")
        joined.rounds = max(joined.rounds, part.rounds)  # the page says which figures are of fewer
        anew = {run.metric: part.commit for run in part.runs}
        commits |= anew
        joined.runs = [run for run in joined.runs if run.metric not in anew]
        for name in ("versions", "titles", "abouts", "beside", "missing"):
            setattr(joined, name, getattr(joined, name) | getattr(part, name))
        joined.calibration_ms = joined.calibration_ms + part.calibration_ms
        joined.runs = joined.runs + part.runs
        joined.ended = part.ended
    if len(set(commits.values())) > 1:
        joined.commit = "; ".join(
            f"{commit}: {', '.join(metric for metric, of in commits.items() if of == commit)}"
            for commit in dict.fromkeys(commits.values())
        )
    return joined
