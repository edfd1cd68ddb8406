"""`budget`: what is spent, reserved and left of budgets."""

from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli._command import add, examples, group
from podium.cli._options import AsJson, ToControl
from podium.cli._output import print_json, printable, say
from podium.cli._standings import say_last_refused, say_places

if TYPE_CHECKING:
    from podium.cli._admin_answers import Standings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the group."""
    budget = group("Show how budgets stand.")
    app.add_typer(budget, name="budget", epilog=examples("podium budget show"))
    add(
        budget,
        "show",
        show,
        "podium budget show",
        "podium budget show team-month",
        "podium budget show --key 7f3k2m9x0q1w --user ann --json",
    )


def show(
    control: ToControl,
    budget: Annotated[
        str | None, typer.Argument(metavar="[BUDGET]", help="All accounts of this budget.", show_default=False)
    ] = None,
    *,
    key: Annotated[str | None, typer.Option(help="Of requests with the key of this id.", show_default=False)] = None,
    tenant: Annotated[str | None, typer.Option(help="Of requests of this tenant.", show_default=False)] = None,
    user: Annotated[str | None, typer.Option(help="Of requests that name this user.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option(help="Of requests for this model.", show_default=False)] = None,
    tags: Annotated[str | None, typer.Option(help="Of requests with tags: name=value,...", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many accounts.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show what is settled, reserved and left: of the budgets of a request, of one budget, or of all."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    subject = {"key": key, "tenant": tenant, "user": user, "model": model, "tags": tags}
    wanted = budget if budget is not None or any(subject.values()) else "*"
    with AdminClient(control) as client:
        report = client.budgets(limit=limit, budget=wanted, **subject)
    if as_json:
        print_json(report)
        return
    for place in say_places(report):
        _print(place)
    say_last_refused(report)


def _print(place: "Standings") -> None:
    if not place.budgets:
        say(printable(f"{place.place}: no budget applies, or nothing was spent of it."))
        return
    say(printable(f"{place.place}:"))
    for one in place.budgets:
        for sentence in one.sentences:
            say(printable(f"  {sentence}"))
        say("")
