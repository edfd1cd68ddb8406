"""`podium up`: everything on this machine, started, watched and stopped together."""

import asyncio
import contextlib
import fcntl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from podium.app.children import GatewayChild, children, gateway_children
from podium.app.engine import running_engine
from podium.app.process import check_free, prepare_data_folder, root_secret, run_until_stopped
from podium.app.reachable import reachable
from podium.app.screen import Screen
from podium.config import Settings
from podium.core.errors import OperatorError
from podium.engine.catalogue import CATALOGUE
from podium.engine.child_log import LogRotation
from podium.engine.child_states import Backoff
from podium.engine.model_store import ensure
from podium.engine.package_fetch import Stage
from podium.engine.supervisor import ChildStatus, Supervisor
from podium.telemetry.logging import configure_logging
from podium.web.http1.server import check_ports_can_be_shared

__all__ = ["run"]


def run(settings: Settings) -> int:
    """Run control, gateways and workers of built-in and registered models until SIGTERM or SIGINT."""
    configure_logging(settings.telemetry)
    data = settings.data
    prepare_data_folder(data.path)
    if settings.gateway.processes > 1:
        check_ports_can_be_shared()
    with _locked(data.lock_file):
        root = root_secret(settings)
        first_start = not data.admin_key_file.exists()
        check_free(settings.server.host, settings.server.port, "--port")
        check_free(settings.admin.host, settings.admin.port, "--admin-port")
        screen = Screen(sys.stdout)
        return run_until_stopped(lambda stop: _serve(settings, root, stop, screen, first_start=first_start))


async def _serve(settings: Settings, root: bytes, stop: asyncio.Event, screen: Screen, *, first_start: bool) -> int:
    await _fetch_models(settings, stop, screen)
    if stop.is_set():
        return 0
    async with running_engine(settings, root) as address:
        failure = await _supervise(settings, address, stop, screen, first_start=first_start)
    if failure is not None:
        raise failure
    return 0


async def _supervise(
    settings: Settings, address: str, stop: asyncio.Event, screen: Screen, *, first_start: bool
) -> OperatorError | None:
    """Run the fixed processes until `stop` is set; what went wrong when one of them cannot run."""
    engine = settings.engine
    gateways = gateway_children(settings)
    supervisor = Supervisor(
        children(settings, gateways, address),
        backoff=Backoff(engine.restart_backoff_min_s, engine.restart_backoff_max_s, engine.restart_stable_s),
        log_rotation=LogRotation(engine.log_file_bytes, engine.log_files_kept),
        on_change=_shower(screen),
    )
    failure: OperatorError | None = None
    async with asyncio.TaskGroup() as group:
        greeting = group.create_task(_greet_when_ready(settings, supervisor, screen, gateways, first_start=first_start))
        try:
            await supervisor.run(stop)
        except OperatorError as error:
            failure = error
        greeting.cancel()
    return failure


class _Interrupted(Exception):
    """The stop signal came while a model was fetched."""


async def _fetch_models(settings: Settings, stop: asyncio.Event, screen: Screen) -> None:
    """See that every model file is there, one after another; returns early when `stop` is set."""
    store = settings.engine.store_folder(settings.data)
    for model in CATALOGUE.values():
        with screen.progress(f"model {model.name}") as show:

            def progress(stage: Stage, fraction: float) -> None:
                if stop.is_set():
                    raise _Interrupted  # in the fetching thread, which ends what it started
                show(stage, fraction)

            try:
                await asyncio.to_thread(
                    ensure, model, store, progress=progress, timeout_s=settings.engine.fetch_timeout_s
                )
            except _Interrupted:
                return


def _shower(screen: Screen) -> Callable[[ChildStatus], None]:
    """Show each new state once."""
    shown: dict[str, str] = {}

    def show(status: ChildStatus) -> None:
        if shown.get(status.name) != status.state:
            shown[status.name] = status.state
            screen.state(status.name, f"{status.state} {status.message}".strip())

    return show


async def _greet_when_ready(
    settings: Settings, supervisor: Supervisor, screen: Screen, gateways: list[GatewayChild], *, first_start: bool
) -> None:
    await supervisor.ready.wait()
    key_file = settings.data.admin_key_file
    key = key_file.read_text().strip() if key_file.exists() else "YOUR_KEY"

    url = f"http://{reachable(settings.server.host, settings.server.port)}"
    screen.greeting(base_url=f"{url}/v1", key_file=key_file, admin_key=key if first_start else None)
    if len(gateways) > 1:
        together = settings.redis.url is not None
        screen.gateways({one.name: one.probes for one in gateways}, counted_together=together)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One `podium up` at a time on a data folder."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OperatorError(
                f"Podium runs on {path.parent} already.", hint="Stop it, or choose another folder with --data-dir."
            ) from error
        yield
