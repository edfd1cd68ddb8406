"""`history`, `undo`: how what is declared came about, and the way back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli._command import add
from podium.cli._documents import change_lines, resolve_kind
from podium.cli._options import AsJson, ToControl
from podium.cli._output import print_json, print_table, say
from podium.cli._times import moment_text
from podium.core.errors import NotFound

if TYPE_CHECKING:
    from podium.cli._admin_answers import ChangeView
    from podium.cli._admin_client import AdminClient

__all__ = ["register"]

_SHOWN_CHANGES = 4


def register(app: typer.Typer) -> None:
    """Add the commands."""
    add(app, "history", history, "podium history", "podium history model smollm2 --limit 5", "podium history --json")
    add(app, "undo", undo, "podium undo", "podium undo 7", 'podium undo 7 -m "Acme was not ready"')


def history(
    control: ToControl,
    kind: Annotated[str | None, typer.Argument(help="Only what touched this kind.")] = None,
    name: Annotated[str | None, typer.Argument(help="Only what touched this resource.")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 20,
    before: Annotated[int | None, typer.Option(min=1, help="Only older ones.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List revisions, newest first."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    chosen = None if kind is None else resolve_kind(kind)
    with AdminClient(control) as client:
        page = client.revisions(chosen, name, before=before, limit=limit)
    if as_json:
        print_json(page)
        return
    rows = [
        (str(one.number), moment_text(one.created_unix_s), one.author, one.message, _touched(one.changes))
        for one in page.revisions
    ]
    print_table(("revision", "when", "author", "message", "changes"), rows, empty="There is no revision.")
    if page.next_before is not None:
        say(f"Older ones: podium history --before {page.next_before}")


def undo(
    control: ToControl,
    revision: Annotated[
        int | None, typer.Argument(help="Number of the revision to take back; the newest.", min=1, show_default=False)
    ] = None,
    *,
    message: Annotated[str, typer.Option("--message", "-m", help="Why, for the history.")] = "",
    as_json: AsJson = False,
) -> None:
    """Take back what a revision changed, as a new revision. `podium history` has the numbers."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        number = revision or _newest(client)
        made = client.undo(number, message=message)
    if as_json:
        print_json(made)
        return
    for line in change_lines(made.changes):
        say(line)
    say(f"Revision {made.number} takes back revision {number}.")


def _newest(client: "AdminClient") -> int:
    newest = client.revisions(None, None, before=None, limit=1).revisions
    if not newest:
        raise NotFound("There is no revision to take back.")
    return newest[0].number


def _touched(changes: "Sequence[ChangeView]") -> str:
    names = [f"{change.kind}/{change.name}" for change in changes[:_SHOWN_CHANGES]]
    more = len(changes) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
