"""`rollout`: moves a model's traffic between versions, and back."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli._command import add, examples, group
from podium.cli._http import Refused
from podium.cli._options import AsJson, ToControl
from podium.cli._output import note, print_json, print_table, printable, say
from podium.cli._times import moment_text
from podium.core.errors import OperatorError
from podium.core.reasons import Reason

if TYPE_CHECKING:
    from podium.cli._admin_answers import Bundle, RolloutView
    from podium.cli._admin_client import AdminClient

__all__ = ["register"]

RETURNED, ABORTED, WAITS, TIMED_OUT = 3, 4, 5, 124
_CODES = {"promoted": 0, "returned": RETURNED, "failed": RETURNED, "aborted": ABORTED}
_POLL_S = 0.5
_AWAY_S = 60.0  # a control process may be started anew while somebody waits

Name = Annotated[str, typer.Argument(metavar="NAME", help="The Rollout's name.", show_default=False)]
Message = Annotated[str, typer.Option("--message", "-m", help="Why, for the history.")]
Seen = Annotated[
    float | None,
    typer.Option(
        "--seen",
        help="Only if the rollout has not moved since: `changed_unix_s` as it was shown.",
        show_default=False,
    ),
]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait",
        help="Until it has ended or needs a person; exit code 0: promoted, 3: returned, 4: aborted, 5: it waits for"
        " somebody, 124: --timeout has passed.",
    ),
]
Timeout = Annotated[float, typer.Option("--timeout", help="How long to wait at most, seconds.", min=0.1)]
_A_DAY = 86_400.0
_HELD = {"limit": "its limit", "watch": "the version before"}  # roles of measures that nothing was compared with


def register(app: typer.Typer) -> None:
    """Add the group."""
    rollout = group("Bring a new version of a model to its users in steps, and take it back.")
    app.add_typer(
        rollout,
        name="rollout",
        epilog=examples("podium rollout list", 'podium rollout start chat-2 -m "Better prompt" --wait'),
    )
    add(rollout, "list", list_rollouts, "podium rollout list", "podium rollout list --json")
    add(rollout, "show", show, "podium rollout show chat-2", "podium rollout show chat-2 --json")
    add(
        rollout,
        "start",
        _with_wait("start", "Start a rollout: the candidate is tried, then goes to its first users."),
        "podium rollout start chat-2",
        "podium rollout start chat-2 --wait --timeout 3600",
    )
    add(
        rollout,
        "pause",
        _at_once("pause", "Hold a rollout where it is; failures still take the candidate out."),
        'podium rollout pause chat-2 -m "Demo at noon"',
    )
    add(
        rollout,
        "resume",
        _with_wait("resume", "Let a paused rollout go on from where it is."),
        "podium rollout resume chat-2 --wait",
    )
    add(
        rollout,
        "promote",
        promote,
        "podium rollout promote chat-2",
        "podium rollout promote chat-2 --to-end",
        "podium rollout promote prompts --arm short",
    )
    add(
        rollout,
        "abort",
        _at_once("abort", "End a rollout: the version before serves alone again."),
        'podium rollout abort chat-2 -m "Wrong prompt"',
    )
    add(
        rollout,
        "approve",
        _with_wait("approve", "Agree to what a rollout waits for; not for who asked for it."),
        "podium rollout approve chat-2",
    )
    add(
        rollout,
        "undo",
        _at_once("undo", "Take a promotion back: the model has the version before again."),
        'podium rollout undo chat-2 -m "Users complain"',
    )
    add(
        rollout,
        "evidence",
        evidence,
        "podium rollout evidence chat-2",
        "podium rollout evidence chat-2 last",
        "podium rollout evidence chat-2 last --json > evidence.json",
    )
    add(rollout, "watch", watch, "podium rollout watch chat-2", "podium rollout watch chat-2 --timeout 600")


def list_rollouts(control: ToControl, *, as_json: AsJson = False) -> None:
    """List the declared rollouts and where they stand."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        listed = client.rollouts()
    if as_json:
        print_json(listed)
        return
    columns = ("name", "model", "strategy", "phase", "step", "candidate", "why")
    rows = [
        (
            one.name,
            one.model,
            one.strategy,
            one.phase,
            f"{one.step + 1}/{one.steps}" if one.started_unix_s else "",
            f"{_percent(one):g}%",
            one.detail,
        )
        for one in listed.rollouts
    ]
    print_table(columns, rows, empty="No rollout is declared.")


def show(control: ToControl, name: Name, *, as_json: AsJson = False) -> None:
    """Show where a rollout stands: its arms, its last verdict, and who is waited for."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        _tell(client.rollout(name), as_json=as_json)


def _with_wait(command: str, told: str) -> Callable[..., None]:
    """A command that moves a rollout, and may wait for what comes of it. `told`: its help."""

    def move(
        control: ToControl,
        name: Name,
        *,
        message: Message = "",
        seen: Seen = None,
        wait: Wait = False,
        timeout_s: Timeout = _A_DAY,
        as_json: AsJson = False,
    ) -> None:
        _command(control, name, command, message, seen, wait=wait, timeout_s=timeout_s, as_json=as_json)

    move.__doc__ = told
    return move


def _at_once(command: str, told: str) -> Callable[..., None]:
    """A command after which there is nothing to wait for. `told`: its help."""

    def move(
        control: ToControl, name: Name, *, message: Message = "", seen: Seen = None, as_json: AsJson = False
    ) -> None:
        _command(control, name, command, message, seen, as_json=as_json)

    move.__doc__ = told
    return move


def promote(
    control: ToControl,
    name: Name,
    *,
    to_end: Annotated[bool, typer.Option("--to-end", help="Not one step: make it the model's version.")] = False,
    arm: Annotated[str, typer.Option("--arm", help="Of an A/B: whose version; ends it.", show_default=False)] = "",
    message: Message = "",
    seen: Seen = None,
    wait: Wait = False,
    timeout_s: Timeout = _A_DAY,
    as_json: AsJson = False,
) -> None:
    """Move a rollout forward, one step or to its end, whatever the analysis says."""
    query = {"to_end": to_end, "arm": arm}
    _command(control, name, "promote", message, seen, wait=wait, timeout_s=timeout_s, as_json=as_json, query=query)


def watch(control: ToControl, name: Name, *, timeout_s: Timeout = _A_DAY, as_json: AsJson = False) -> None:
    """Tell each step of a rollout until it has ended or needs a person; exit codes as of `--wait`."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        code = _watch(client, name, timeout_s, as_json=as_json)
    raise typer.Exit(code)


def evidence(
    control: ToControl,
    name: Name,
    key: Annotated[
        str | None, typer.Argument(metavar="ID", help="Its id, or `last`; none: list them.", show_default=False)
    ] = None,
    *,
    limit: Annotated[int, typer.Option("--limit", help="List at most so many.", min=1, max=500)] = 50,
    as_json: AsJson = False,
) -> None:
    """Show what a rollout's decisions were made on: samples, intervals, revisions."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        listed = client.rollout_evidence(name, limit=1 if key == "last" else limit)
        if key is not None:
            if key == "last" and not listed.evidence:
                raise OperatorError(f"Nothing was kept of decisions about `{name}` yet.")
            bundle = client.evidence(name, listed.evidence[0].id if key == "last" else key)
            if as_json:
                print_json(bundle)
            else:
                _tell_bundle(bundle)
            return
    if as_json:
        print_json(listed)
        return
    rows = [(moment_text(one.decided_unix_s), one.id) for one in listed.evidence]
    print_table(("decided", "id"), rows, empty=f"Nothing was kept of decisions about {printable(name)} yet.")


def _tell_bundle(bundle: "Bundle") -> None:
    say(printable(f"{bundle.name}, {moment_text(bundle.decided_unix_s)}: {bundle.happening} ({bundle.reason})"))
    say(printable(bundle.detail))
    arms = [(one.name, one.version, one.step + 1, one.counts.get("exchanges", 0)) for one in bundle.arms]
    print_table(("arm", "version", "step", "exchanges"), arms, empty="No exchange was seen.", title="Samples")
    metrics = [
        (one.name, one.arm, _figure(one.value), _figure(one.reference), _figure(one.lower), _figure(one.upper))
        for one in bundle.metrics
    ]
    columns = ("metric", "arm", "value", "compared with", "effect from", "to")
    print_table(columns, metrics, empty="Nothing was measured.", title="Measures and intervals")
    held = [
        (
            one.name,
            one.arm,
            _figure(one.value),
            _figure(one.reference),
            _HELD[one.role],
            _figure(one.lower),
            _figure(one.upper),
        )
        for one in (bundle.verdict.metrics if bundle.verdict is not None else ())
        if one.role in _HELD
    ]
    if held:
        named = ("metric", "arm", "value", "held against", "which is", "effect from", "to")
        print_table(named, held, empty="", title="Not compared at the same time")
    for one in bundle.revisions:
        say(printable(f"{moment_text(one.created_unix_s)} revision {one.number} by {one.author}: {one.message}"))


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _command(
    control: ToControl,
    name: str,
    command: str,
    message: str,
    seen: float | None,
    *,
    wait: bool = False,
    timeout_s: float = 0.0,
    as_json: bool,
    query: dict[str, Any] | None = None,
) -> None:
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        if seen is None:  # what moves from here on is somebody else's doing
            seen = client.rollout(name).changed_unix_s
        moved = client.move_rollout(name, command, {"message": message, "seen": seen, **(query or {})})
        if not wait:
            _tell(moved, as_json=as_json)
            return
        code = _watch(client, name, timeout_s, as_json=as_json)
    raise typer.Exit(code)


def _watch(client: "AdminClient", name: str, timeout_s: float, *, as_json: bool) -> int:
    """The exit code, once nothing more happens by itself. Tells each move on the way; JSON: the last state alone."""
    deadline_s = time.monotonic() + timeout_s
    told = -1.0
    away_since_s: float | None = None
    while True:
        try:
            one = client.rollout(name)
        except OperatorError as error:
            # A refusal is final; a control process or a database that is away may come back.
            now_s = time.monotonic()
            away_since_s = away_since_s or now_s
            refused = isinstance(error, Refused) and error.code != Reason.NOT_READY
            if refused or now_s - away_since_s > _AWAY_S:
                raise
        else:
            away_since_s = None
            if one.changed_unix_s != told:
                told = one.changed_unix_s
                if not as_json:
                    say(_line(one))
            if one.ended or one.waits:
                if as_json:
                    print_json(one)
                return _CODES[one.phase] if one.ended else WAITS
        if time.monotonic() >= deadline_s:
            note(f"podium: `{name}` goes on; --timeout has passed")
            return TIMED_OUT
        time.sleep(_POLL_S)


def _tell(one: "RolloutView", *, as_json: bool) -> None:
    if as_json:
        print_json(one)
        return
    say(_line(one))
    columns = ("arm", "version", "percent")
    rows = [(arm.name, arm.version, arm.percent) for arm in one.arms]
    print_table(columns, rows, empty=f"Everybody gets {printable(_sole(one))}.")
    if one.asked_by:
        say(printable(f"Asked by {one.asked_by}; approvals missing: {one.approvals_missing}."))
    if one.verdict is not None:
        when = moment_text(one.verdict.unix_s)
        say(printable(f"Last verdict ({when}): {one.verdict.verdict}, {one.verdict.reason}. {one.verdict.detail}"))
    if one.evidence:
        say(f"Evidence: {one.evidence}")


def _line(one: "RolloutView") -> str:
    step = f", step {one.step + 1} of {one.steps}" if one.phase in ("running", "paused") else ""
    why = f": {one.detail}" if one.detail else ""
    return printable(f"{one.name}: {one.phase}{step}, {_percent(one):g}% candidate{why}")


def _percent(one: "RolloutView") -> float:
    if one.phase == "promoted":
        return 100.0
    return sum(arm.percent for arm in one.arms if arm.name == "candidate" and not one.mirrored)


def _sole(one: "RolloutView") -> str:
    return one.candidate or one.before if one.phase == "promoted" else one.before
