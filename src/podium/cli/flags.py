"""`flags`: what flags there are, what one gives, and which nobody needs any more."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli._command import add, examples, group
from podium.cli._options import AsJson, ToControl
from podium.cli._output import print_json, print_table, printable, say
from podium.cli._times import moment_text
from podium.core.errors import NotFound, OperatorError

if TYPE_CHECKING:
    from podium.cli._admin_answers import FlagReport, FlagState

__all__ = ["register"]

_SENTENCES = {
    "old": "it has not changed for {days} days",
    "constant": "it gives everybody `{constant}`",
    "one_variant": "all who asked got one variant since the gateways started",
    "unused": "nobody has asked for it since the gateways started",
}


def register(app: typer.Typer) -> None:
    """Add the group."""
    flags = group("Show and try feature flags. `podium apply` declares them.")
    app.add_typer(flags, name="flags", epilog=examples("podium flags list", "podium flags stale"))
    add(flags, "list", list_flags, "podium flags list", "podium flags list --json")
    add(flags, "show", show, "podium flags show new-checkout")
    add(
        flags,
        "evaluate",
        evaluate,
        "podium flags evaluate new-checkout --context user=ann@acme.com --context tier=gold",
        "podium flags evaluate search-limits --context 'roles=[\"staff\"]' --context age=41 --json",
    )
    add(flags, "stale", stale, "podium flags stale", "podium flags stale --fail")


def list_flags(control: ToControl, *, as_json: AsJson = False) -> None:
    """List flags, and when each was last changed and asked for."""
    report = _report(control)
    if as_json:
        print_json(report)
        return
    columns = ("flag", "type", "gives", "owner", "changed", "asked for", "stale")
    print_table(columns, map(_row, report.flags), empty="There is no flag.")
    _say_source(report)


def show(
    control: ToControl,
    name: Annotated[str, typer.Argument(help="The flag's name.", show_default=False)],
    *,
    as_json: AsJson = False,
) -> None:
    """Show how a flag is declared, and how it is used."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    report = _report(control)
    flag = next((one for one in report.flags if one.name == name), None)
    if flag is None:
        raise NotFound(f"There is no flag `{name}`.", hint="`podium flags list` shows them.")
    if as_json:
        print_json(flag)
        return
    with AdminClient(control) as client:
        declared = client.resource("Flag", name)
    say(printable(_yaml(declared.spec), lines=True))
    changed = "too long ago to tell" if flag.changed_unix_s is None else moment_text(flag.changed_unix_s)
    say(printable(f"Changed: {changed}{f' by {flag.changed_by}' if flag.changed_by else ''}."))
    say(f"Asked for: {_when(flag.asked_unix_s)}; by clients that ask for all flags: {_when(flag.listed_unix_s)}.")
    given = (f"{count} {variant or 'errors'}" for variant, count in sorted(flag.given.items()))
    say(f"Given since the gateways started: {', '.join(given) or 'nothing'}.")
    if flag.needed_by:
        say(f"Needed by: {', '.join(flag.needed_by)}.")
    for reason in flag.stale:
        say(f"Stale: {_sentence(flag, reason)}.")
    _say_source(report)


def evaluate(
    control: ToControl,
    name: Annotated[str, typer.Argument(help="The flag's name.", show_default=False)],
    *,
    context: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="An attribute of the evaluation context. The value is read as JSON, else as text.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a flag gives in a context, and why. This is not counted as use."""
    import msgspec  # noqa: PLC0415 - only where used

    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    attributes = dict(map(_attribute, context or ()))
    with AdminClient(control) as client:
        found = client.evaluate_flag(name, attributes)
    if as_json:
        print_json(found)
    elif found.error is not None:
        raise OperatorError(f"{found.error}: {found.detail}")
    else:
        say(printable(msgspec.json.encode(found.value).decode()))
        because = f" by the rule {found.rule!r}" if found.rule else ""
        because += f", as {found.prerequisite} gives something else" if found.prerequisite else ""
        say(printable(f"{found.variant}: {found.reason}{because}"))


def stale(
    control: ToControl,
    *,
    fail: Annotated[bool, typer.Option("--fail", help="Exit with 1 when there are any; for pipelines.")] = False,
    as_json: AsJson = False,
) -> None:
    """List flags that should be looked at, and why."""
    from msgspec.structs import replace  # noqa: PLC0415 - only where used

    report = _report(control)
    found = [one for one in report.flags if one.stale]
    if as_json:
        print_json(replace(report, flags=tuple(found)))
    else:
        rows = [(one.name, one.owner, _sentences(one), _when(one.changed_unix_s)) for one in found]
        print_table(("flag", "owner", "why", "changed"), rows, empty="No flag is stale.")
        _say_source(report)
    if fail and found:
        raise typer.Exit(1)


def _report(control: ToControl) -> "FlagReport":
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        return client.flags()


def _row(flag: "FlagState") -> tuple[str, ...]:
    gives = f"{flag.constant} to everybody" if flag.constant is not None else "by rules"
    gives = gives if flag.enabled else f"{flag.constant}, not enabled"
    stale = ", ".join(flag.stale)
    return (flag.name, flag.type, gives, flag.owner, _when(flag.changed_unix_s), _when(flag.asked_unix_s), stale)


def _when(unix_s: float | None) -> str:
    return "-" if unix_s is None else moment_text(unix_s)


def _sentences(flag: "FlagState") -> str:
    return "; ".join(_sentence(flag, reason) for reason in flag.stale)


def _sentence(flag: "FlagState", reason: str) -> str:
    return _SENTENCES[reason].format(days=flag.stale_after_days, constant=flag.constant)


def _say_source(report: "FlagReport") -> None:
    """Where the figures come from, and who gave none."""
    if report.counted_since_unix_s is not None:
        say(f"Gateways that count: {report.gateways}, all of them since {moment_text(report.counted_since_unix_s)}.")
    elif report.flags and not report.silent:
        say("No gateway is known here that could say how flags are used: set control.gateways.")
    for why in report.silent:
        say(printable(why))


def _attribute(text: str) -> tuple[str, object]:
    import msgspec  # noqa: PLC0415 - only where used

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise OperatorError(f"--context: {text!r} is not of the form NAME=VALUE.")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value


def _yaml(spec: dict[str, object]) -> str:
    import yaml  # noqa: PLC0415 - only where used

    lines: Iterable[str] = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True, width=110).splitlines()
    return "\n".join(lines)
