"""`doctor`: is everything as it should be, and what to do where it is not."""

from typing import Annotated

import typer

from podium.cli._command import FAILED, add
from podium.cli._options import AsJson, Listening
from podium.cli._output import print_json, printable, say

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        "doctor",
        doctor,
        "podium doctor",
        "podium doctor --model gpt-4o",
        "podium doctor --deep",
        "podium doctor --data-dir /var/lib/podium --json",
    )


def doctor(
    place: Listening,
    *,
    model: Annotated[
        str | None, typer.Option("--model", help="Only the backends of this model.", show_default=False)
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read the files of registered models whole, and compare their checksums.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check this machine, the configuration, the data folder, the running processes and the models' backends.

    One line a check: ok, warn or fail, and what to do. Exit code 1 when one fails. Changes nothing.
    """
    from podium.cli._checks import Status, examine  # noqa: PLC0415 - only where used

    findings = []
    for finding in examine(place, model, deep=deep):
        findings.append(finding)
        if not as_json:
            say(f"{finding.status:<4}  {finding.check:<14}  {printable(finding.text)}")
            if finding.advice:
                say(f"{'':<22}{printable(finding.advice)}")
    failed = any(finding.status is Status.FAIL for finding in findings)
    if as_json:
        print_json({"ok": not failed, "findings": findings})
    raise typer.Exit(FAILED if failed else 0)
