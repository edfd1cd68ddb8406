"""The results page, from the raw data of a series. Pure: the same series gives the same page."""

import statistics
from collections.abc import Iterator

from harness.figures import AIM_GROUPS, FIGURES, METRIC_TITLES, NOTES, Aim, Figure
from harness.lab import QUICK
from harness.results import DISTURBED_CORES, Series
from harness.statistics import Spread, pairwise_ratios, spread_of

__all__ = ["render"]

_SUBJECT, _ENGINE_SUBJECT, _BARE = "podium", "podium-engine", "podium-bare"
_ENOUGH_ROUNDS = 7

_METHOD = """\
Contestants are measured in interleaved rounds at usual priority: each round goes through all metrics, and within a
metric through all contestants one straight after the other, every second round in reverse order. A contestant is
started afresh for each measurement, has one core to itself and is warmed up first; load generator and mock provider
share the other core, as does `podium control`. Compared is within a round only: **the ratio Podium / other of the same
round; shown are the median of these ratios and, in brackets, the least and the greatest.** `≈` marks a ratio whose
spread includes 1: no difference was seen. Absolute figures are medians over the rounds; they stand beside the ratios
for orientation and depend on the machine and the hour. Before each load a single call must give the provider's exact
bytes, and a call without a key a 401 where keys are checked; failures under load are counted and shown.
What each load is: [README.md](README.md)."""


def render(series: Series) -> str:
    """The page."""
    parts = [
        "# Benchmark results",
        "Written by `make bench`; do not edit. How it is measured: [README.md](README.md).",
        *_warnings(series),
        *_head(series),
        "## Method",
        _METHOD,
        *_aims(series),
    ]
    for metric, title in METRIC_TITLES.items():
        parts += _section(series, metric, title)
    parts += _problems(series)
    parts += _machine_state(series)
    return "\n\n".join(parts) + "\n"


def _warnings(series: Series) -> Iterator[str]:
    if series.quick:
        yield (
            "**A quick run: loads are far too short for figures to be quoted"
            f" ({QUICK.paced_streams} paced streams, soak of {QUICK.soak_stops[1]:,}).**"
        )
    if series.rounds < _ENOUGH_ROUNDS:
        yield f"**Only {series.rounds} rounds; figures that count need at least {_ENOUGH_ROUNDS}.**"
    if not series.ended:
        yield "**The run was broken off; what was measured until then is below.**"


def _head(series: Series) -> Iterator[str]:
    yield "## Machine and contestants"
    rows = [["started", series.started], ["ended", series.ended or "broken off"], ["commit", series.commit]]
    rows += [[name, value] for name, value in series.machine.items()]
    rows += [["rounds", str(series.rounds)]]
    yield _table(["", ""], rows)
    contestants = [
        [title, series.versions.get(name, "?"), series.missing.get(name) or series.abouts.get(name, "")]
        for name, title in series.titles.items()
    ]
    yield _table(["contestant", "version", "set-up"], contestants)


def _aims(series: Series) -> Iterator[str]:
    yield "## Aims"
    for group in AIM_GROUPS:
        rows = [
            [_aim_title(series, figure, aim), aim.says(figure), *_verdict(series, figure, aim)]
            for figure in FIGURES
            for aim in figure.aims
            if aim.group == group
        ]
        yield f"### {group}"
        yield _table(["figure", "aim", "found: median (least to greatest)", "verdict"], rows)


def _aim_title(series: Series, figure: Figure, aim: Aim) -> str:
    if aim.subject in (_SUBJECT, _ENGINE_SUBJECT) or aim.beside is None:
        return figure.title
    return f"{figure.title}: {series.titles.get(aim.subject, aim.subject)}"


def _verdict(series: Series, figure: Figure, aim: Aim) -> list[str]:
    ours = series.values(figure.metric, aim.subject, figure.value)
    if aim.beside is None:
        found = spread_of(list(ours.values()))
    else:
        found = spread_of(pairwise_ratios(ours, series.values(figure.metric, aim.beside, figure.value)))
    if found is None:
        why = series.missing.get(aim.subject) or series.missing.get(aim.beside or "")
        return ["-", _cell(why) if why is not None else "not measured"]
    digits = 2 if aim.beside else figure.digits
    met = _reaches(figure, found.median, aim.bound)
    # Loss is no average: one round with a lost event misses the aim.
    if figure.value == "lost_events":
        met = found.high <= aim.bound
    words = "met" if met else "**missed**"
    if met and aim.beyond is not None and _reaches(figure, found.median, aim.beyond):
        words = "met, and the one beyond"
    if found.low < aim.bound < found.high and figure.value != "lost_events":
        words += "; the spread reaches over the bound"
    if found.count < min(series.rounds, _ENOUGH_ROUNDS):
        words += f"; {found.count} rounds"
    if any(run.problems for run in series.of(figure.metric, aim.subject)):
        words += "; with failures"
    return [_spread(found, digits), words]


def _reaches(figure: Figure, value: float, bound: float) -> bool:
    return value >= bound if figure.more_is_better else value <= bound


def _section(series: Series, metric: str, title: str) -> Iterator[str]:
    names = [name for name in series.titles if any(run.values for run in series.of(metric, name))]
    if not names:
        return
    pairs = _pairs(series, metric, names)
    rows = []
    for figure in FIGURES:
        if figure.metric == metric:
            unit = f", {figure.unit}" if figure.unit else ""
            cells = [_absolute(series, figure, name) for name in names]
            ratios = [_ratio(series, figure, *pair) for pair in pairs]
            rows.append([f"{figure.title}{unit}", *cells, *ratios])
    yield f"## {title}"
    yield _table(
        ["", *[_marked(series, metric, name) for name in names]]
        + [f"{series.titles[one]} / {series.titles[other]}" for one, other in pairs],
        rows,
    )
    if (note := _load_note(series, metric, names)) is not None:
        yield note
    few = {name: len(series.of(metric, name)) for name in names if len(series.of(metric, name)) < series.rounds}
    if few:
        yield f"In fewer rounds: {', '.join(f'{series.titles[name]} ({count})' for name, count in few.items())}."
    if (note := NOTES.get(metric)) is not None:
        yield note


def _pairs(series: Series, metric: str, names: list[str]) -> list[tuple[str, str]]:
    """Whose figures are divided by whose: Podium's by each other gateway's, a variant's by what it is beside."""
    variants = {name for name in names if name in series.beside} | set(series.beside.values())
    subject = next((name for name in (_SUBJECT, _ENGINE_SUBJECT) if name in names), None)
    bare = [name for name in names if name != subject and (name not in variants or name == _BARE)]
    pairs = [(subject, name) for name in bare] if subject is not None else []
    pairs += [
        (aim.subject, aim.beside)
        for figure in FIGURES
        for aim in figure.aims
        if figure.metric == metric and aim.beside is not None and {aim.subject, aim.beside} <= set(names)
    ]
    pairs += [(name, series.beside[name]) for name in names if series.beside.get(name) in names]
    return list(dict.fromkeys(pairs))


def _marked(series: Series, metric: str, name: str) -> str:
    failed = any(run.problems for run in series.of(metric, name))
    return f"{series.titles[name]} (!)" if failed else series.titles[name]


def _absolute(series: Series, figure: Figure, name: str) -> str:
    found = spread_of(list(series.values(figure.metric, name, figure.value).values()))
    if found is None:
        return "-"
    if not figure.ratio:
        return _spread(found, figure.digits)
    return f"{found.median:,.{figure.digits}f}"


def _ratio(series: Series, figure: Figure, one: str, other: str) -> str:
    if not figure.ratio:
        return ""
    values = series.values(figure.metric, one, figure.value)
    found = spread_of(pairwise_ratios(values, series.values(figure.metric, other, figure.value)))
    if found is None:
        return "-"
    return _spread(found, 2) + (" ≈" if found.contains(1.0) else "")


def _spread(found: Spread, digits: int) -> str:
    if found.low == found.high:
        return f"{found.median:,.{digits}f}"
    return f"**{found.median:,.{digits}f}** ({found.low:,.{digits}f} to {found.high:,.{digits}f})"


def _load_note(series: Series, metric: str, names: list[str]) -> str | None:
    """Which contestants the load side may have held back."""
    held_back = []
    for name in names:
        busy = [run.load_core_busy for run in series.of(metric, name) if run.values]
        if busy and metric in ("requests", "streams", "keys") and statistics.median(busy) > 0.95:
            held_back.append(series.titles[name])
    if not held_back:
        return None
    return (
        f"The load core was full for {', '.join(held_back)}: there the load set the pace, not the gateway;"
        " compare the CPU time."
    )


def _problems(series: Series) -> Iterator[str]:
    rows = [
        [str(run.round), METRIC_TITLES.get(run.metric, run.metric), series.titles[run.contestant], _cell(problem)]
        for run in series.runs
        for problem in run.problems
    ]
    yield "## Failures"
    yield _table(["round", "metric", "contestant", "what"], rows) if rows else "None: no failed call, no lost event."


def _machine_state(series: Series) -> Iterator[str]:
    yield "## The machine meanwhile"
    disturbed = sum(run.disturbed for run in series.runs)
    lines = [
        (
            f"- {disturbed} of {len(series.runs)} measurements were disturbed: strangers' processes used, or the host"
            f" took, more than {DISTURBED_CORES:g} cores. They are not left out."
        ),
    ]
    for what, shares in (
        ("strangers", [run.other_cores for run in series.runs]),
        ("the host (steal)", [run.stolen_cores for run in series.runs]),
    ):
        if shares:
            lines.append(f"- {what}: median {statistics.median(shares):.3f} cores, worst {max(shares):.3f}.")
    speeds = [time_ms for one in series.calibration_ms for time_ms in one.values()]
    if speeds:
        lines.append(
            f"- A fixed piece of Python took {min(speeds):.1f} to {max(speeds):.1f} ms, timed on each core before each"
            " round: that is how far the machine's speed drifted."
        )
    yield "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:400]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
