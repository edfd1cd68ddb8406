"""`experiment`: asks users which version is better, and says how sure the answer is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli._command import add, examples, group
from podium.cli._options import AsJson, ToControl
from podium.cli._output import note, print_json, print_table, printable, say
from podium.cli._times import moment_text
from podium.core.errors import InvalidRequest, OperatorError

if TYPE_CHECKING:
    from podium.cli._admin_answers import ExperimentReport, GuardPlan, Plan, RolloutView
    from podium.core.measures import MetricName

__all__ = ["register"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="The Rollout's name.", show_default=False)]
Message = Annotated[str, typer.Option("--message", "-m", help="Why, for the history.")]


def _asked(name: str, told: str) -> Any:
    """An option of `plan`: what is not said is taken from elsewhere."""
    return typer.Option(name, help=told, show_default=False)


_Declared = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="A declared experiment; else say --model, --measure.", show_default=False),
]
_Model = Annotated[str | None, _asked("--model", "Name of the Model.")]
_Measure = Annotated[str | None, _asked("--measure", "As metrics of rollouts: error_rate, ttft_ms, ...")]
_Effect = Annotated[
    float | None,
    _asked(
        "--effect", "The smallest that matters: a share (-0.1: a tenth less); of rates and scores a difference (0.01)."
    ),
]
_Samples = Annotated[int | None, _asked("--samples", "What can be seen in so many exchanges of the smallest arm?")]
_Days = Annotated[float | None, _asked("--days", "What can be seen in so many days?")]
_Base = Annotated[float | None, _asked("--base", "The measure now.  [default: from the model's last week]")]
_Deviation = Annotated[float | None, _asked("--deviation", "With --base: standard deviation of an exchange.")]
_Alpha = Annotated[float | None, _asked("--alpha", "Level.  [default: 0.05]")]
_Power = Annotated[float | None, _asked("--power", "Power.  [default: 0.8]")]
_Weights = Annotated[list[float] | None, _asked("--weight", "Of each arm, the first one's first.  [default: 1, 1]")]
_Share = Annotated[float | None, _asked("--share", "Of the traffic, that takes part.  [default: 1]")]
_Tolerance = Annotated[
    float | None,
    _asked("--tolerance", "Plan a guardrail: only what is worse by more than this counts, on one side."),
]
_PerDay = Annotated[float | None, _asked("--per-day", "Exchanges of the model a day.  [default: from its last week]")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    experiment = group("Compare versions of a model with real users: plan, start, report, stop.")
    app.add_typer(
        experiment,
        name="experiment",
        epilog=examples(
            "podium experiment plan --model chat --measure error_rate --effect 0.01",
            "podium experiment report prompts --html report.html",
        ),
    )
    add(experiment, "list", list_experiments, "podium experiment list", "podium experiment list --json")
    add(
        experiment,
        "plan",
        plan,
        "podium experiment plan prompts",
        "podium experiment plan --model chat --measure error_rate --effect 0.01 --base 0.02",
        "podium experiment plan --model chat --measure ttft_ms --effect 0.1 --base 800 --deviation 600",
        "podium experiment plan --model chat --measure cost_nanousd --days 14",
        "podium experiment plan --model chat --measure ttft_ms --effect 0.3 --tolerance 0.1",
    )
    add(experiment, "start", start, 'podium experiment start prompts -m "Half the length"')
    add(
        experiment,
        "report",
        report,
        "podium experiment report prompts",
        "podium experiment report prompts --json",
        "podium experiment report prompts --html report.html",
    )
    add(
        experiment,
        "stop",
        stop,
        'podium experiment stop prompts -m "No difference"',
        "podium experiment stop prompts --winner short",
    )


def list_experiments(control: ToControl, *, as_json: AsJson = False) -> None:
    """List the declared experiments and where they stand."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        listed = client.experiments()
    if as_json:
        print_json(listed)
        return
    rows = [
        (
            one.name,
            one.model,
            one.primary,
            f"{one.method}{', adaptive' if one.adaptive else ''}",
            one.phase,
            f"{one.exchanges:,}/{one.planned:,}",
            one.design[:12],
            one.detail,
        )
        for one in listed.experiments
    ]
    columns = ("name", "model", "primary", "method", "phase", "samples", "design", "why")
    print_table(columns, rows, empty="No experiment is declared.")


def plan(
    control: ToControl,
    name: _Declared = None,
    *,
    model: _Model = None,
    measure: _Measure = None,
    effect: _Effect = None,
    samples: _Samples = None,
    days: _Days = None,
    base: _Base = None,
    deviation: _Deviation = None,
    alpha: _Alpha = None,
    power: _Power = None,
    weight: _Weights = None,
    share: _Share = None,
    tolerance: _Tolerance = None,
    per_day: _PerDay = None,
    as_json: AsJson = False,
) -> None:
    """Say how many exchanges and days an experiment takes, or which effect it can show in so many."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used
    from podium.control.experiments.views import PlanRequest  # noqa: PLC0415

    asked = PlanRequest(
        experiment=name,
        model=model,
        measure=_measure(measure),
        effect=effect,
        samples=samples,
        days=days,
        base=base,
        deviation=deviation,
        alpha=alpha,
        power=power,
        weights=tuple(weight) if weight else None,
        share=share,
        tolerance=tolerance,
        exchanges_per_day=per_day,
    )
    with AdminClient(control) as client:
        made = client.plan_experiment(asked)
    if as_json:
        print_json(made)
    else:
        _tell_plan(made)


def start(control: ToControl, name: Name, *, message: Message = "", as_json: AsJson = False) -> None:
    """Start an experiment; its design is frozen from here on."""
    _command(control, name, "start", as_json=as_json, message=message)


def stop(
    control: ToControl,
    name: Name,
    *,
    winner: Annotated[
        str,
        typer.Option("--winner", help="The arm whose version the model gets; none: as before.", show_default=False),
    ] = "",
    message: Message = "",
    as_json: AsJson = False,
) -> None:
    """End an experiment, with a winner or without."""
    _command(control, name, "stop", as_json=as_json, message=message, winner=winner)


def report(
    control: ToControl,
    name: Name,
    *,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write one HTML file, which needs nothing else, here.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what an experiment has shown so far, how sure that is, and what must not be believed."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        found = client.experiment_report(name)
    if html is not None:
        _write(html, found)
    if as_json:
        print_json(found)
    elif html is None:
        _tell(found)


def _command(control: ToControl, name: str, command: str, *, as_json: bool, **query: str) -> None:
    """Only if nobody else moves it meanwhile."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        seen = client.rollout(name).changed_unix_s
        _tell_moved(client.move_experiment(name, command, {**query, "seen": seen}), as_json=as_json)


def _measure(text: str | None) -> "MetricName | None":
    from podium.delivery.experiments.effects import MEASURED  # noqa: PLC0415 - only where used

    if text is None:
        return None
    for name in MEASURED:
        if name == text:
            return name
    raise InvalidRequest(f"--measure: there is no measure {text!r}", hint=f"There are {', '.join(MEASURED)}.")


def _write(path: Path, found: "ExperimentReport") -> None:
    from podium.delivery.experiments.page import html_page  # noqa: PLC0415 - only where used

    try:
        path.write_text(html_page(found), encoding="utf-8")
    except OSError as error:
        raise OperatorError(f"{path} cannot be written: {error.strerror or error}.") from None
    note(f"podium: wrote {path}")


def _tell_plan(made: "Plan") -> None:
    from podium.delivery.experiments.words import measure_text, value_text  # noqa: PLC0415 - only where used

    known = "as given" if made.known_from == "given" else f"from {made.known_samples:,.0f} samples of the ledger"
    say(f"{measure_text(made.measure).capitalize()} now: {value_text(made.measure, made.base)}, {known}.")
    if made.design_effect is not None and made.design_effect > 1:
        say(f"Exchanges of a subject are alike: they are worth 1/{made.design_effect:.3g} of independent ones.")
    if made.exchanges_per_day is not None:
        say(f"Traffic: {made.exchanges_per_day:,.0f} exchanges a day.")
    if made.effect is not None:
        beyond = "" if made.tolerance is None else f", beyond a tolerance of {_effect(made, made.tolerance)}"
        say(f"Planned for an effect of {_effect(made, made.effect)}{beyond}.")
    rows = [
        (
            one.method,
            "" if one.samples is None else f"{one.samples:,}",
            "" if one.total is None else f"{one.total:,}",
            "" if one.subjects is None else f"{one.subjects:,}",
            "" if one.days is None else f"{one.days:,.1f}",
            "" if one.detectable is None else _effect(made, one.detectable),
        )
        for one in made.methods
    ]
    columns = ("method", "exchanges an arm", "in all", "subjects an arm", "days", "smallest effect in what was asked")
    print_table(columns, rows, empty="")
    guards = [
        (
            measure_text(one.measure),
            _effect(one, one.tolerance),
            "nothing" if one.notices is None else f"{_effect(one, one.notices)} or worse",
        )
        for one in made.guardrails
    ]
    if guards:
        print_table(("guardrail", "tolerance", "notices"), guards, empty="", title="By the planned sample")
    for warning in made.warnings:
        say(f"Note: {warning}.")


def _effect(made: "Plan | GuardPlan", effect: float) -> str:
    if made.scale == "relative":
        return f"{effect * 100:+.3g}%"
    return f"{effect * 100:+.3g} points" if made.measure.endswith("_rate") else f"{effect:+.4g}"


def _tell_moved(one: "RolloutView", *, as_json: bool) -> None:
    if as_json:
        print_json(one)
        return
    why = f": {one.detail}" if one.detail else ""
    say(printable(f"{one.name}: {one.phase}{why}"))
    print_table(
        ("arm", "version", "percent"), [(arm.name, arm.version, arm.percent) for arm in one.arms], empty="No arm yet."
    )


def _tell(found: "ExperimentReport") -> None:
    from podium.delivery.experiments import words  # noqa: PLC0415 - only where used
    from podium.delivery.experiments.history import reduction_text  # noqa: PLC0415

    say(printable(f"{found.name}: {found.hypothesis}"))
    say(printable(f"{found.phase}: {found.detail}" if found.detail else found.phase))
    until = "until" if found.ended else "to"
    say(f"From {moment_text(found.started_unix_s)} {until} {moment_text(found.until_unix_s)}. Design {found.design}.")
    for warning in found.warnings:
        say(printable(f"! {warning}"))
    for told in found.conclusions:
        say(printable(told))
    say(printable(found.history.sentence))
    arms = [
        (arm.name, arm.version, arm.exchanges, words.percent(arm.planned), _state(arm.taken_out, arm.complete))
        for arm in found.arms
    ]
    title = f"Arms (planned: {found.experiment.samples:,} exchanges each)"
    print_table(("arm", "version", "exchanges", "share", "state"), arms, empty="", title=title)
    if found.ratio is not None:
        end = "MISMATCH" if found.ratio.mismatch else "as designed" if found.ratio.enough else "too few to tell"
        say(f"Sample ratio: {end} (p = {found.ratio.sequential_p_value:.3g}).")
    effects = [
        (
            words.measure_text(row.measure),
            row.arm,
            row.role,
            words.value_text(row.measure, row.reference),
            words.value_text(row.measure, row.value),
            words.effect_text(row, row.effect),
            words.bounds_text(row, words.bounds_of(row, found.decided_by)),
            reduction_text(row),
            words.FINDINGS[row.finding],
        )
        for row in found.effects
    ]
    columns = (
        "measure",
        "arm",
        "role",
        found.arms[0].name,
        "arm's",
        "effect",
        f"{found.decided_by} interval",
        "variance taken out",
        "finding",
    )
    print_table(columns, effects, empty="Nothing was measured yet.", title="Effects")
    _tell_money(found)
    segments = [
        (
            f"{segment.kind} {segment.name}",
            words.measure_text(row.measure),
            row.arm,
            words.effect_text(row, row.effect),
            words.bounds_text(row, words.bounds_of(row, found.decided_by)),
            words.FINDINGS[row.finding],
        )
        for segment in found.segments
        for row in segment.effects
    ]
    if segments:
        shown = ("segment", "measure", "arm", "effect", "interval", "finding")
        print_table(shown, segments, empty="", title="Segments (exploratory)")
    if found.segments_note:
        say(printable(found.segments_note))


def _tell_money(found: "ExperimentReport") -> None:
    from podium.delivery.experiments.words import dollars  # noqa: PLC0415 - only where used

    rows = []
    for arm in found.money.arms:
        between = ""
        if arm.difference_lower_usd is not None:
            between = f"{dollars(arm.difference_lower_usd)} to {dollars(arm.difference_upper_usd)}"
        rows.append(
            (
                arm.arm,
                dollars(arm.total_usd),
                dollars(arm.per_thousand_usd),
                dollars(arm.month_usd),
                dollars(arm.difference_month_usd),
                between,
            )
        )
    columns = ("arm", "in the experiment", "a thousand answers", "a month", "difference a month", "interval")
    print_table(columns, rows, empty="", title="Money, at the traffic of now")


def _state(taken_out: bool, complete: bool) -> str:  # noqa: FBT001 - of an arm
    if taken_out:
        return "taken out"
    return "has its sample" if complete else "below its sample"
