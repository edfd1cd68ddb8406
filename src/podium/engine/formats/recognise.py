"""What a file is, told by its bytes. Nothing in it is executed, unpickled or unpacked."""

import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from podium.core.registry import WeightsFormat
from podium.engine.formats.gguf import MAGIC as GGUF_MAGIC
from podium.engine.formats.gguf import check_gguf
from podium.engine.formats.onnx import check_onnx, looks_like_onnx
from podium.engine.formats.reader import Broken, Buffer
from podium.engine.formats.refusal import RefusedFile, Why
from podium.engine.formats.safetensors import check_safetensors, looks_like_safetensors
from podium.engine.formats.unsafe import refusal_by_bytes, refusal_by_name

__all__ = ["SAFE_SUFFIXES", "Recognised", "check_beside", "recognise"]

SAFE_SUFFIXES: dict[str, WeightsFormat] = {".gguf": "gguf", ".safetensors": "safetensors", ".onnx": "onnx"}
_TAKEN = "GGUF, safetensors and ONNX are taken."
_SHORTEST = 16  # bytes; no header of a format is shorter
_MAX_BESIDE = 64 * 1024 * 1024  # bytes; the largest tokenizers have 35 MB


@dataclass(frozen=True, slots=True)
class Recognised:
    """A weights file that is whole and safe to load."""

    format: WeightsFormat
    size: int  # bytes
    facts: dict[str, str] = field(default_factory=dict)  # a few notes of the file itself, shown to people
    beside: tuple[str, ...] = ()  # names of files in its folder that hold its data


def recognise(path: Path, name: str = "") -> Recognised:
    """What the file is; `RefusedFile` when it is not taken, with the reason. `name`: what to call it, and judge it by.

    Reads the description at the file's start, not the weights: fast for any size.
    """
    shown = name or path.name
    if refused := refusal_by_name(shown):
        raise RefusedFile(shown, *refused, hint=_TAKEN)
    with _mapped(path, shown) as buffer:
        if refused := refusal_by_bytes(buffer):
            raise RefusedFile(shown, *refused, hint=_TAKEN)
        try:
            found = _by_bytes(buffer)
        except Broken as error:
            raise RefusedFile(shown, Why.BROKEN, f"{error}.", hint="Fetch it again.") from None
    if found is None:
        raise RefusedFile(shown, Why.UNKNOWN, "its bytes are of no format that is taken.", hint=_TAKEN)
    said = SAFE_SUFFIXES.get(Path(shown).suffix.lower())
    if said is not None and said != found.format:
        raise RefusedFile(shown, Why.BROKEN, f"its name says {said}, and its bytes {found.format}.")
    for other in found.beside:
        _check_stays_inside(shown, other)
    return found


def check_beside(path: Path, name: str) -> None:
    """`RefusedFile` unless a file that goes with weights (a configuration, a tokenizer, a licence) is plain text."""
    if refused := refusal_by_name(name):
        raise RefusedFile(name, *refused, hint=_TAKEN)
    with _mapped(path, name) as buffer:
        if refused := refusal_by_bytes(buffer):
            raise RefusedFile(name, *refused, hint=_TAKEN)
        if len(buffer) > _MAX_BESIDE:
            raise RefusedFile(name, Why.UNKNOWN, f"{len(buffer)} bytes are too many for a file beside the weights.")
        try:
            bytes(buffer).decode()
        except UnicodeDecodeError:
            raise RefusedFile(name, Why.UNKNOWN, "it is no text.", hint=_TAKEN) from None


def _by_bytes(buffer: Buffer) -> Recognised | None:
    start, size = buffer[:16], len(buffer)
    if start.startswith(GGUF_MAGIC):
        return Recognised("gguf", size, check_gguf(buffer))
    if looks_like_safetensors(start):
        return Recognised("safetensors", size, check_safetensors(buffer))
    if looks_like_onnx(start):
        return Recognised("onnx", size, beside=check_onnx(buffer))
    return None


def _check_stays_inside(name: str, other: str) -> None:
    parts = other.split("/")
    if not other or "\\" in other or "\0" in other or ":" in parts[0] or any(part in ("", ".", "..") for part in parts):
        raise RefusedFile(name, Why.LEADS_OUT, f"its tensors lie in {other[:200]!r}, outside of the model's folder.")


@contextmanager
def _mapped(path: Path, name: str) -> Iterator[Buffer]:
    """The bytes of a plain file, not read into memory; `RefusedFile` when there are none."""
    try:
        # Without O_NONBLOCK a pipe under a model's name would hold us up for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise RefusedFile(name, Why.NO_FILE, f"it cannot be read: {error.strerror}.") from error
    with ExitStack() as stack:
        stack.callback(os.close, descriptor)
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise RefusedFile(name, Why.NO_FILE, "it is no plain file.")
        if about.st_size < _SHORTEST:  # an empty file cannot be mapped
            yield os.read(descriptor, _SHORTEST).ljust(_SHORTEST, b"\0")
            return
        yield stack.enter_context(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
