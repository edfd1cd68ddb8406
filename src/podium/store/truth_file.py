"""What is known to be spent of budgets, as sealed bytes in a file of the data folder or a row of the database.

magic 8 · HMAC-SHA256 of the body 32 · body (msgpack of podium.economics.budgets.truth.BudgetTruth)
"""

import asyncio
import contextlib
import hmac
import os
import tempfile
from pathlib import Path

import msgspec

from podium.core.errors import OperatorError
from podium.economics.budgets.truth import BudgetTruth

__all__ = ["TruthFile", "opened_truth", "sealed_truth"]

_MAGIC = b"PODIUMB1"
_HEAD = 40
_decode = msgspec.msgpack.Decoder(BudgetTruth).decode


def sealed_truth(truth: BudgetTruth, key: bytes) -> bytes:
    """The reading as bytes that only holders of `key` can make."""
    body = msgspec.msgpack.encode(truth)
    return _MAGIC + hmac.digest(key, body, "sha256") + body


def opened_truth(data: bytes, key: bytes) -> BudgetTruth:
    """The reading in `data`. OperatorError: it is damaged, of another version, or was not sealed with `key`."""
    body = data[_HEAD:]
    if not data.startswith(_MAGIC) or not hmac.compare_digest(data[8:_HEAD], hmac.digest(key, body, "sha256")):
        raise OperatorError("what is known of budgets is damaged, or was sealed with another secret.key")
    try:
        return _decode(body)
    except msgspec.DecodeError as error:
        raise OperatorError(f"what is known of budgets does not fit this Podium ({error})") from error


class TruthFile:
    """One file that control replaces whole, and gateways of the data folder read."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._key = key

    async def stamp(self) -> object | None:
        """Changes with each publication; None when there is none."""
        try:
            stat = await asyncio.to_thread(self._path.stat)
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino

    async def read(self) -> BudgetTruth:
        """The last reading. OperatorError: it cannot be used."""
        try:
            return await asyncio.to_thread(lambda: opened_truth(self._path.read_bytes(), self._key))
        except OSError as error:
            raise OperatorError(f"{self._path} cannot be read: {error.strerror or error}") from error

    async def publish(self, truth: BudgetTruth) -> None:
        """Replace what is published. OperatorError: it cannot be written."""
        try:
            await asyncio.to_thread(lambda: self._write(sealed_truth(truth, self._key)))
        except OSError as error:
            raise OperatorError(f"{self._path} cannot be written: {error.strerror or error}") from error

    def _write(self, data: bytes) -> None:
        descriptor, name = tempfile.mkstemp(prefix=f"{self._path.name}.", suffix=".tmp", dir=self._path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(name).replace(self._path)  # not synced: after a power cut it is written anew, or found damaged
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
