"""`feedback`: what users said of answers."""

from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli._command import add, examples, group
from podium.cli._options import AsJson, ToControl
from podium.cli._output import print_json, print_table, printable, say
from podium.cli._times import moment_text

if TYPE_CHECKING:
    from podium.cli._admin_answers import FeedbackView

__all__ = ["register"]

_WORDS = {("thumbs", 1.0): "up", ("thumbs", 0.0): "down", ("task_done", 1.0): "yes", ("task_done", 0.0): "no"}
_MAX_COMMENT = 60


def register(app: typer.Typer) -> None:
    """Add the group."""
    feedback = group("Show what users said of answers, and erase it.")
    app.add_typer(feedback, name="feedback", epilog=examples("podium feedback list --rollout chat-2"))
    add(
        feedback,
        "list",
        list_feedback,
        "podium feedback list --rollout chat-2 --kind comment",
        "podium feedback list --tenant acme --limit 500 --json",
    )
    add(
        feedback,
        "erase",
        erase,
        "podium feedback erase --tenant acme --user alice@example.org",
        "podium feedback erase --tenant acme --request-id req_0192c1d2e3f4a5b6c7d8e9f0a1b2c3d4",
    )


def list_feedback(
    control: ToControl,
    *,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.", show_default=False)] = None,
    rollout: Annotated[
        str | None, typer.Option(help="Only on exchanges that it chose for.", show_default=False)
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Only thumbs, score, task_done or comment.", show_default=False)
    ] = None,
    before: Annotated[str | None, typer.Option(help="Only older than this id.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List feedback, newest first. Comments are cut short here; `--json` has all of them."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        page = client.feedback(tenant=tenant, rollout=rollout, kind=kind, before=before, limit=limit)
    if as_json:
        print_json(page)
        return
    columns = ("given", "tenant", "request", "version", "arm", "kind", "said")
    print_table(columns, map(_row, page.feedback), empty="Nobody said anything.")
    if page.next_before is not None:
        say(f"Older ones: --before {page.next_before}")


def erase(
    control: ToControl,
    *,
    tenant: Annotated[str, typer.Option(help="Whose key gave it.", show_default=False)],
    user: Annotated[
        str | None, typer.Option(help="Who gave it, or whose exchange it is about.", show_default=False)
    ] = None,
    request_id: Annotated[str | None, typer.Option(help="The answer that it is about.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Erase comments, and the names of who gave feedback. Marks stay, and say nothing about a person.

    What a gateway took in the last second may not be in the ledger yet: then do it again.
    """
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        done = client.erase_feedback(tenant=tenant, user=user, request_id=request_id)
    if as_json:
        print_json(done)
    else:
        say(f"{done.erased} comments and names were erased." if done.erased else "There was nothing to erase.")


def _row(one: "FeedbackView") -> tuple[str, ...]:
    return (
        moment_text(one.given_unix_s),
        one.tenant,
        one.request_id,
        one.version,
        one.arm or "-",
        one.kind,
        printable(_said(one)),
    )


def _said(one: "FeedbackView") -> str:
    if one.value is None:
        words = " ".join(one.comment.split())
        return words if len(words) <= _MAX_COMMENT else f"{words[:_MAX_COMMENT]}…"
    return _WORDS.get((one.kind, one.value), f"{one.value:g}")
