"""`usage`: what was used, and what it cost."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli._command import add
from podium.cli._options import AsJson, ToControl
from podium.cli._output import print_json, print_table
from podium.cli._times import moment
from podium.core.errors import OperatorError

if TYPE_CHECKING:
    from podium.cli._admin_answers import UsageReport, UsageRow

__all__ = ["Since", "Until", "print_report", "register", "time_span"]

Since = Annotated[
    str | None,
    typer.Option("--since", help="From this time on: 2026-03-01, 2026-03-01T12:00Z, or 7d.", show_default=False),
]
Until = Annotated[str | None, typer.Option("--until", help="Up to this time, without it.", show_default=False)]

_GROUPS = ("tenant", "key", "model", "provider", "day")
_TAG = "tag:"


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        "usage",
        usage,
        "podium usage",
        "podium usage --by tenant --by day --since 7d",
        "podium usage --by tag:team --since 30d",
        "podium usage --by key --json",
    )


def usage(
    control: ToControl,
    *,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", help="tenant, key, model, provider, day (UTC) or tag:NAME; may be repeated.", show_default=False
        ),
    ] = None,
    since: Since = None,
    until: Until = None,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.", show_default=False)] = None,
    key: Annotated[str | None, typer.Option(help="Only of the key with this id.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Add up exchanges, tokens and cost, largest cost first."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    groups = _groups(by or ["tenant"])
    span = time_span(since, until)
    with AdminClient(control) as client:
        report = client.usage(groups, span, tenant=tenant, key=key, model=model)
    print_report(report, as_json=as_json)


def time_span(since: str | None, until: str | None) -> tuple[float | None, float | None]:
    """The two times as seconds since 1970."""
    now = datetime.fromtimestamp(time.time(), UTC)
    start = None if since is None else moment(since, "--since", now)
    end = None if until is None else moment(until, "--until", now)
    return start, end


def print_report(report: "UsageReport", *, as_json: bool) -> None:
    """The sums, for people or programs."""
    if as_json:
        print_json(report)
        return
    groups = list(report.rows[0].group) if report.rows else []
    rows = [_row(row, [row.group[name] for name in groups]) for row in report.rows]
    if len(rows) > 1:
        rows.append(_row(report.total, ["total", *[""] * (len(groups) - 1)] if groups else []))
    columns = (*groups, "exchanges", "errors", "input", "cached", "written", "output", "reasoning", "estimated", "cost")
    print_table(columns, rows, empty="There is no exchange in this time.")


def _row(row: "UsageRow", group: list[str]) -> tuple[object, ...]:
    from podium.core.money import format_usd  # noqa: PLC0415 - only where used

    return (
        *group,
        row.exchanges,
        row.errors,
        row.input_tokens,
        row.cached_input_tokens,
        row.cache_write_tokens,
        row.output_tokens,
        row.reasoning_tokens,
        row.estimated_exchanges,
        format_usd(row.cost_nanousd),
    )


def _groups(given: list[str]) -> tuple[str, ...]:
    groups = tuple(dict.fromkeys(part.strip() for one in given for part in one.split(",") if part.strip()))
    unknown = [group for group in groups if group not in _GROUPS and not group.startswith(_TAG)]
    if unknown:
        raise OperatorError(f"--by takes {', '.join(_GROUPS)} or {_TAG}NAME, not {unknown[0]!r}.")
    return groups
