"""Plots of reports as inline SVG: no script, no font, no picture from elsewhere.

Each has a title and a description for who cannot see it, and the page has its figures in a table too. Colours come from
the page's style, and are never the only thing that tells arms apart: lines have dashes, findings have words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, isfinite, log10

__all__ = ["ForestRow", "Line", "forest", "lines"]

_WIDTH = 720
_ROW = 30
_LEFT, _RIGHT = 240, 180
_TOP, _BOTTOM = 14, 34
_HEIGHT = 240
_LINE_LEFT, _LINE_RIGHT = 76, 130
_TICKS = 6
_MOST_ROWS = 80
_DASHES = ("", "7 4", "2 3", "9 3 2 3", "4 4", "1 4")


@dataclass(frozen=True, slots=True)
class ForestRow:
    """An estimate and its interval. Bounds None: there is none on that side."""

    label: str
    estimate: float
    lower: float | None
    upper: float | None
    told: str  # beside it
    kind: str  # a class of the page's style: better, worse, ...


@dataclass(frozen=True, slots=True)
class Line:
    """A course: times and values."""

    label: str
    points: tuple[tuple[float, float], ...]


def forest(name: str, title: str, rows: Sequence[ForestRow], axis: Callable[[float], str]) -> str:
    """Intervals below each other, with a line at no effect. Empty: there are no rows. `name`: unique in the page."""
    shown = rows[:_MOST_ROWS]
    if not shown:
        return ""
    low, high = _range([value for row in shown for value in (row.estimate, row.lower, row.upper) if value is not None])
    height = _TOP + _ROW * len(shown) + _BOTTOM
    scale = _Scale(low, high, _LEFT, _WIDTH - _RIGHT)
    parts = [_begin(name, title, "; ".join(f"{row.label}: {row.told}" for row in shown), height)]
    parts += _ticks_below(scale, height - _BOTTOM, axis)
    parts.append(f'<line class="zero" x1="{scale(0):.1f}" y1="{_TOP}" x2="{scale(0):.1f}" y2="{height - _BOTTOM}"/>')
    for number, row in enumerate(shown):
        parts += _forest_row(scale, row, _TOP + _ROW * number + _ROW / 2)
    return "".join([*parts, "</svg>"])


def lines(
    name: str, title: str, courses: Sequence[Line], axis: Callable[[float], str], time: Callable[[float], str]
) -> str:
    """Courses over time. Empty: no course has two points."""
    drawn = [course for course in courses if len(course.points) > 1]
    if not drawn:
        return ""
    points = [point for course in drawn for point in course.points]
    low, high = _range([value for _, value in points], zero=False)
    across = _Scale(min(at for at, _ in points), max(at for at, _ in points), _LINE_LEFT, _WIDTH - _LINE_RIGHT)
    up = _Scale(low, high, _HEIGHT - _BOTTOM, _TOP)
    last = "; ".join(f"{course.label}: {axis(course.points[0][1])} to {axis(course.points[-1][1])}" for course in drawn)
    parts = [_begin(name, title, last, _HEIGHT), *_ticks_aside(up, axis)]
    for at, anchor in ((across.low, "start"), (across.high, "end")):
        parts.append(_text(across(at), _HEIGHT - 10, time(at), anchor=anchor, kind="tick"))
    ends: list[float] = []
    for number, course in enumerate(drawn):
        path = " ".join(f"{across(at):.1f},{up(value):.1f}" for at, value in course.points)
        look = f'class="arm{number % len(_DASHES)}" stroke-dasharray="{_DASHES[number % len(_DASHES)]}"'
        parts.append(f'<polyline fill="none" {look} points="{path}"/>')
        at = _apart(up(course.points[-1][1]), ends)
        ends.append(at)
        begin = _WIDTH - _LINE_RIGHT + 8
        parts.append(f'<line {look} x1="{begin}" y1="{at:.1f}" x2="{begin + 22}" y2="{at:.1f}"/>')
        parts.append(_text(begin + 28, at + 4, _cut(course.label, 14), anchor="start"))
    return "".join([*parts, "</svg>"])


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to places."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        within = min(max(value, self.low), self.high)
        return self.begin + (within - self.low) / ((self.high - self.low) or 1.0) * (self.end - self.begin)


def _forest_row(scale: _Scale, row: ForestRow, middle: float) -> list[str]:
    low = scale.low if row.lower is None else row.lower
    high = scale.high if row.upper is None else row.upper
    bounds = [(at, bound) for at, bound in ((low, row.lower), (high, row.upper)) if bound is not None]
    kind = escape(row.kind, quote=True)
    return [
        _text(_LEFT - 12, middle + 4, _cut(row.label, 34), anchor="end"),
        f'<line class="interval {kind}" x1="{scale(low):.1f}" y1="{middle}" x2="{scale(high):.1f}" y2="{middle}"/>',
        *(
            f'<line class="interval {kind}" x1="{scale(at):.1f}" y1="{middle - 5}" x2="{scale(at):.1f}"'
            f' y2="{middle + 5}"/>'
            for at, _ in bounds
        ),
        f'<circle class="{kind}" cx="{scale(row.estimate):.1f}" cy="{middle}" r="4.5"/>',
        _text(_WIDTH - _RIGHT + 10, middle + 4, _cut(row.told, 26), anchor="start"),
    ]


def _begin(name: str, title: str, description: str, height: float) -> str:
    mark = escape(name, quote=True)
    return (
        f'<svg role="img" aria-labelledby="{mark}-title {mark}-desc" viewBox="0 0 {_WIDTH} {height:g}"'
        f' xmlns="http://www.w3.org/2000/svg"><title id="{mark}-title">{escape(title)}</title>'
        f'<desc id="{mark}-desc">{escape(description)}</desc>'
    )


def _text(x: float, y: float, text: str, *, anchor: str, kind: str = "") -> str:
    look = f' class="{kind}"' if kind else ""
    return f'<text{look} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _ticks_below(scale: _Scale, at: float, axis: Callable[[float], str]) -> list[str]:
    parts = []
    for value in _round_values(scale.low, scale.high):
        x = scale(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{at}"/>')
        parts.append(_text(x, at + 18, axis(value), anchor="middle", kind="tick"))
    return parts


def _ticks_aside(scale: _Scale, axis: Callable[[float], str]) -> list[str]:
    parts = []
    for value in _round_values(scale.low, scale.high):
        y = scale(value)
        parts.append(f'<line class="grid" x1="{_LINE_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _LINE_RIGHT}" y2="{y:.1f}"/>')
        parts.append(_text(_LINE_LEFT - 8, y + 4, axis(value), anchor="end", kind="tick"))
    return parts


def _range(values: Sequence[float], *, zero: bool = True) -> tuple[float, float]:
    """With some room; `zero`: no effect is in it."""
    real = [value for value in values if isfinite(value)] + ([0.0] if zero else [])
    low, high = min(real, default=0.0), max(real, default=1.0)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _round_values(low: float, high: float) -> list[float]:
    """Some round numbers in between: 1, 2 or 5 times a power of ten apart."""
    raw = (high - low) / _TICKS
    power = 10.0 ** floor(log10(raw))
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= raw)
    first = floor(low / step) + 1
    return [number * step for number in range(first, first + 2 * _TICKS) if number * step <= high]


def _apart(at: float, others: Sequence[float]) -> float:
    """A place for a label where none is yet."""
    while any(abs(at - other) < 16 for other in others):  # noqa: PLR2004 - pixels
        at += 16
    return at


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
