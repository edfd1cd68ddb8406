"""`podium worker`: one process that serves one model, built-in or registered."""

from pathlib import Path
from typing import ClassVar

from podium.core.errors import OperatorError
from podium.core.layout import DataFolder
from podium.engine.catalogue import ModelKind, find_model
from podium.engine.child import EX_CONFIG
from podium.engine.loadable import Loadable, read_loadable
from podium.engine.model_store import ensure
from podium.engine.settings import EngineSettings
from podium.engine.weights_store import WeightsStore

__all__ = ["serve_worker"]


class _Unloadable(OperatorError):
    """A start again would change nothing."""

    exit_code: ClassVar[int] = EX_CONFIG


def serve_worker(model: str, *, port: int, api_key: str, data: DataFolder, settings: EngineSettings) -> int:
    """Serve `model` on 127.0.0.1:`port` until SIGTERM; the exit code. Blocks; call it on the main thread.

    Fetches a built-in model first when the store does not have it. `OperatorError` when it cannot be had or served.
    """
    if loadable := read_loadable(data, model):
        return _serve_registered(loadable, port, api_key, data, settings)
    entry = find_model(model)
    files = ensure(entry, settings.store_folder(data), timeout_s=settings.fetch_timeout_s)
    if entry.kind is ModelKind.CHAT:
        from podium.engine.llama_worker import serve_llama  # noqa: PLC0415 - only the kind that is asked for

        return serve_llama(model, files.weights, port=port, api_key=api_key, settings=settings)
    from podium.engine.embedding_worker import serve_embeddings  # noqa: PLC0415 - as above

    return serve_embeddings(model, files.weights, port=port, api_key=api_key, settings=settings)


def _serve_registered(loadable: Loadable, port: int, api_key: str, data: DataFolder, settings: EngineSettings) -> int:
    """Every file is hashed before anything is loaded."""
    store = WeightsStore(settings.store_folder(data), settings)
    try:
        weights, *adapters = [store.verified(one) for one in loadable.all_weights]
    except OperatorError as error:
        raise _Unloadable(error.message, hint=error.hint) from error
    if loadable.weights.format == "gguf":
        from podium.engine.llama_worker import serve_llama  # noqa: PLC0415 - only the kind that is asked for

        scaled = [(path, one.scale) for path, one in zip(adapters, loadable.adapters, strict=True)]
        return serve_llama(loadable.name, weights, adapters=scaled, port=port, api_key=api_key, settings=settings)
    if loadable.weights.format == "onnx":
        from podium.engine.embedding_worker import serve_embeddings  # noqa: PLC0415 - as above

        tokenizer = _tokenizer_of(store.path_of(loadable.weights), weights)
        return serve_embeddings(
            loadable.name, weights, tokenizer=tokenizer, port=port, api_key=api_key, settings=settings
        )
    raise _Unloadable(f"Our workers do not load {loadable.weights.format}.")


def _tokenizer_of(folder: Path, weights: Path) -> Path:
    for place in (weights.parent, folder):
        if (path := place / "tokenizer.json").is_file():
            return path
    raise _Unloadable("There is no tokenizer.json beside the ONNX model.", hint="Register the whole folder.")
