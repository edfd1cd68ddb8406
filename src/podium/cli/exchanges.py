"""`exchanges`: single exchanges, and the calls that each made."""

from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli._command import add, examples, group
from podium.cli._options import AsJson, ToControl
from podium.cli._output import print_json, print_table, printable, say
from podium.cli._times import moment_text

if TYPE_CHECKING:
    from podium.cli._admin_answers import ExchangeView

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the group."""
    exchanges = group("Show single exchanges of the ledger.")
    app.add_typer(exchanges, name="exchanges", epilog=examples("podium exchanges show REQUEST_ID"))
    add(
        exchanges,
        "show",
        show,
        "podium exchanges show req_019a6f3c2b5e7d41a0b1c2d3e4f50617",
        "podium exchanges show my-request-7 --tenant acme --json",
    )


def show(
    control: ToControl,
    request_id: Annotated[
        str,
        typer.Argument(metavar="REQUEST_ID", help="The `x-request-id` of request or answer.", show_default=False),
    ],
    *,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.", show_default=False)] = None,
    before: Annotated[str | None, typer.Option(help="Only those with a lower id.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show what an exchange cost, how it ended, and each call that it made and why."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        page = client.exchanges(request_id, tenant=tenant, before=before, limit=limit)
    if as_json:
        print_json(page)
        return
    for number, exchange in enumerate(page.exchanges):
        if number:
            say("")
        _print(exchange)
    if page.next_before is not None:
        say(f"\nOlder ones: podium exchanges show {request_id} --before {page.next_before}")


def _print(exchange: "ExchangeView") -> None:
    from podium.core.money import format_usd  # noqa: PLC0415 - only where used

    rows = [
        ("request", exchange.request_id),
        ("started", moment_text(exchange.started_unix_s)),
        ("caller", f"{exchange.tenant}, key {exchange.key_id}"),
        *([("tags", exchange.tags.replace(",", ", "))] if exchange.tags else []),
        ("asked for", f"{exchange.model} ({exchange.endpoint}{', streamed' if exchange.stream else ''})"),
        ("served by", _served_by(exchange)),
        ("ended", f"{exchange.status} {exchange.reason}{_whose_fault(exchange.fault)}"),
        ("time", _time(exchange)),
        ("tokens", _tokens(exchange)),
        ("cost", format_usd(exchange.cost_nanousd)),
    ]
    for name, value in rows:
        say(f"{name:<10} {printable(value)}")
    columns = ("call", "backend", "why", "end", "status", "from ms", "to ms", "input", "output", "cost")
    calls = [
        (
            call.kind if call.model == exchange.model else f"{call.kind} {call.model}",
            call.backend,
            call.why,
            call.reason,
            call.upstream_status,
            f"{call.started_ms:.1f}",
            f"{call.ended_ms:.1f}",
            call.input_tokens,
            call.output_tokens,
            format_usd(call.cost_nanousd),
        )
        for call in exchange.calls
    ]
    print_table(columns, calls, empty="It made no call.")


def _served_by(exchange: "ExchangeView") -> str:
    if not exchange.version:
        return "nobody"
    model = f"{exchange.served_model}, " if exchange.served_model else ""
    return f"{model}{exchange.version}{f' at {exchange.backend}' if exchange.backend else ''}"


def _whose_fault(fault: str) -> str:
    return "" if fault == "nobody" else f" (fault: {fault})"


def _time(exchange: "ExchangeView") -> str:
    first = "" if exchange.ttft_ms is None else f", first content after {exchange.ttft_ms:.1f} ms"
    return f"{exchange.duration_ms:.1f} ms{first}"


def _tokens(exchange: "ExchangeView") -> str:
    parts = [
        f"{exchange.input_tokens:,} in",
        *([f"{exchange.cached_input_tokens:,} of them cached"] if exchange.cached_input_tokens else []),
        *([f"{exchange.cache_write_tokens:,} written to the cache"] if exchange.cache_write_tokens else []),
        f"{exchange.output_tokens:,} out",
        *([f"{exchange.reasoning_tokens:,} of them reasoning"] if exchange.reasoning_tokens else []),
    ]
    return ", ".join(parts) + (" (estimated)" if exchange.tokens_estimated else "")
