"""A worker process: one model."""

from podium.app.process import prepare_data_folder, root_secret, worker_key
from podium.config import Settings
from podium.engine.worker import serve_worker
from podium.telemetry.logging import configure_logging

__all__ = ["run"]


def run(settings: Settings, model: str, port: int) -> int:
    """Serve the model on 127.0.0.1 until SIGTERM."""
    configure_logging(settings.telemetry)
    prepare_data_folder(settings.data.path)
    key = worker_key(root_secret(settings))
    return serve_worker(model, port=port, api_key=key, data=settings.data, settings=settings.engine)
