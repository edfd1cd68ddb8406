"""`models`: the registry of versions and their files, what the gateway serves, and the built-in models on disk."""

from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli._command import add, examples, group
from podium.cli._gateway_client import GatewayClient
from podium.cli._options import AsJson, Place, ToControl, ToGateway
from podium.cli._output import print_json, print_table, printable, say
from podium.cli._registry import Declared, Progress, open_store
from podium.cli.models_add import add_version

if TYPE_CHECKING:
    from podium.control.registry import VersionView
    from podium.core.registry import Weights
    from podium.core.resources import Version
    from podium.engine.weights_store import WeightsStore

__all__ = ["register"]

_MIB = 1 << 20
_SHOWN_DIGITS = 12

Message = Annotated[str, typer.Option("--message", "-m", help="Why, for the history.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    models = group("Register versions of models, fetch their files, and show them.")
    app.add_typer(models, name="models", epilog=examples("podium models list", "podium models add chat hf:org/name"))
    add(
        models,
        "add",
        add_version,
        "podium models add chat hf:bartowski/SmolLM2-135M-Instruct-GGUF --file '*Q8_0*' --licence Apache-2.0",
        'podium models add chat ./tuned/ --parent chat@1f0c6a3b9d2e -m "Tuned on the tickets of May"',
        'podium models add helper --backend openai/gpt-5 --system-prompt "Be brief." --model helper',
    )
    add(models, "pull", pull, "podium models pull", "podium models pull chat@1f0c6a3b9d2e")
    add(models, "list", list_versions, "podium models list", "podium models list --stage live --json")
    add(models, "show", show, "podium models show chat@1f0c6a3b9d2e", "podium models show chat --json")
    add(models, "retire", retire, 'podium models retire chat@1f0c6a3b9d2e -m "Its licence has ended"')
    add(
        models,
        "served",
        served,
        "podium models served",
        "podium models served --url https://llm.example.org --json",
    )
    add(models, "fetch", fetch, "podium models fetch", "podium models fetch smollm2 --data-dir /var/lib/podium")


def list_versions(
    control: ToControl,
    *,
    stage: Annotated[str | None, typer.Option(help="Only those of this stage.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List the registered versions: stage, size, licence, descent and what uses them."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        views = [view for view in Declared(client).views if stage in (None, view.stage)]
    if as_json:
        print_json(views)
        return
    rows = [
        (
            view.name,
            view.stage,
            view.format or "provider's",
            f"{view.size / _MIB:,.1f}" if view.size else "",
            view.licence,
            view.descent[0] if view.descent else "",
            ", ".join(one.partition(" ")[0] for one in view.used_by),
        )
        for view in views
    ]
    columns = ("version", "stage", "format", "MiB", "licence", "made from", "used by")
    print_table(columns, rows, empty="No version is registered.")


def show(
    control: ToControl,
    version: Annotated[str, typer.Argument(help="Its name, or the beginning of it.", show_default=False)],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one version: descent, files with checksums, licence, data, notes, what uses it, and what lies here."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        declared = Declared(client)
    view, (_, spec) = declared.view(version), declared.version(version)
    settings = control.settings()
    here = _is_here(spec, open_store(settings.engine, settings.engine.store_folder(settings.data), Progress("")))
    if as_json:
        import msgspec  # noqa: PLC0415 - only where used

        print_json(msgspec.to_builtins(view) | {"files_are_here": here})
        return
    for line in _lines(view, here=here):
        say(printable(line))


def pull(
    control: ToControl,
    versions: Annotated[
        list[str] | None, typer.Argument(metavar="[VERSION]...", help="Names; none: all that are not retired.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Fetch the files of registered versions to this machine, and verify their checksums."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        declared = Declared(client)
    names = versions or [view.name for view in declared.views if view.stage != "retired"]
    chosen = [(name, spec) for name, spec in map(declared.version, names) if spec.weights is not None]
    settings = control.settings()
    rows = []
    for name, spec in chosen:
        with Progress(name) as progress:
            store = open_store(settings.engine, settings.engine.store_folder(settings.data), progress)
            for weights in _weights_of(spec):
                path = store.pull(weights)
                digest = next(file.sha256 for file in weights.files if file.path == weights.main)
                rows.append((name, str(path), weights.size, digest))
    columns = ("version", "file", "bytes", "sha256")
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows, empty="No version has weights of its own.")


def retire(
    control: ToControl,
    version: Annotated[str, typer.Argument(help="Its name, or the beginning of it.", show_default=False)],
    *,
    message: Message = "",
    as_json: AsJson = False,
) -> None:
    """Take a version out of use for good: nothing can use it any more. Refused while something does."""
    import msgspec  # noqa: PLC0415 - only where used

    from podium.cli._admin_client import AdminClient  # noqa: PLC0415
    from podium.core.resources import Resource  # noqa: PLC0415

    with AdminClient(control) as client:
        declared = Declared(client)
        name, spec = declared.version(version)
        retired = Resource("Version", name, msgspec.structs.replace(spec, stage="retired", pinned=False))
        outcome = client.apply(
            [retired],
            message=message or f"{name} is retired",
            expected_revision=declared.revision,
            prune=False,
            dry_run=False,
        )
    if as_json:
        print_json(outcome)
    elif outcome.changes:
        say(f"Revision {outcome.revision}: {name} is retired.")
    else:
        say(f"{name} was retired before.")


def served(gateway: ToGateway, *, as_json: AsJson = False) -> None:
    """List the models that the gateway serves to your key."""
    peer = gateway.peer()
    with GatewayClient(peer, gateway.key_for(peer.url)) as client:
        models = client.models()
    if as_json:
        print_json([{"id": one.id, "owned_by": one.owned_by} for one in models])
    else:
        print_table(("model", "owned by"), [(one.id, one.owned_by) for one in models], empty="No model is served.")


def fetch(
    place: Place,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Names of built-in models; none: all.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Download the built-in models into the data folder and verify their checksums.

    A model that is there already is only verified.
    """
    from podium.engine.catalogue import CATALOGUE, find_model  # noqa: PLC0415 - only where used
    from podium.engine.model_store import ensure  # noqa: PLC0415

    settings = place.settings()
    store = settings.engine.store_folder(settings.data)
    chosen = [find_model(name) for name in names or CATALOGUE]
    found = []
    for model in chosen:
        with Progress(model.name) as progress:
            timeout_s = settings.engine.fetch_timeout_s
            found.append(ensure(model, store, progress=progress.report, timeout_s=timeout_s))
    rows = [(one.model.name, one.model.title, one.model.licence, str(one.weights), one.sha256) for one in found]
    columns = ("model", "title", "licence", "file", "sha256")
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows, empty="There is no built-in model.")


def _weights_of(spec: "Version") -> "list[Weights]":
    return [] if spec.weights is None else [spec.weights, *(adapter.weights for adapter in spec.adapters)]


def _is_here(spec: "Version", store: "WeightsStore") -> bool:
    return all(store.has(weights) for weights in _weights_of(spec))


def _lines(view: "VersionView", *, here: bool) -> list[str]:
    lines = [f"{view.name}: {view.stage}, digest {view.digest}"]
    lines += [f"  served by {backend}" for backend in view.backends]
    lines += [f"  used by {use}" for use in view.used_by]
    if view.descent:
        lines.append(f"  made from {', from '.join(view.descent)}")
    lines += [f"  parent of {child}" for child in view.children]
    if view.files:
        where = "here" if here else "not here (podium models pull)"
        lines.append(f"  {view.format} from {view.source}, {view.size / _MIB:,.1f} MiB, {where}")
    lines += [f"    {file.sha256}  {file.path}" for file in view.files]
    lines += [f"  adapter {file.path} from {file.source}\n    {file.sha256}  {file.path}" for file in view.adapters]
    lines += [f"  {label}: {text}" for label, text in (("licence", view.licence), ("notes", view.notes)) if text]
    lines += [f"  data: {source}" for source in view.data_sources]
    if view.pinned:
        lines.append("  stays in memory")
    return lines
