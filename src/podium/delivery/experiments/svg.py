"""Plots of reports as inline SVG: no script, no font, no picture from elsewhere.

Each is drawn twice, for wide and for narrow screens; the page's style shows one of them. Each has a title and a
description for who cannot see it, and the page has its figures in a table too. Colours come from the page's style, and
are never the only thing that tells arms apart: lines have dashes, findings have words.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import floor, isfinite, log10

__all__ = ["ForestRow", "Line", "forest", "lines"]

_BOTTOM, _TOP = 34, 14
_HEIGHT = 240
_GAP = 16  # between lines of text
_MOST_TICKS = 6
_MOST_ROWS = 80
_DASHES = ("", "7 4", "2 3", "9 3 2 3", "4 4", "1 4")
_TEXT, _TICK = 13.0, 12.0  # pixels, as in the page's style


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


@dataclass(frozen=True, slots=True)
class _Screen:
    """Where things are, in pixels; names stand beside what they name, or above or below it."""

    name: str
    width: int
    left: int  # of intervals
    right: int  # so much is free there
    row: int
    line_left: int
    line_right: int
    beside: bool


_SCREENS = (
    _Screen("wide", 760, left=260, right=180, row=30, line_left=76, line_right=140, beside=True),
    _Screen("narrow", 340, left=24, right=24, row=60, line_left=70, line_right=10, beside=False),
)


def forest(name: str, title: str, rows: Sequence[ForestRow], axis: Callable[[float], str]) -> str:
    """Intervals below each other, with a line at no effect. Empty: there are no rows. `name`: unique in the page."""
    shown = rows[:_MOST_ROWS]
    if not shown:
        return ""
    low, high = _range([value for row in shown for value in (row.estimate, row.lower, row.upper) if value is not None])
    description = "; ".join(f"{row.label}: {row.told}" for row in shown)
    return _figure(title, (_forest(screen, name, title, description, shown, (low, high), axis) for screen in _SCREENS))


def lines(
    name: str, title: str, courses: Sequence[Line], axis: Callable[[float], str], time: Callable[[float], str]
) -> str:
    """Courses over time. Empty: no course has two points."""
    drawn = [course for course in courses if len(course.points) > 1]
    if not drawn:
        return ""
    return _figure(title, (_lines(screen, name, title, drawn, axis, time) for screen in _SCREENS))


def _figure(title: str, pictures: Iterator[str]) -> str:
    """With its title above it; the picture has that too."""
    return f'<figure><figcaption aria-hidden="true">{escape(title)}</figcaption>{"".join(pictures)}</figure>'


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


def _forest(
    screen: _Screen,
    name: str,
    title: str,
    description: str,
    rows: Sequence[ForestRow],
    ends: tuple[float, float],
    axis: Callable[[float], str],
) -> str:
    height = _TOP + screen.row * len(rows) + _BOTTOM
    scale = _Scale(*ends, screen.left, screen.width - screen.right)
    parts = [_begin(screen, name, title, description, height)]
    parts += _ticks_below(screen, scale, height - _BOTTOM, axis)
    parts.append(f'<line class="zero" x1="{scale(0):.1f}" y1="{_TOP}" x2="{scale(0):.1f}" y2="{height - _BOTTOM}"/>')
    for number, row in enumerate(rows):
        top = _TOP + screen.row * number
        parts += _words_of(screen, row, top)
        parts += _interval(scale, row, top + (screen.row / 2 if screen.beside else screen.row - 12))
    return "".join([*parts, "</svg>"])


def _words_of(screen: _Screen, row: ForestRow, top: float) -> Iterator[str]:
    if screen.beside:
        base = top + screen.row / 2 + 4
        yield _text(screen.left - 12, base, _cut_label(row.label, screen.left - 16), anchor="end")
        begin = screen.width - screen.right + 10
        yield _text(begin, base, _cut(row.told, screen.width - begin), anchor="start")
    else:
        yield _text(2, top + 14, _cut_label(row.label, screen.width - 4), anchor="start", kind="over")
        yield _text(2, top + 31, _cut(row.told, screen.width - 4), anchor="start", kind="over dim")


def _interval(scale: _Scale, row: ForestRow, middle: float) -> Iterator[str]:
    low = scale.low if row.lower is None else row.lower
    high = scale.high if row.upper is None else row.upper
    kind = escape(row.kind, quote=True)
    yield f'<line class="interval {kind}" x1="{scale(low):.1f}" y1="{middle}" x2="{scale(high):.1f}" y2="{middle}"/>'
    for bound in (row.lower, row.upper):
        if bound is not None:
            at = f"{scale(bound):.1f}"
            yield f'<line class="interval {kind}" x1="{at}" y1="{middle - 5}" x2="{at}" y2="{middle + 5}"/>'
    yield f'<circle class="{kind}" cx="{scale(row.estimate):.1f}" cy="{middle}" r="4.5"/>'


def _lines(
    screen: _Screen,
    name: str,
    title: str,
    courses: Sequence[Line],
    axis: Callable[[float], str],
    time: Callable[[float], str],
) -> str:
    points = [point for course in courses for point in course.points]
    low, high = _range([value for _, value in points], zero=False)
    names = _GAP * len(courses)
    bottom = max(_HEIGHT - _BOTTOM, _TOP + names) if screen.beside else _HEIGHT - _BOTTOM
    height = bottom + _BOTTOM + (0 if screen.beside else names + 4)
    end = screen.width - screen.line_right
    across = _Scale(min(at for at, _ in points), max(at for at, _ in points), screen.line_left, end)
    up = _Scale(low, high, bottom, _TOP)
    last = "; ".join(f"{one.label}: {axis(one.points[0][1])} to {axis(one.points[-1][1])}" for one in courses)
    parts = [_begin(screen, name, title, last, height), *_ticks_aside(screen, up, axis)]
    for at, anchor in ((across.low, "start"), (across.high, "end")):
        parts.append(_text(across(at), bottom + 22, time(at), anchor=anchor, kind="tick"))
    if screen.beside:
        begin = end + 8
        places = _apart([up(course.points[-1][1]) for course in courses], _TOP, bottom)
    else:
        begin = 2
        places = [bottom + _BOTTOM + 6 + _GAP * number for number in range(len(courses))]
    for number, (course, place) in enumerate(zip(courses, places, strict=True)):
        path = " ".join(f"{across(at):.1f},{up(value):.1f}" for at, value in course.points)
        look = f'class="arm{number % len(_DASHES)}" stroke-dasharray="{_DASHES[number % len(_DASHES)]}"'
        parts.append(f'<polyline fill="none" {look} points="{path}"/>')
        parts.append(f'<line {look} x1="{begin}" y1="{place:.1f}" x2="{begin + 22}" y2="{place:.1f}"/>')
        parts.append(_text(begin + 28, place + 4, _cut(course.label, screen.width - begin - 30), anchor="start"))
    return "".join([*parts, "</svg>"])


def _begin(screen: _Screen, name: str, title: str, description: str, height: float) -> str:
    mark = escape(f"{name}-{screen.name}", quote=True)
    return (
        f'<svg class="{screen.name}" role="img" aria-labelledby="{mark}-title {mark}-desc"'
        f' viewBox="0 0 {screen.width} {height:g}" xmlns="http://www.w3.org/2000/svg">'
        f'<title id="{mark}-title">{escape(title)}</title><desc id="{mark}-desc">{escape(description)}</desc>'
    )


def _text(x: float, y: float, text: str, *, anchor: str, kind: str = "") -> str:
    look = f' class="{kind}"' if kind else ""
    return f'<text{look} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _ticks_below(screen: _Screen, scale: _Scale, at: float, axis: Callable[[float], str]) -> Iterator[str]:
    """As many as there is room for."""
    for most in range(_MOST_TICKS, 0, -1):
        ticks = [(scale(value), axis(value)) for value in _round_values(scale.low, scale.high, most)]
        sides = [(x - _width(text, _TICK) / 2, x + _width(text, _TICK) / 2) for x, text in ticks]
        if all(one[1] + 4 < other[0] for one, other in pairwise(sides)):
            break
    for (x, text), (begin, end) in zip(ticks, sides, strict=True):
        yield f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{at}"/>'
        if begin >= 0 and end <= screen.width:
            yield _text(x, at + 18, text, anchor="middle", kind="tick")


def _ticks_aside(screen: _Screen, scale: _Scale, axis: Callable[[float], str]) -> Iterator[str]:
    begin, end = screen.line_left, screen.width - screen.line_right
    for value in _round_values(scale.low, scale.high, _MOST_TICKS):
        y = scale(value)
        yield f'<line class="grid" x1="{begin}" y1="{y:.1f}" x2="{end}" y2="{y:.1f}"/>'
        yield _text(begin - 8, y + 4, axis(value), anchor="end", kind="tick")


def _range(values: Sequence[float], *, zero: bool = True) -> tuple[float, float]:
    """With some room; `zero`: no effect is in it."""
    real = [value for value in values if isfinite(value)] + ([0.0] if zero else [])
    low, high = min(real, default=0.0), max(real, default=1.0)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _round_values(low: float, high: float, most: int) -> list[float]:
    """Some round numbers in between: 1, 2 or 5 times a power of ten apart."""
    raw = (high - low) / most
    power = 10.0 ** floor(log10(raw))
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= raw)
    first = floor(low / step) + 1
    return [number * step for number in range(first, first + 2 * most) if number * step <= high]


def _apart(wanted: Sequence[float], top: float, bottom: float) -> list[float]:
    """Places for lines of text, as near to the wanted ones as they can be without meeting."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    places = list(wanted)
    free = top
    for number in order:
        places[number] = max(places[number], free)
        free = places[number] + _GAP
    free = bottom
    for number in reversed(order):
        places[number] = min(places[number], free)
        free = places[number] - _GAP
    return places


def _cut_label(text: str, room: float) -> str:
    """`what: whose`, of each as much as there is room for."""
    what, mark, whose = text.rpartition(": ")
    whose = _cut(whose, max(room - _width(what + mark, _TEXT), 0.4 * room))
    return f"{_cut(what, room - _width(mark + whose, _TEXT))}{mark}{whose}"


def _cut(text: str, room: float) -> str:
    """Without its middle, when there is no room for all of it: names often differ at their ends."""
    if _width(text, _TEXT) <= room:
        return text
    kept = len(text)
    while kept and _width(shorter := f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}", _TEXT) > room:
        kept -= 1
    return shorter


def _width(text: str, size: float) -> float:
    """Pixels, of the widest of the usual fonts."""
    return size * sum(_em(character) for character in text)


def _em(character: str) -> float:
    if character in "ijlI.,:;'|!/ ":
        return 0.36
    if character in "frt()[]-":
        return 0.42
    if character in "mwMW@%+…—" or not character.isascii():
        return 1.0
    return 0.78 if character.isupper() else 0.64
