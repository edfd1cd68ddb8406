"""Figures, plots and tables of simulated rollouts."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Self

__all__ = ["AAResult", "WorseResult", "read", "write"]

BEGIN, END = "<!-- simulated: begin -->", "<!-- simulated: end -->"
ALLOWED = 0.05
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 320, 60, 20, 24, 52
COLOURS = ("#1d4ed8", "#b45309", "#047857")
DASHES = ("", "8 3", "2 2")  # colours are never all that tells lines apart


@dataclass(frozen=True)
class AAResult:
    """Rollouts of equal versions."""

    rollouts: int
    looks: int
    returned: int
    returned_share: float
    by_metric: dict[str, int]
    share_alarms: int  # sample ratios that were doubted
    returned_at_look: list[int]

    @classmethod
    def of(cls, rows: Sequence[tuple[int | None, str, int, bool]]) -> Self:
        """From each rollout's end."""
        at = sorted(look for look, *_ in rows if look is not None)
        return cls(
            len(rows),
            max(looks for _, _, looks, _ in rows),
            len(at),
            len(at) / len(rows),
            dict(sorted(Counter(name for _, names, *_ in rows for name in names.split()).items())),
            sum(doubted for *_, doubted in rows),
            at,
        )


@dataclass(frozen=True)
class WorseResult:
    """Rollouts of one worse version."""

    name: str
    metric: str
    stated: int
    rollouts: int
    within_stated: float
    median: float
    largest: float
    by_metric: dict[str, int]
    samples: list[float]

    @classmethod
    def of(cls, name: str, metric: str, stated: int, rows: Sequence[tuple[float, str]]) -> Self:
        """From the sample at which each was returned."""
        samples = sorted(sample for sample, _ in rows)
        return cls(
            name,
            metric,
            stated,
            len(rows),
            sum(sample <= stated for sample in samples) / len(rows),
            samples[len(samples) // 2],
            samples[-1],
            dict(sorted(Counter(one for _, names in rows for one in names.split()).items())),
            samples,
        )


def read(figures: Path) -> tuple[AAResult, list[WorseResult]]:
    """What was written before."""
    known = json.loads(figures.read_text())
    return AAResult(**known["equal"]), [WorseResult(**change) for change in known["worse"]]


def write(
    same: AAResult, changes: Sequence[WorseResult], output: Path | None, root: Path, *, power: float
) -> list[bool]:
    """Write everything; what holds of: few false returns, and each change returned within its stated sample."""
    images = output or root / "docs/images"
    images.mkdir(parents=True, exist_ok=True)
    figures = {"power": power, "equal": asdict(same), "worse": [asdict(change) for change in changes]}
    (images / "simulated-rollouts.json").write_text(json.dumps(figures, indent=1) + "\n")
    (images / "simulated-equal.svg").write_text(_equal_plot(same))
    (images / "simulated-worse.svg").write_text(_worse_plot(changes))
    text = _tables(same, changes, power)
    page = (output / "rollouts.md") if output else root / "docs/rollouts.md"
    known = page.read_text() if page.exists() else f"# Rollouts\n\n{BEGIN}\n{END}\n"
    if BEGIN not in known or END not in known:
        raise SystemExit(f"{page.name} has no lines `{BEGIN}` and `{END}`")
    page.write_text(known[: known.index(BEGIN) + len(BEGIN)] + f"\n{text}" + known[known.index(END) :])
    print(text)
    return [same.returned_share <= ALLOWED, *(_as_stated(change, power) for change in changes)]


def _as_stated(change: WorseResult, power: float) -> bool:
    """Whether as many were returned in time as stated, but for chance (three standard errors)."""
    late, allowed = (1 - change.within_stated) * change.rollouts, (1 - power) * change.rollouts
    return late <= max(1.0, allowed + 3 * sqrt(allowed * power))


def _tables(same: AAResult, changes: Sequence[WorseResult], power: float) -> str:
    equal = (
        f"{same.rollouts:,} rollouts of a candidate that is the same as the version before, with no tolerance, each"
        f" watched at {same.looks} looks: {same.returned} returned wrongly ({same.returned_share:.1%};"
        f" {ALLOWED:.0%} are allowed), {same.share_alarms} with doubted shares."
    )
    worse = (
        "Worse versions, at 25% of the subjects, with the default tolerances. The stated sample is the one by which"
        f" {power:.0%} are to be returned:"
    )
    lines = [
        equal,
        "",
        "![How many of equal versions were returned, look by look](images/simulated-equal.svg)",
        "",
        worse,
        "",
        "| Candidate | Stated sample | Returned within it | Half returned by | Last one returned at |",
        "| --- | --: | --: | --: | --: |",
    ]
    lines += [
        f"| {change.name} | {change.stated:,} | {change.within_stated:.1%} of {change.rollouts}"
        f" | {change.median:,.0f} | {change.largest:,.0f} |"
        for change in changes
    ]
    lines += [
        "",
        "Samples are the candidate's: exchanges, or pairs that a judge compared.",
        "",
        "![How many of worse versions were returned, by sample](images/simulated-worse.svg)",
    ]
    return "\n".join(lines) + "\n"


def _equal_plot(same: AAResult) -> str:
    top = max(0.06, same.returned_share * 1.2)
    steps = [(0.0, 0.0), *((float(look), place / same.rollouts) for place, look in enumerate(same.returned_at_look, 1))]
    steps.append((float(same.looks), same.returned_share))
    lines = [
        _line(0, ALLOWED / top, 1, ALLOWED / top, "#b91c1c", "4 4"),
        _label(0.01, ALLOWED / top + 0.02, "allowed", "#b91c1c"),
        _stairs([(x / same.looks, y / top) for x, y in steps], COLOURS[0]),
    ]
    ticks = [(place / 4, f"{same.looks * place // 4}") for place in range(5)]
    return _chart("Equal versions that were returned", "looks", lines, ticks, top)


def _worse_plot(changes: Sequence[WorseResult]) -> str:
    widest = max(1.0, *(change.largest / change.stated for change in changes)) * 1.02
    lines = [_line(1 / widest, 0, 1 / widest, 1, "#6b7280", "4 4")]
    for place, change in enumerate(changes):
        shares = [(sample / change.stated / widest, n / change.rollouts) for n, sample in enumerate(change.samples, 1)]
        lines.append(_stairs([(0.0, 0.0), *shares, (1.0, 1.0)], COLOURS[place], DASHES[place]))
        height = 0.92 - 0.08 * place
        lines.append(_line(0.02, height + 0.015, 0.06, height + 0.015, COLOURS[place], DASHES[place], 2))
        lines.append(_label(0.07, height, change.name, COLOURS[place]))
    ticks = [(place / 4 / widest, f"{place / 4:.0%}") for place in range(int(widest * 4) + 1)]
    return _chart("Worse versions that were returned", "sample, of the stated one", lines, ticks, 1.0)


def _chart(title: str, below: str, lines: Sequence[str], ticks: Sequence[tuple[float, str]], top: float) -> str:
    grid = []
    for place in range(5):
        y = _y(place / 4)
        grid.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#e5e7eb"/>')
        grid.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{top * place / 4:.1%}</text>')
    grid += [
        f'<text x="{_x(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{text}</text>' for x, text in ticks
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        f' font-size="12" fill="#374151" role="img" aria-label="{title}">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n'
        f'<text x="{LEFT}" y="16" font-weight="bold">{title}</text>\n'
        + "\n".join([*grid, *lines])
        + f'\n<text x="{middle:.0f}" y="{HEIGHT - 12}" text-anchor="middle">{below}</text>\n</svg>\n'
    )


def _stairs(points: Sequence[tuple[float, float]], colour: str, dashes: str = "") -> str:
    path = f"M{_x(points[0][0]):.1f} {_y(points[0][1]):.1f}" + "".join(
        f"H{_x(x):.1f}V{_y(y):.1f}" for x, y in points[1:]
    )
    look = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"{look}/>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dashes: str, width: int = 1) -> str:
    return (
        f'<line x1="{_x(x1):.1f}" y1="{_y(y1):.1f}" x2="{_x(x2):.1f}" y2="{_y(y2):.1f}" stroke="{colour}"'
        f' stroke-width="{width}" stroke-dasharray="{dashes}"/>'
    )


def _label(x: float, y: float, text: str, colour: str) -> str:
    return f'<text x="{_x(x):.1f}" y="{_y(y):.1f}" fill="{colour}">{text}</text>'


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
