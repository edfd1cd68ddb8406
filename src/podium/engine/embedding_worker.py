"""A process that serves one embedding model over HTTP, on the loopback interface."""

import asyncio
import logging
import signal
import socket
from pathlib import Path

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from podium.core.errors import OperatorError
from podium.engine.embedding_model import EmbeddingModel
from podium.engine.embedding_service import EmbeddingService
from podium.engine.settings import EngineSettings

__all__ = ["serve_embeddings"]

_LOG = logging.getLogger(__name__)
_HOST = "127.0.0.1"
_HEAD_TIMEOUT_MS = 10_000


def serve_embeddings(
    name: str, weights: Path, *, tokenizer: Path | None = None, port: int, api_key: str, settings: EngineSettings
) -> int:
    """Serve the ONNX file `weights` under `name`; its `tokenizer` None: the built-in model's.

    Until SIGTERM or SIGINT, then finish what runs; 0. Blocks; call it on the main thread.
    """
    _check_free(port, name)
    try:
        model = EmbeddingModel(weights, settings.thread_count(), tokenizer)
    except Exception as error:  # onnxruntime and tokenizers raise errors of their own, in many classes
        raise OperatorError(f"ONNX Runtime could not load {name}: {error}") from error
    service = EmbeddingService(name, model, api_key=api_key, settings=settings)
    uvloop.run(_serve(service, port, settings))
    return 0


async def _serve(service: EmbeddingService, port: int, settings: EngineSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = Server(
        service,
        address=_HOST,
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=_HEAD_TIMEOUT_MS),
        websockets=False,
        log_enabled=False,
    )
    async with asyncio.TaskGroup() as group:
        computing = group.create_task(service.run(), name="embedding batches")
        serving = group.create_task(server.serve(), name="embedding server")
        stopping = group.create_task(stop.wait(), name="stop signal")
        _LOG.info("serving embeddings on %s:%d", _HOST, port)
        await asyncio.wait((computing, serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        await service.drain(settings.drain_timeout_s)
        server.stop()  # type: ignore[no-untyped-call]
        for task in (computing, stopping):
            task.cancel()


def _check_free(port: int, name: str) -> None:
    """OperatorError when the port is taken; the server itself would wait in silence."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise OperatorError(f"The worker of {name} cannot listen on port {port}: {error.strerror}.") from error
