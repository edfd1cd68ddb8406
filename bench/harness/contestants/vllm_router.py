"""vllm-router: a router for language models in Rust, with its key check on. The peer that the aims name."""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.contestants.base import ALL_ROUNDS, Process, Side
from harness.place import BENCH, Place
from harness.processes import BenchError
from harness.request import KEY_CHECK_PATH, PEER_KEY

__all__ = ["VllmRouter"]

_VERSION = "0.1.17"
_REQUIREMENTS = BENCH / "peers" / "vllm-router.txt"
_SERVER = BENCH / "peers" / "vllm_router_server.py"


class VllmRouter:
    name = "vllm-router"
    title = "vllm-router"
    about = "router in Rust; one worker, round robin, key check on (peers/vllm_router_server.py)"
    checks_keys = True
    runs_model = False
    beside = None
    metrics = None
    rounds = ALL_ROUNDS
    ready_path = "/readiness"

    def version(self) -> str:
        return f"vllm-router {_VERSION}"

    def _environment(self, place: Place) -> Path:
        return place.tools / f"vllm-router-{_VERSION}"

    def prepare(self, place: Place) -> None:
        environment = self._environment(place)
        done = environment / "requirements.txt"  # written last: a half-made environment is made anew
        if done.exists() and done.read_bytes() == _REQUIREMENTS.read_bytes():
            return
        print(f"installing vllm-router {_VERSION} into {environment}", flush=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True, timeout=120)
            subprocess.run(
                [
                    *(str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps"),
                    *("--disable-pip-version-check", "--only-binary", ":all:"),
                    *("--require-hashes", "--requirement", str(_REQUIREMENTS)),
                ],
                check=True,
                timeout=600,
            )
        except (subprocess.SubprocessError, OSError) as error:
            raise BenchError(f"vllm-router cannot be installed: {error}") from error
        shutil.copyfile(_REQUIREMENTS, done)

    def renew(self, place: Place) -> None:
        """Nothing is kept."""

    def gateway(self, place: Place) -> Process:
        return Process(
            [
                *(str(self._environment(place) / "bin" / "python"), str(_SERVER)),
                f"{place.upstream_url}{KEY_CHECK_PATH}",
                *("--host", "127.0.0.1", "--port", str(place.port)),
                *("--worker-urls", place.upstream_url, "--policy", "round_robin"),
                *("--prometheus-host", "127.0.0.1", "--prometheus-port", str(place.side_port)),
                *("--log-level", "error"),
            ]
        )

    def sides(self, place: Place) -> Sequence[Side]:  # noqa: ARG002 - it has none
        return ()

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {PEER_KEY}"}
