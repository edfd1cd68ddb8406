"""Files that only their owner reads, made whole or not at all."""

import os
from pathlib import Path

from podium.core.errors import OperatorError
from podium.core.ids import random_token

__all__ = ["create_private_file", "read_private_file", "replace_private_file"]

_MAX_BYTES = 4096


def create_private_file(path: Path, text: str) -> bool:
    """Make `path` with mode 0600; False when it exists already, whoever made it and however recently."""
    temporary = _written_beside(path, text)
    try:
        path.hardlink_to(temporary)  # refuses an existing name, in one step
    except FileExistsError:
        return False
    except OSError:
        # A file system without hard links: the name is still taken by one only, but not together with the content.
        return _create_in_place(path, text)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def replace_private_file(path: Path, text: str) -> None:
    """Make or replace `path`, mode 0600; a reader sees the old text or the new one."""
    _written_beside(path, text).replace(path)
    _sync_folder(path.parent)


def read_private_file(path: Path) -> str | None:
    """The text without surrounding white space; None: there is no such file. OperatorError: it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"{path} cannot be read: {error}", hint="check its owner, mode and content") from error


def _written_beside(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.name}.{random_token(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(temporary, text)
    except OSError as error:
        raise OperatorError(
            f"{path.parent} cannot be written: {error.strerror}", hint="choose another folder with --data-dir"
        ) from error
    return temporary


def _create_in_place(path: Path, text: str) -> bool:
    try:
        _create(path, text)
    except FileExistsError:
        return False
    return True


def _create(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode("ascii") + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
