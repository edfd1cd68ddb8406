"""`up`, `gateway`, `control`, `worker`: the processes of Podium."""

from dataclasses import dataclass
from typing import Annotated

import typer

from podium.cli._command import add
from podium.cli._options import Listening, Place, Ports

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    add(
        app,
        "up",
        up,
        "podium up",
        "podium up --data-dir /var/lib/podium --port 9000",
        "podium up --gateways 4",
        "PODIUM_HOME=/srv/podium podium up",
    )
    add(app, "gateway", gateway, "podium gateway", "podium gateway --host 0.0.0.0 --port 8080")
    add(app, "control", control, "podium control", "podium control --admin-port 9001")
    add(app, "worker", worker, "podium worker smollm2 --port 9100")


@dataclass(frozen=True, slots=True)
class _Everything(Listening):
    """And how many gateways."""

    gateways: Annotated[
        int | None,
        typer.Option(
            "--gateways",
            help="Gateway processes, all on one port.  [env: PODIUM_GATEWAYS; default: 1]",
            show_default=False,
        ),
    ] = None

    def overrides(self) -> dict[str, tuple[str, object]]:
        """Settings that the command line sets: key -> (option, value)."""
        several = {} if self.gateways is None else {"gateway.processes": ("--gateways", self.gateways)}
        return Listening.overrides(self) | several


def up(place: _Everything) -> None:
    """Start Podium: gateways, control and the built-in models; watch and restart them.

    The first start creates the data folder and an admin key. SIGTERM and Ctrl-C finish what runs, then stop.
    """
    settings = place.settings()
    from podium.app import run_up  # noqa: PLC0415 - the parts load only where they run

    raise typer.Exit(run_up(settings))


def gateway(place: Listening) -> None:
    """Run a gateway by itself: the process that answers model calls."""
    settings = place.settings()
    from podium.app import run_gateway  # noqa: PLC0415 - the parts load only where they run

    raise typer.Exit(run_gateway(settings))


def control(place: Ports) -> None:
    """Run a control process by itself: the admin API and the loops behind it."""
    settings = place.settings()
    from podium.app import run_control  # noqa: PLC0415 - the parts load only where they run

    raise typer.Exit(run_control(settings))


def worker(
    model: Annotated[str, typer.Argument(help="Name of a built-in model.", show_default=False)],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=0, max=65535, show_default=False)],
    place: Place,
) -> None:
    """Run one model by itself, for a gateway on this machine."""
    settings = place.settings()
    from podium.app import run_worker  # noqa: PLC0415 - the parts load only where they run

    raise typer.Exit(run_worker(settings, model, port))
