"""The checks of `podium doctor`. Each looks and changes nothing."""

import importlib.util
import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from podium.cli._check_backends import check_backends
from podium.cli._check_processes import check_control, check_gateway
from podium.cli._check_registered import check_registered
from podium.cli._check_stores import check_database, check_journals, check_models, check_shared_store, check_snapshot
from podium.cli._finding import Finding, Status, fail, ok, warn
from podium.core.errors import PodiumError

if TYPE_CHECKING:
    from podium.cli._options import Place
    from podium.config import Settings

__all__ = ["Finding", "Status", "examine"]

_OLDEST_PYTHON = (3, 11)
_MIB = 1 << 20
_LITTLE_SPACE = 1024 * _MIB
_ENOUGH_FILES = 4096
_LOCAL_MODULES = ("xllamacpp", "onnxruntime", "tokenizers", "numpy")


def examine(place: "Place", model: str | None = None, *, deep: bool = False) -> Iterator[Finding]:
    """The findings, one after the other; with a wrong configuration the rest is checked with the defaults.

    `model`: only what concerns the backends of this one. `deep`: read model files whole.
    """
    settings, finding = _check_configuration(place)
    if model is not None:
        yield finding
        yield check_gateway(settings)
        yield from check_backends(settings, model)
        return
    yield _check_python()
    yield finding
    checks: tuple[tuple[str, Callable[[Settings], Finding]], ...] = (
        ("packages", _check_packages),
        ("open files", _check_open_files),
        ("data folder", _check_data_folder),
        ("secrets", _check_secrets),
        ("disk space", _check_disk_space),
        ("models", check_models),
        ("model files", partial(check_registered, deep=deep)),
        ("database", check_database),
        ("shared store", check_shared_store),
        ("snapshot", check_snapshot),
        ("journal", check_journals),
        ("gateway", check_gateway),
        ("control", check_control),
    )
    for name, check in checks:
        try:
            yield check(settings)
        except PodiumError as error:
            yield fail(name, error.message, error.hint)
        except OSError as error:
            yield fail(name, f"{error.filename or 'a file'}: {error.strerror or error}")
    yield from check_backends(settings)


def _check_python() -> Finding:
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info[:2] < _OLDEST_PYTHON:
        return fail("python", found, "Podium needs Python 3.11 or later.")
    return ok("python", found)


def _check_configuration(place: "Place") -> "tuple[Settings, Finding]":
    from podium.config import ConfigurationError, Settings  # noqa: PLC0415 - reading settings takes time

    try:
        configuration = place.configuration()
    except ConfigurationError as error:
        return Settings(data=place.data), fail("configuration", "; ".join(error.problems), error.hint)
    source = configuration.file or "no file"
    return configuration.settings, ok("configuration", f"right ({source}, {len(configuration.origins)} settings)")


def _check_packages(_: "Settings") -> Finding:
    missing = [name for name in _LOCAL_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        return warn(
            "packages", f"local models cannot run: {', '.join(missing)} is not installed", "pip install 'podium[local]'"
        )
    return ok("packages", "local models can run")


def _check_open_files(_: "Settings") -> Finding:
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return ok("open files", "not limited here")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _ENOUGH_FILES:
        return warn(
            "open files",
            f"at most {soft} at a time, so about {soft // 2} connections",
            f"Raise the limit before the start: ulimit -n {hard if hard > soft else _ENOUGH_FILES}",
        )
    return ok("open files", f"at most {soft} at a time")


def _check_data_folder(settings: "Settings") -> Finding:
    folder = settings.data.path
    if folder.is_dir():
        if os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            return ok("data folder", f"{folder} can be written")
        return fail("data folder", f"{folder} cannot be written", "Change its owner, or name another with --data-dir.")
    if folder.exists():
        return fail("data folder", f"{folder} is not a folder", "Name another with --data-dir.")
    parent = _existing_parent(folder)
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
        return ok("data folder", f"{folder} is not there yet; the first start creates it")
    return fail(
        "data folder", f"{folder} cannot be created in {parent}", "Change its owner, or name another with --data-dir."
    )


def _check_secrets(settings: "Settings") -> Finding:
    data = settings.data
    there = [path for path in (data.secret_file, data.admin_key_file) if path.exists()]
    readable = [path for path in there if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if readable:
        names = " ".join(str(path) for path in readable)
        return fail("secrets", f"others on this machine can read {names}", f"chmod 600 {names}")
    if not data.secret_file.exists() and data.database_file.exists():
        return fail(
            "secrets",
            f"{data.secret_file} is missing, and no key works without it",
            "Put it back from a backup; with a new one all keys must be made anew.",
        )
    return ok("secrets", "only you can read them" if there else "none yet; the first start makes them")


def _check_disk_space(settings: "Settings") -> Finding:
    free = shutil.disk_usage(_existing_parent(settings.data.path)).free
    text = f"{free // _MIB:,} MiB free"
    if free < settings.journal.min_free_bytes:
        return fail("disk space", f"{text}; the gateway refuses exchanges", "Make room on this disk.")
    if free < _LITTLE_SPACE:
        return warn("disk space", text, "Make room on this disk; the models alone need 500 MiB.")
    return ok("disk space", text)


def _existing_parent(path: Path) -> Path:
    return next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
