"""What every process does alike."""

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
import uvloop

from podium.config import Settings
from podium.control.bootstrap import ensure_root_secret
from podium.core.errors import OperatorError
from podium.identity.keys import derive_secret

__all__ = [
    "check_free",
    "gateway_token",
    "prepare_data_folder",
    "root_secret",
    "run_until_stopped",
    "steadily",
    "worker_key",
]

_log = structlog.get_logger(__name__)

_RESTART_S = 1.0


def run_until_stopped(serve: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    """Run `serve` on a new loop; its event is set by SIGTERM and SIGINT. Returns the exit code."""

    async def main() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        return await serve(stop)

    return uvloop.run(main())


async def steadily(duty: Callable[[], Awaitable[None]]) -> None:
    """Run a duty that goes on for as long as the process; start it anew when it breaks."""
    while True:
        try:
            await duty()
        except Exception:  # noqa: BLE001 - the task boundary: a bug in one duty must not end what serves beside it
            _log.exception("a duty broke; it starts anew", duty=getattr(duty, "__qualname__", repr(duty)))
            await asyncio.sleep(_RESTART_S)
        else:
            return


def prepare_data_folder(path: Path) -> None:
    """Make the data folder, for its owner alone; OperatorError when it cannot be used."""
    hint = "Choose another with --data-dir or PODIUM_HOME."
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OperatorError(f"The data folder {path} cannot be written: {error.strerror}.", hint=hint) from error


def root_secret(settings: Settings) -> bytes:
    """The 32 bytes that are set, or those of the data folder, made at the first start. OperatorError: no such file."""
    given = settings.identity.root_secret
    return bytes.fromhex(given) if given is not None else ensure_root_secret(settings.data)


def check_free(host: str, port: int, option: str) -> None:
    """OperatorError when nothing can listen there; `option` is the one to choose another port with."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OperatorError(
                f"Port {port} on {host} cannot be used: {error.strerror}.",
                hint=f"Stop what uses it, or choose another with {option}.",
            ) from error


def gateway_token(root: bytes) -> str:
    """What a gateway proves itself with when it asks control."""
    return derive_secret(root, "gateways").hex()


def worker_key(root: bytes) -> str:
    """The bearer key between gateways and this machine's workers."""
    return derive_secret(root, "worker").hex()
