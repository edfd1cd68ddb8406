"""`apply`, `diff`, `get`, `delete`, `export`: what is declared."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli._command import FAILED, add
from podium.cli._documents import change_lines, read_documents, resolve_kind
from podium.cli._options import AsJson, ToControl
from podium.cli._output import note, print_json, print_table, say
from podium.core.errors import OperatorError

if TYPE_CHECKING:
    from podium.cli._admin_answers import Document

__all__ = ["register"]

_SUMMARY_CHARACTERS = 100
_SHOWN_OF_A_KIND = 20

Files = Annotated[
    list[str],
    typer.Option("--file", "-f", help="YAML or JSON file, a folder of them, or `-`; may be repeated."),
]
Prune = Annotated[bool, typer.Option("--prune", help="Delete whatever is declared and not in the files.")]
Message = Annotated[str, typer.Option("--message", "-m", help="Why, for the history.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    add(app, "apply", apply, "podium apply -f podium/", 'podium apply -f acme.yaml -m "Acme moves to gpt-5"')
    add(app, "diff", diff, "podium diff -f podium/", "podium diff -f acme.yaml --exit-code")
    add(app, "get", get, "podium get", "podium get models", "podium get model smollm2", "podium get tenants --json")
    add(app, "delete", delete, "podium delete model old-model", 'podium delete tenant acme -m "They left"')
    add(app, "export", export, "podium export > podium.yaml.backup", "podium export --output declared.yaml")


def apply(
    control: ToControl,
    files: Files,
    *,
    message: Message = "",
    prune: Prune = False,
    expected_revision: Annotated[
        int | None,
        typer.Option("--expect-revision", min=0, help="Only if this is the newest revision.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show, change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make what the documents declare true, as one revision that `podium undo` takes back."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    documents = read_documents(files)
    with AdminClient(control) as client:
        outcome = client.apply(
            documents, message=message, expected_revision=expected_revision, prune=prune, dry_run=dry_run
        )
    if as_json:
        print_json(outcome)
        return
    for line in change_lines(outcome.changes):
        say(line)
    if not outcome.changes:
        say(f"Nothing to change; declared already: {outcome.unchanged}.")
    elif outcome.revision is None:
        say("A dry run: nothing was changed.")
    else:
        say(f"Revision {outcome.revision}.")


def diff(
    control: ToControl,
    files: Files,
    *,
    prune: Prune = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 when something would change.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what `podium apply` would change. Changes nothing."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    documents = read_documents(files)
    with AdminClient(control) as client:
        outcome = client.diff(documents, prune=prune)
    if as_json:
        print_json(outcome)
    else:
        for line in change_lines(outcome.changes):
            say(line)
        if not outcome.changes:
            say("Nothing would change.")
    raise typer.Exit(FAILED if exit_code and outcome.changes else 0)


def get(
    control: ToControl,
    kind: Annotated[str | None, typer.Argument(help="A kind, e.g. `model`; none: all of them.")] = None,
    name: Annotated[str | None, typer.Argument(help="A resource's name; none: all of the kind.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List what is declared, or show one resource as the document that declares it."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    chosen = None if kind is None else resolve_kind(kind)
    with AdminClient(control) as client:
        if chosen is not None and name is not None:
            document = client.resource(chosen, name)
            if as_json:
                print_json(document)
            else:
                say(_yaml([document]))
            return
        declared = client.resources(chosen)
    if as_json:
        print_json(declared)
    else:
        rows = _rows(declared.resources, whole=chosen is not None)
        print_table(("kind", "name", "spec"), rows, empty="Nothing is declared.")


def delete(
    control: ToControl,
    kind: Annotated[str, typer.Argument(help="Its kind, e.g. `model`.", show_default=False)],
    name: Annotated[str, typer.Argument(help="Its name.", show_default=False)],
    *,
    message: Message = "",
    as_json: AsJson = False,
) -> None:
    """Delete one resource, as a revision that `podium undo` takes back."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        revision = client.delete(resolve_kind(kind), name, message=message)
    if as_json:
        print_json(revision)
    else:
        say(f"Revision {revision.number}: deleted {resolve_kind(kind)}/{name}.")


def export(
    control: ToControl,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write instead.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print everything that is declared as documents that `podium apply` reads. Keys are not among them."""
    from podium.cli._admin_client import AdminClient  # noqa: PLC0415 - only where used

    with AdminClient(control) as client:
        documents = client.export()
    if as_json:
        print_json(documents)
        return
    if output is None:
        say(_yaml(documents))
        return
    try:
        output.write_text(_yaml(documents) + "\n", "utf-8")
    except OSError as error:
        raise OperatorError(f"{output} cannot be written: {error.strerror or error}.") from None
    note(f"Wrote {len(documents)} documents to {output}.")


def _yaml(documents: "Sequence[Document]") -> str:
    from podium.control.yaml_nodes import write_text  # noqa: PLC0415 - only where used

    return write_text({"kind": one.kind, "name": one.name, "spec": one.spec} for one in documents).rstrip("\n")


def _rows(documents: "Sequence[Document]", *, whole: bool) -> Iterator[tuple[str, str, str]]:
    """A row for each resource; unless `whole`, one row for all of a kind that has many, as prices do."""
    counts = Counter(one.kind for one in documents)
    many = set() if whole else {kind for kind, count in counts.items() if count > _SHOWN_OF_A_KIND}
    for one in documents:
        if one.kind not in many:
            yield one.kind, one.name, _summary(one.spec)
    for kind in sorted(many):
        yield kind, f"({counts[kind]:,} of them)", f"podium get {kind.lower()}"


def _summary(spec: dict[str, object]) -> str:
    import msgspec  # noqa: PLC0415 - only where used

    text = ", ".join(f"{name}: {msgspec.json.encode(value).decode()}" for name, value in spec.items())
    return text if len(text) <= _SUMMARY_CHARACTERS else f"{text[: _SUMMARY_CHARACTERS - 3]}..."
