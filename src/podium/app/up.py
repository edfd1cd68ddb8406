"""`podium up`: everything on this machine, started, watched and stopped together."""

import asyncio
import contextlib
import fcntl
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from podium.app.process import check_free, prepare_data_folder, run_until_stopped
from podium.app.screen import Screen
from podium.config import Settings, child_environment
from podium.control.bootstrap import ensure_root_secret
from podium.core.errors import OperatorError
from podium.engine.catalogue import CATALOGUE
from podium.engine.child_log import LogRotation
from podium.engine.child_states import Backoff
from podium.engine.model_store import ensure
from podium.engine.package_fetch import Stage
from podium.engine.supervisor import ChildSpec, ChildStatus, Supervisor
from podium.telemetry.logging import configure_logging

__all__ = ["run"]

_SLACK_S = 10.0  # for what a process does after its own drain: flush, close, exit


def run(settings: Settings) -> int:
    """Run control, gateway and a worker for each built-in model until SIGTERM or SIGINT."""
    configure_logging(settings.telemetry)
    data = settings.data
    prepare_data_folder(data.path)
    with _locked(data.lock_file):
        ensure_root_secret(data)
        first_start = not data.admin_key_file.exists()
        check_free(settings.server.host, settings.server.port, "--port")
        check_free(settings.admin.host, settings.admin.port, "--admin-port")
        screen = Screen(sys.stdout)
        return run_until_stopped(lambda stop: _serve(settings, stop, screen, first_start=first_start))


async def _serve(settings: Settings, stop: asyncio.Event, screen: Screen, *, first_start: bool) -> int:
    await _fetch_models(settings, stop, screen)
    if stop.is_set():
        return 0
    engine = settings.engine
    supervisor = Supervisor(
        _children(settings),
        backoff=Backoff(engine.restart_backoff_min_s, engine.restart_backoff_max_s, engine.restart_stable_s),
        log_rotation=LogRotation(engine.log_file_bytes, engine.log_files_kept),
        on_change=_shower(screen),
    )
    failure: OperatorError | None = None
    async with asyncio.TaskGroup() as group:
        greeting = group.create_task(_greet_when_ready(settings, supervisor, screen, first_start=first_start))
        try:
            await supervisor.run(stop)
        except OperatorError as error:
            failure = error
        greeting.cancel()
    if failure is not None:
        raise failure
    return 0


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


def _children(settings: Settings) -> list[ChildSpec]:
    ports = _free_ports(len(CATALOGUE))
    urls = {name: f"http://127.0.0.1:{port}" for name, port in zip(CATALOGUE, ports, strict=True)}
    environment = child_environment(settings, os.environ) | {"PODIUM_WORKERS": msgspec.json.encode(urls).decode()}
    logs = settings.data.logs

    def child(name: str, *arguments: str, url: str, rank: int, drain_timeout_s: float) -> ChildSpec:
        return ChildSpec(
            name=name,
            argv=(sys.executable, "-m", "podium", *arguments),
            environment=environment,
            log_file=logs / f"{name}.log",
            ready_url=url,
            rank=rank,
            ready_timeout_s=settings.engine.load_timeout_s,
            drain_timeout_s=drain_timeout_s + _SLACK_S,
        )

    gateway_url = f"http://{_reachable(settings.server.host, settings.server.port)}/readyz"
    control_url = f"http://{_reachable(settings.admin.host, settings.admin.port)}/readyz"
    engine_drain_s = settings.engine.drain_timeout_s
    # The gateway stops first: it finishes what runs and writes it down. Control is the last: it reads that up.
    return [
        child("gateway", "gateway", url=gateway_url, rank=2, drain_timeout_s=settings.server.drain_timeout_s),
        *(
            child(
                f"worker-{name}",
                "worker",
                name,
                "--port",
                str(port),
                url=f"{urls[name]}/health",
                rank=1,
                drain_timeout_s=engine_drain_s,
            )
            for name, port in zip(CATALOGUE, ports, strict=True)
        ),
        child("control", "control", url=control_url, rank=0, drain_timeout_s=_SLACK_S),
    ]


def _shower(screen: Screen) -> Callable[[ChildStatus], None]:
    """Show each new state once."""
    shown: dict[str, str] = {}

    def show(status: ChildStatus) -> None:
        if shown.get(status.name) != status.state:
            shown[status.name] = status.state
            screen.state(status.name, f"{status.state} {status.message}".strip())

    return show


async def _greet_when_ready(settings: Settings, supervisor: Supervisor, screen: Screen, *, first_start: bool) -> None:
    await supervisor.ready.wait()
    key_file = settings.data.admin_key_file
    key = key_file.read_text().strip() if key_file.exists() else "YOUR_KEY"

    url = f"http://{_reachable(settings.server.host, settings.server.port)}"
    screen.greeting(base_url=f"{url}/v1", key_file=key_file, admin_key=key if first_start else None)


def _reachable(host: str, port: int) -> str:
    """Where this machine reaches a server that listens on `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - told apart, not listened on
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody uses right now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


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
