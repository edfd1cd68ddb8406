"""`limits`: which limits a key has, and how they stand."""

from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli._command import add, examples, group
from podium.cli._options import AsJson, ToControl
from podium.cli._output import print_json, print_table, printable, say
from podium.cli._standings import say_last_refused, say_places

if TYPE_CHECKING:
    from podium.cli._admin_answers import LimitStanding

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the group."""
    limits = group("Show how limits stand.")
    app.add_typer(limits, name="limits", epilog=examples("podium limits show KEY_ID"))
    add(
        limits,
        "show",
        show,
        "podium limits show 7f3k2m9x0q1w",
        "podium limits show 7f3k2m9x0q1w --user ann --model small --json",
    )


def show(
    control: ToControl,
    key: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id.", show_default=False)],
    *,
    user: Annotated[str | None, typer.Option(help="Of requests that name this user.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option(help="Of requests for this model.", show_default=False)] = None,
    ip: Annotated[str | None, typer.Option(help="Of requests from this address.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Show which limits apply to a key's requests, what is left of each, and why one was refused last."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        report = client.limits(key=key, user=user, model=model, ip=ip)
    if as_json:
        print_json(report)
        return
    for place in say_places(report):
        columns = ("policy", "limit", "counted for", "left", "of", "anew in s")
        rows = [
            (one.policy, one.limit, _counted(one), one.left, one.amount, f"{one.reset_s:.1f}") for one in place.limits
        ]
        print_table(columns, rows, empty=f"{place.place}: no limit applies.", title=place.place)
        for one in place.limits:
            if one.last_refusal is not None:
                refused = f"{one.policy} refused {one.last_refusal.ago_s:.0f} s ago: {one.last_refusal.message}"
                say(printable(refused))
    say_last_refused(report)


def _counted(one: "LimitStanding") -> str:
    return one.counted + (f" (without {', '.join(one.without)})" if one.without else "")
