"""A process that serves one GGUF model with llama.cpp's own HTTP server, on the loopback interface."""

import http.client
import json
import logging
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from podium.core.errors import OperatorError
from podium.engine.settings import EngineSettings

__all__ = ["serve_llama"]

_LOG = logging.getLogger(__name__)
_ERRORS_ONLY = 1  # llama.cpp's verbosity
_ENDING = frozenset({signal.SIGTERM, signal.SIGINT})
_IDLE_POLL_S = 0.05


def serve_llama(
    name: str,
    weights: Path,
    *,
    adapters: Sequence[tuple[Path, float]] = (),
    port: int,
    api_key: str,
    settings: EngineSettings,
) -> int:
    """Serve the GGUF file `weights` under `name`, LoRA `adapters` with their scales over it.

    Until SIGTERM or SIGINT, then finish what runs; 0. Blocks; call it on the main thread.
    """
    import xllamacpp  # noqa: PLC0415 - heavy, and only this worker needs it

    # Waited for, not handled: a handler that sets an event hangs for ever when a second signal comes meanwhile.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # here, so that no thread of llama.cpp takes one
    params = _parameters(xllamacpp, name, weights, port=port, api_key=api_key, settings=settings)
    params.lora_adapters = [_adapter(xllamacpp, path, scale) for path, scale in adapters]
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise OperatorError(
            f"llama.cpp could not serve {name} on port {port}: {error}",
            hint="Is the port free, and is there enough memory for the model and `engine.context_tokens`?",
        ) from error
    _LOG.info("serving %s on 127.0.0.1:%d", name, port)
    signal.sigwait(_ENDING)
    _drain(port, api_key, settings.drain_timeout_s)
    del server  # stops the HTTP server and joins its threads
    return 0


def _adapter(xllamacpp: Any, path: Path, scale: float) -> Any:
    adapter = xllamacpp.CommonAdapterLoraInfo()
    adapter.path, adapter.scale = str(path), scale
    return adapter


def _parameters(xllamacpp: Any, name: str, weights: Path, *, port: int, api_key: str, settings: EngineSettings) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {name}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.api_keys = [api_key]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.thread_count()
    # Between two steps the threads sleep: spinning wins nothing here and takes the core from the gateway.
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    # A long prompt is computed in pieces of this size, and running answers go on between them.
    params.n_batch = params.n_ubatch = settings.prompt_batch_tokens
    # Each slot has its own share of the context. Shared context would let one long chat fail all others.
    params.kv_unified = False
    params.n_parallel = settings.parallel_slots
    params.n_ctx = settings.context_tokens
    params.cont_batching = True
    params.cache_prompt = True
    params.cache_ram_mib = settings.prompt_cache_mib
    params.use_jinja = True
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.offline = True  # never look for a model on a hub
    params.ui = False
    params.verbosity = _ERRORS_ONLY
    return params


def _drain(port: int, api_key: str, timeout_s: float) -> None:
    """Wait until no slot computes; the gateway has stopped sending by now."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and _busy(port, api_key):
        time.sleep(_IDLE_POLL_S)


def _busy(port: int, api_key: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
    with suppress(OSError, http.client.HTTPException, ValueError):
        connection.request("GET", "/slots", headers={"authorization": f"Bearer {api_key}"})
        return any(slot["is_processing"] for slot in json.loads(connection.getresponse().read()))
    connection.close()
    return False
