"""A worker process: one model."""

from podium.app.process import prepare_data_folder, worker_key
from podium.config import Settings
from podium.control.bootstrap import ensure_root_secret
from podium.engine.worker import serve_worker
from podium.telemetry.logging import configure_logging

__all__ = ["run"]


def run(settings: Settings, model: str, port: int) -> int:
    """Serve the model on 127.0.0.1 until SIGTERM."""
    configure_logging(settings.telemetry)
    prepare_data_folder(settings.data.path)
    key = worker_key(ensure_root_secret(settings.data))
    return serve_worker(model, port=port, api_key=key, data=settings.data, settings=settings.engine)
