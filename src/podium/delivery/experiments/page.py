"""A report as one HTML file: nothing is loaded from anywhere, light and dark, readable without seeing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from typing import NamedTuple

from podium.core.rollouts import Metric
from podium.delivery.analysis.compared import RATES
from podium.delivery.experiments.design import short
from podium.delivery.experiments.effects import EffectRow
from podium.delivery.experiments.history import reduction_text
from podium.delivery.experiments.report import ExperimentReport, Ratio
from podium.delivery.experiments.svg import ForestRow, Line, forest, lines
from podium.delivery.experiments.words import (
    FINDINGS,
    bounds_of,
    bounds_text,
    dollars,
    effect_text,
    measure_text,
    percent,
    value_text,
)

__all__ = ["html_page"]

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1c2024; --dim: #5b6470; --grid: #d9dee4; --box: #f4f6f8;
  --good: #0b6e3b; --bad: #b3261e; --flat: #4a5568; --a0: #0b5cad; --a1: #b45309; --a2: #6b21a8; --a3: #0f766e;
  --a4: #9d174d; --a5: #3f6212; --loud: #fff1f0; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --text: #e8eaed; --dim: #a3acb8; --grid: #363c44;
  --box: #1d2126; --good: #5bd694; --bad: #ff8a80; --flat: #b4bdc9; --a0: #7ab8ff; --a1: #fdba74; --a2: #d8b4fe;
  --a3: #5eead4; --a4: #f9a8d4; --a5: #bef264; --loud: #3a1a18; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 80rem; padding: 1.5rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
p, .box, .loud { max-width: 62rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; }
p.dim, .dim { color: var(--dim); } code { font-size: .9em; }
.loud { border-left: .4rem solid var(--bad); background: var(--loud); padding: .75rem 1rem; margin: 1rem 0;
  font-weight: 600; }
.box { background: var(--box); padding: .35rem 1rem; margin: 1rem 0; } .box p { margin: .4rem 0; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .92rem; }
caption { text-align: left; color: var(--dim); padding: .25rem 0; max-width: calc(100vw - 3rem); }
th, td { text-align: left; padding: .35rem .5rem; border-bottom: 1px solid var(--grid); vertical-align: top;
  min-width: 5rem; max-width: 22rem; overflow-wrap: break-word; }
td:first-child, td.finding { min-width: 9.5rem; } .long { min-width: 16rem; }
th { vertical-align: bottom; } .number { text-align: right; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1.2rem 0; } figcaption { font-weight: 600; } figcaption::first-letter { text-transform: uppercase; }
svg { width: 100%; height: auto; display: block; margin: .5rem 0; }
svg.wide { max-width: 50rem; } svg.narrow { display: none; }
@media screen and (max-width: 48rem) { body { padding: 1rem; } svg.wide { display: none; }
  svg.narrow { display: block; max-width: 30rem; } }
svg text { fill: var(--text); font: 13px system-ui, sans-serif; } svg text.tick { font-size: 12px; }
svg text.tick, svg text.dim { fill: var(--dim); }
svg text.over { paint-order: stroke; stroke: var(--page); stroke-width: 6px; stroke-linejoin: round; }
svg .grid { stroke: var(--grid); } svg .zero { stroke: var(--text); stroke-width: 1.5; }
svg .interval { stroke: var(--flat); stroke-width: 2; } svg circle { fill: var(--flat); }
svg .better { stroke: var(--good); } svg circle.better { fill: var(--good); }
svg .worse { stroke: var(--bad); } svg circle.worse { fill: var(--bad); }
td.better { color: var(--good); font-weight: 600; } td.worse { color: var(--bad); font-weight: 600; }
svg .arm0 { stroke: var(--a0); } svg .arm1 { stroke: var(--a1); } svg .arm2 { stroke: var(--a2); }
svg .arm3 { stroke: var(--a3); } svg .arm4 { stroke: var(--a4); } svg .arm5 { stroke: var(--a5); }
svg polyline, svg line[class^=arm] { stroke-width: 2; }
@media print { body { max-width: none; } h2 { break-after: avoid; } svg, tr { break-inside: avoid; }
  .scroll { overflow: visible; } table { font-size: .68rem; }
  th, td, td:first-child, td.finding, td.number { min-width: 0; padding: .2rem; white-space: normal; }
  .long { min-width: 4rem; overflow-wrap: anywhere; } }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_LONG = 40  # characters
_SEEN = {"better": ", better", "worse": ", worse", "different": ", different", "too_few": ", too few"}


class _Cell(NamedTuple):
    """Of a table; `kind` is a class of the style."""

    text: str
    kind: str


def html_page(report: ExperimentReport) -> str:
    """The page."""
    title = f"Experiment {report.name}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>{escape(title)}</h1>",
        *_head(report),
        *_effects(report),
        *_course(report),
        *_arms(report),
        *_money(report),
        *_segments(report),
        *_design(report),
        "</main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _head(report: ExperimentReport) -> Iterator[str]:
    state = f"{report.phase}{f' ({report.reason})' if report.reason else ''}"
    yield f"<p>{escape(report.hypothesis)}</p>"
    yield (
        f'<p class="dim">Model {escape(report.model)}. From {_moment(report.started_unix_s)} to'
        f" {_moment(report.until_unix_s)}. State: {escape(state)}."
        f" Design <code>{escape(short(report.design))}</code>, frozen at the start.</p>"
    )
    for warning in report.warnings:
        yield f'<p class="loud" role="alert">{escape(warning)}</p>'
    if report.conclusions:
        yield f'<div class="box">{"".join(f"<p>{escape(told)}</p>" for told in report.conclusions)}</div>'


def _effects(report: ExperimentReport) -> Iterator[str]:
    yield "<h2>Effects</h2>"
    if not report.effects:
        yield "<p>Nothing was seen yet.</p>"
        return
    first = report.arms[0].name if report.arms else ""
    counts = "sequential: valid however often one looks" if report.decided_by == "sequential" else "fixed horizon"
    yield (
        f'<p class="dim">Each arm against {escape(first)}. The intervals that count are {counts}. The level of the'
        " primary measure is shared out over the arms; others are each looked at by themselves, and of many some are"
        " wrong.</p>"
    )
    yield f'<p class="dim">{escape(report.history.sentence)}</p>'
    relative = [row for row in report.effects if row.scale == "relative"]
    absolute = [row for row in report.effects if row.scale == "absolute" and row.measure in RATES]
    yield forest("relative", "Relative effects", _forest(report, relative), _axis_of(relative))
    yield forest("points", "Effects on rates, in points", _forest(report, absolute), _axis_of(absolute))
    scores = [row for row in report.effects if row.scale == "absolute" and row.measure not in RATES]
    yield forest("others", "Effects on other measures", _forest(report, scores), _axis_of(scores))
    yield _table(
        "Effects on all measures",
        (
            "measure",
            "arm",
            "role",
            first or "first",
            "arm's",
            "effect",
            "finding",
            "sequential interval",
            "fixed interval",
            "variance taken out by history",
        ),
        (
            (
                measure_text(row.measure),
                row.arm,
                f"{row.role}{', failed' if row.guardrail_failed else ''}",
                _number(value_text(row.measure, row.reference)),
                _number(value_text(row.measure, row.value)),
                _number(effect_text(row, row.effect)),
                _finding(row),
                _number(bounds_text(row, row.sequential)),
                _number(bounds_text(row, row.fixed)),
                _number(reduction_text(row)),
            )
            for row in report.effects
        ),
    )


def _forest(report: ExperimentReport, rows: Sequence[EffectRow]) -> list[ForestRow]:
    found = []
    for row in rows:
        bounds = bounds_of(row, report.decided_by)
        if row.effect is None:
            continue
        found.append(
            ForestRow(
                label=f"{measure_text(row.measure)}: {row.arm}",
                estimate=row.effect,
                lower=bounds.lower if bounds is not None else None,
                upper=bounds.upper if bounds is not None else None,
                told=f"{effect_text(row, row.effect)}{_SEEN.get(row.finding, '')}",
                kind=row.finding,
            )
        )
    return found


def _axis_of(rows: Sequence[EffectRow]) -> Callable[[float], str]:
    """Effects on the scale that all of these have; points are said above."""
    return lambda value: effect_text(rows[0], value).removesuffix(" points")


def _course(report: ExperimentReport) -> Iterator[str]:
    primary = report.experiment.primary
    names = [arm.name for arm in report.arms]
    values = [
        Line(
            name,
            tuple(
                (float(point.unix_s), point.measures[primary])
                for point in report.timeline
                if point.arm == name and primary in point.measures
            ),
        )
        for name in names
    ]
    shares = [Line(name, tuple(_shares(report, name))) for name in names]
    drawn = lines("course", f"{measure_text(primary)} over time", values, _axis(primary), _moment)
    if not drawn:
        return
    yield "<h2>Course</h2>"
    yield drawn
    yield lines("shares", "Share of the exchanges over time", shares, percent, _moment)


def _shares(report: ExperimentReport, name: str) -> Iterator[tuple[float, float]]:
    totals: dict[int, int] = {}
    mine: dict[int, int] = {}
    for point in report.timeline:
        totals[point.unix_s] = totals.get(point.unix_s, 0) + point.exchanges
        if point.arm == name:
            mine[point.unix_s] = mine.get(point.unix_s, 0) + point.exchanges
    for at, total in sorted(totals.items()):
        if total:
            yield float(at), mine.get(at, 0) / total


def _arms(report: ExperimentReport) -> Iterator[str]:
    yield "<h2>Arms and sample ratio</h2>"
    yield _table(
        f"Planned: {report.experiment.samples:,} exchanges each",
        ("arm", "version", "exchanges", "planned share", "share now", "state"),
        (
            (
                arm.name,
                arm.version,
                _number(f"{arm.exchanges:,}"),
                _number(percent(arm.planned)),
                _number("" if arm.share is None else percent(arm.share)),
                "taken out" if arm.taken_out else "has its sample" if arm.complete else "below its sample",
            )
            for arm in report.arms
        ),
    )
    yield f"<p>{escape(_ratio_text(report.ratio))}</p>"


def _ratio_text(ratio: Ratio | None) -> str:
    if ratio is None:
        return "Sample ratio: not checked, for shares have changed and the last ones are not known any more."
    told = ", ".join(f"{name} {count:,} of {ratio.expected[name]:,.0f}" for name, count in ratio.counts.items())
    end = "arms do not have the shares that they should" if ratio.mismatch else "nothing speaks against the split"
    if not ratio.enough:
        end = "too few to tell"
    return (
        f"Sample ratio (independent exchanges): {told}; p = {ratio.p_value:.3g} once,"
        f" {ratio.sequential_p_value:.3g} at any number of looks: {end}."
    )


def _money(report: ExperimentReport) -> Iterator[str]:
    money = report.money
    yield "<h2>Money</h2>"
    if money.answers_per_month is None:
        yield "<p>The model's traffic of now is unknown: months cannot be told.</p>"
    else:
        yield f"<p>At the traffic of now, {money.answers_per_month:,.0f} answers a month.</p>"
    yield _table(
        "US dollars; months are those in which everybody had the arm",
        ("arm", "answers", "in the experiment", "a thousand answers", "a month", "difference a month", "interval"),
        (
            (
                arm.arm,
                _number(f"{arm.answers:,.0f}"),
                _number(dollars(arm.total_usd)),
                _number(dollars(arm.per_thousand_usd)),
                _number(dollars(arm.month_usd)),
                _number(dollars(arm.difference_month_usd)),
                _number(
                    f"{dollars(arm.difference_lower_usd)} to {dollars(arm.difference_upper_usd)}"
                    if arm.difference_lower_usd is not None
                    else ""
                ),
            )
            for arm in money.arms
        ),
    )


def _segments(report: ExperimentReport) -> Iterator[str]:
    if not report.segments and not report.segments_note:
        return
    yield "<h2>Segments (exploratory)</h2>"
    yield f'<p class="dim">{escape(report.segments_note)}</p>'
    primary = [
        ForestRow(
            label=f"{segment.kind} {segment.name}: {row.label.rpartition(': ')[2]}",
            estimate=row.estimate,
            lower=row.lower,
            upper=row.upper,
            told=row.told,
            kind=row.kind,
        )
        for segment in report.segments
        for row in _forest(report, [one for one in segment.effects if one.role == "primary"])
    ]
    rows = [row for segment in report.segments for row in segment.effects if row.role == "primary"]
    yield forest("segments", f"{measure_text(report.experiment.primary)} by segment", primary, _axis_of(rows))
    yield _table(
        "Primary measure, and what the analysis watches, by segment (exploratory)",
        ("segment", "measure", "arm", "samples", "effect", "interval", "level", "finding"),
        (
            (
                f"{segment.kind} {segment.name}",
                measure_text(row.measure),
                row.arm,
                _number(f"{row.samples:,.0f}"),
                _number(effect_text(row, row.effect)),
                _number(bounds_text(row, bounds_of(row, report.decided_by))),
                _number(f"{row.alpha:.2g}"),
                _finding(row),
            )
            for segment in report.segments
            for row in segment.effects
        ),
    )


def _design(report: ExperimentReport) -> Iterator[str]:
    design = report.experiment
    adaptive = "fixed split"
    if design.adaptive is not None:
        adaptive = f"adaptive split, at least {percent(design.adaptive.floor)} each"
    yield "<h2>Design</h2>"
    yield _table(
        "Frozen when it started",
        ("what", "value"),
        (
            ("digest", report.design),
            ("unchanged since", "yes" if report.design_unchanged else "NO"),
            ("primary measure", f"{measure_text(design.primary)} ({design.primary})"),
            ("smallest effect that matters", f"{design.effect:+g}"),
            ("planned sample", f"{design.samples:,} exchanges an arm"),
            ("level, power", f"{design.alpha:g}, {design.power:g}"),
            ("method", design.method),
            ("guardrails", ", ".join(map(_guardrail, report.guardrails)) or "none"),
            ("stop rule", f"{design.stop.replace('_', ' ')}, at most {design.at_most_s / 86_400:.3g} days"),
            ("split", adaptive),
        ),
    )


def _guardrail(metric: Metric) -> str:
    worse = f"{metric.tolerance:g}" if metric.absolute else percent(metric.tolerance)
    return f"{measure_text(metric.name)} at most {worse} worse"


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str | _Cell]]) -> str:
    shown = list(rows)
    numbers = [not isinstance(cell, str) and cell.kind == "number" for cell in (shown[0] if shown else columns)]
    head = "".join(
        f'<th scope="col"{_class("number" if number else "", column)}>{escape(column)}</th>'
        for column, number in zip(columns, numbers, strict=True)
    )
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in shown)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption, quote=True)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(cell: str | _Cell) -> str:
    text, kind = (cell, "") if isinstance(cell, str) else cell
    return f"<td{_class(kind, text)}>{escape(text)}</td>"


def _class(kind: str, text: str) -> str:
    """Of a cell: `kind`, and whether it needs room."""
    kinds = " ".join(filter(None, (kind, "long" if len(text) > _LONG else "")))
    return f' class="{escape(kinds, quote=True)}"' if kinds else ""


def _number(text: str) -> _Cell:
    return _Cell(text, "number")


def _finding(row: EffectRow) -> _Cell:
    return _Cell(FINDINGS[row.finding], f"finding {row.finding}")


def _axis(measure: str) -> Callable[[float], str]:
    return lambda value: value_text(measure, value)


def _moment(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M}Z"
