"""`models`: what the gateway serves, and the built-in models on disk."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Self

import typer

from podium.cli._command import add, examples, group
from podium.cli._gateway_client import GatewayClient
from podium.cli._options import AsJson, Place, ToGateway
from podium.cli._output import print_json, print_table

if TYPE_CHECKING:
    from podium.engine.package_fetch import Stage

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the group."""
    models = group("Show the models that the gateway serves; fetch the built-in ones.")
    app.add_typer(models, name="models", epilog=examples("podium models list", "podium models fetch"))
    add(models, "list", list_models, "podium models list", "podium models list --url https://llm.example.org --json")
    add(models, "fetch", fetch, "podium models fetch", "podium models fetch smollm2 --data-dir /var/lib/podium")


def list_models(gateway: ToGateway, *, as_json: AsJson = False) -> None:
    """List the models that your key may use."""
    peer = gateway.peer()
    with GatewayClient(peer, gateway.key_for(peer.url)) as client:
        served = client.models()
    if as_json:
        print_json([{"id": one.id, "owned_by": one.owned_by} for one in served])
    else:
        print_table(("model", "owned by"), [(one.id, one.owned_by) for one in served], empty="No model is served.")


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
        with _Progress(model.name) as progress:
            timeout_s = settings.engine.fetch_timeout_s
            found.append(ensure(model, store, progress=progress.report, timeout_s=timeout_s))
    rows = [(one.model.name, one.model.title, one.model.licence, str(one.weights), one.sha256) for one in found]
    columns = ("model", "title", "licence", "file", "sha256")
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows, empty="There is no built-in model.")


class _Progress:
    """A bar on standard error while a model is fetched; nothing where nobody looks."""

    def __init__(self, name: str) -> None:
        from rich.console import Console  # noqa: PLC0415 - only where used
        from rich.progress import Progress  # noqa: PLC0415

        console = Console(stderr=True)
        self._bar = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(name, total=1.0)
        self._name = name
        self.report: Callable[[Stage, float], None] = self._report

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _report(self, stage: "Stage", fraction: float) -> None:
        self._bar.update(self._task, description=f"{self._name}: {stage}", completed=fraction)
