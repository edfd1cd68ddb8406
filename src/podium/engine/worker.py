"""`podium worker`: one process that serves one built-in model."""

from podium.core.layout import DataFolder
from podium.engine.catalogue import ModelKind, find_model
from podium.engine.model_store import ensure
from podium.engine.settings import EngineSettings

__all__ = ["serve_worker"]


def serve_worker(model: str, *, port: int, api_key: str, data: DataFolder, settings: EngineSettings) -> int:
    """Serve `model` on 127.0.0.1:`port` until SIGTERM; the exit code. Blocks; call it on the main thread.

    Fetches the model first when the store does not have it. `OperatorError` when it cannot be had or served.
    """
    entry = find_model(model)
    files = ensure(entry, settings.store_folder(data), timeout_s=settings.fetch_timeout_s)
    if entry.kind is ModelKind.CHAT:
        from podium.engine.llama_worker import serve_llama  # noqa: PLC0415 - only the kind that is asked for

        return serve_llama(files, port=port, api_key=api_key, settings=settings)
    from podium.engine.embedding_worker import serve_embeddings  # noqa: PLC0415 - as above

    return serve_embeddings(files, port=port, api_key=api_key, settings=settings)
