"""Podium with all stages off, its server or its upstream transport exchanged for another: what the choice is worth."""

import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from harness.contestants.base import Process
from harness.contestants.podium_bare import PodiumBare
from harness.place import REPOSITORY, Place
from harness.processes import BenchError

__all__ = ["GranianServer", "PyreqwestTransport"]

_METRICS = frozenset(("requests", "streams"))
_ROUNDS = 3  # the choice is no aim: the differences are large


class GranianServer(PodiumBare):
    name = "podium-granian"
    title = "Podium, stages off, granian server"
    about = "podium-bare served by granian: RSGI, one worker, uvloop (alternatives/granian_server.py)"
    beside = PodiumBare.name
    metrics = _METRICS
    rounds = _ROUNDS

    def version(self) -> str:
        return f"{super().version()}, granian {version('granian')}"

    def gateway(self, place: Place) -> Process:
        process = super().gateway(place)
        return replace(process, command=[*process.command, "--server", "granian"])


class PyreqwestTransport(PodiumBare):
    """pyreqwest is of the dependency group `bench`; it is installed as the lock file says, beside the environment."""

    name = "podium-pyreqwest"
    title = "Podium, stages off, pyreqwest transport"
    about = "podium-bare calling upstream with pyreqwest: one client (alternatives/pyreqwest_transport.py)"
    beside = PodiumBare.name
    metrics = _METRICS
    rounds = _ROUNDS

    def version(self) -> str:
        return f"{super().version()}, pyreqwest {_locked('pyreqwest')[0]}"

    def _site(self, place: Place) -> Path:
        return place.tools / f"pyreqwest-{_locked('pyreqwest')[0]}"

    def prepare(self, place: Place) -> None:
        super().prepare(place)
        site = self._site(place)
        number, hashes = _locked("pyreqwest")
        requirement = " ".join([f"pyreqwest=={number}", *(f"--hash={one}" for one in hashes)]) + "\n"
        done = site / "requirements.txt"  # written last: a half-made folder is made anew
        if done.exists() and done.read_text() == requirement:
            return
        print(f"installing pyreqwest {number} into {site}", flush=True)
        shutil.rmtree(site, ignore_errors=True)
        wanted = place.folder(self.name) / "requirements.txt"
        wanted.write_text(requirement)
        try:
            subprocess.run(
                [
                    *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site)),
                    *("--disable-pip-version-check", "--only-binary", ":all:"),
                    *("--require-hashes", "--requirement", str(wanted)),
                ],
                check=True,
                timeout=120,
            )
        except (subprocess.SubprocessError, OSError) as error:
            raise BenchError(f"pyreqwest cannot be installed: {error}") from error
        shutil.copyfile(wanted, done)

    def gateway(self, place: Place) -> Process:
        process = super().gateway(place)
        return replace(
            process,
            command=[*process.command, "--transport", "pyreqwest"],
            environment={"PYTHONPATH": str(self._site(place))},
        )


def _locked(package: str) -> tuple[str, list[str]]:
    """Version and hashes of a package in the lock file."""
    lock = tomllib.loads((REPOSITORY / "uv.lock").read_text())
    for entry in lock["package"]:
        if entry["name"] == package:
            return entry["version"], [wheel["hash"] for wheel in entry["wheels"]]
    raise BenchError(f"{package} is not in uv.lock")
