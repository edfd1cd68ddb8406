"""The engine's part of `podium up`: workers of registered versions, as the snapshot names them."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import structlog

from podium.app.process import worker_key
from podium.config import Settings, child_environment
from podium.core.errors import OperatorError
from podium.engine.child import ChildSpec
from podium.engine.child_log import LogRotation
from podium.engine.child_states import Backoff
from podium.engine.door import open_door
from podium.engine.loadable import Loadable, loadables_of, write_loadable
from podium.engine.readiness import call_succeeds
from podium.engine.weights_store import WeightsStore
from podium.engine.workers import Workers
from podium.identity.keys import derive_secret
from podium.store.snapshot_store import SnapshotStore

__all__ = ["running_engine"]

log = structlog.get_logger("podium.engine")

_LOOK_EVERY_S = 0.5
_SLACK_S = 10.0  # for what a worker does after its own drain
_FIRST_ATTEMPTS = 3
_NOT_IN_FILE_NAMES = re.compile(r"[^A-Za-z0-9._@-]+")


@asynccontextmanager
async def running_engine(settings: Settings, root: bytes) -> AsyncIterator[str]:
    """While open, workers come and go; the address at which gateways hear of them. At the end all are stopped."""
    engine, key = settings.engine, worker_key(root)
    processes = _Processes(settings, key)
    workers = Workers(
        budget_mib=engine.memory_budget(),
        hang_timeout_s=engine.hang_timeout_s,
        fair_wait_s=engine.fair_wait_s,
        min_stay_s=engine.min_stay_s,
        files_at=processes.files_at,
        process_of=processes.process_of,
        backoff=Backoff(
            engine.restart_backoff_min_s, engine.restart_backoff_max_s, engine.restart_stable_s, _FIRST_ATTEMPTS
        ),
        log_rotation=LogRotation(engine.log_file_bytes, engine.log_files_kept),
    )
    stop = asyncio.Event()
    async with open_door(workers, key) as address, asyncio.TaskGroup() as group:
        group.create_task(workers.run(stop), name="workers")
        following = group.create_task(_follow(settings, root, workers), name="workers' snapshot")
        try:
            yield address
        finally:
            following.cancel()
            stop.set()


async def _follow(settings: Settings, root: bytes, workers: Workers) -> None:
    """Look at the data folder's snapshot, which gateways of this machine keep current also where a database has it."""
    store = SnapshotStore(settings.data.snapshot_file, derive_secret(root, "snapshot"))
    seen: object = None
    while True:
        try:
            stamp = await store.stamp()
            if stamp is not None and stamp != seen:
                workers.want(loadables_of(await store.read()))
                seen = stamp
        except OperatorError as error:
            log.warning("snapshot_unreadable", error=error.message, hint=error.hint)
        await asyncio.sleep(_LOOK_EVERY_S)


class _Processes:
    """How a worker is run on this machine."""

    def __init__(self, settings: Settings, key: str) -> None:
        self._settings = settings
        self._key = key
        self._environment = child_environment(settings, os.environ)
        self._store = WeightsStore(settings.engine.store_folder(settings.data), settings.engine)

    def files_at(self, loadable: Loadable) -> tuple[int, ...]:
        """When each of its folders appeared; () when one is not here."""
        try:
            return tuple(self._store.path_of(one).stat().st_mtime_ns for one in loadable.all_weights)
        except OSError:
            return ()

    def process_of(self, loadable: Loadable, port: int) -> ChildSpec:
        """`podium worker`, which finds what to load in the data folder."""
        data, engine = self._settings.data, self._settings.engine
        write_loadable(data, loadable)
        url = f"http://127.0.0.1:{port}"

        async def warm_up() -> bool:
            path, body = _first_call(loadable)
            return await call_succeeds(f"{url}{path}", body, bearer=self._key)

        return ChildSpec(
            name=f"worker {loadable.name}",
            argv=(sys.executable, "-m", "podium", "worker", loadable.name, "--port", str(port)),
            environment=self._environment,
            log_file=data.logs / f"worker-{_NOT_IN_FILE_NAMES.sub('-', loadable.name)}.log",
            ready_url=f"{url}/health",
            ready_timeout_s=engine.load_timeout_s,
            drain_timeout_s=engine.drain_timeout_s + _SLACK_S,
            orphan_signal=signal.SIGTERM,
            warm_up=warm_up,
        )


def _first_call(loadable: Loadable) -> tuple[str, bytes]:
    """The smallest real call that shows that the model computes."""
    if loadable.weights.format == "onnx":
        return "/v1/embeddings", msgspec.json.encode({"model": loadable.name, "input": "Hello"})
    return "/v1/completions", msgspec.json.encode({"model": loadable.name, "prompt": "Hello", "max_tokens": 1})
