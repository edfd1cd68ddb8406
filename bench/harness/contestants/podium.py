"""Podium with everything on: keys, scopes, limits, prices, journal, ledger, metrics, a log line per exchange."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from harness.contestants.base import ALL_ROUNDS, SIDE_READY_WITHIN_S, Process, Side
from harness.place import REPOSITORY, Place
from harness.processes import BenchError, Child, http_status, wait_for_http
from harness.request import MODEL

__all__ = ["LIMITS_AND_PRICE", "Podium", "PodiumInstallation"]

_ONE_BACKEND = f"""\
kind: Provider
name: mock
spec: {{protocol: openai, base_url: "UPSTREAM/v1", max_connections: 8192}}
---
kind: Version
name: bench-1
spec: {{backends: [{{provider: mock, model: {MODEL}}}]}}
---
kind: Model
name: {MODEL}
spec: {{version: bench-1}}
---
"""
# Limits, and below budgets, reckoned for each request and never reached. A stream holds its connection to the provider.
LIMITS_AND_PRICE = f"""\
kind: LimitPolicy
name: bench
spec:
  limits:
    - {{what: requests, amount: 100000000}}
    - {{what: tokens, amount: 100000000000}}
    - {{what: concurrency, amount: 1000000}}
---
kind: Price
name: bench
spec: {{provider: mock, model: {MODEL}, input_usd_per_million: "0.15", output_usd_per_million: "0.60"}}
"""
BUDGETS = """\
---
kind: Budget
name: bench-dollars
spec: {unit: usd, amount: 9000000, period: month, per: [tenant]}
---
kind: Budget
name: bench-tokens
spec: {unit: tokens, amount: 1000000000000, period: day, per: [key]}
"""
_COMMAND_LIMIT_S = 60.0
_PUBLISHED_WITHIN_S = 10.0


def one_backend(place: Place) -> str:
    """One model with one backend: the mock provider."""
    return _ONE_BACKEND.replace("UPSTREAM", place.upstream_url) + LIMITS_AND_PRICE


class PodiumInstallation:
    """A data folder that is declared once and copied back before each start, so that every start is alike."""

    def __init__(self, name: str, resources: Callable[[Place], str] = one_backend) -> None:
        self._name, self._resources = name, resources
        self.key = ""
        self.key_id = ""

    def data(self, place: Place) -> Path:
        """The data folder of the next start."""
        return place.folder(self._name) / "data"

    def environment(self) -> dict[str, str]:
        """No configuration file; model files are shared with `make up`."""
        models = os.environ.get("PODIUM_MODELS_DIR") or str(REPOSITORY / ".models")
        return {"PODIUM_CONFIG": os.devnull, "PODIUM_MODELS_DIR": models}

    def process(self, place: Place, *arguments: str, everywhere: bool = False) -> Process:
        """A `podium` command on the data folder."""
        folder = place.folder(self._name)
        command = [podium_command(), *arguments, "--data-dir", str(self.data(place))]
        return Process(command, self.environment(), folder, folder / f"{arguments[0]}.out", everywhere)

    def gateway(self, place: Place, *, everywhere: bool = False) -> Process:
        """The gateway; its standard output has the log of exchanges."""
        ports = ("--port", str(place.port), "--admin-port", str(place.side_port))
        return self.process(place, "gateway", *ports, everywhere=everywhere)

    def control(self, place: Place, *, everywhere: bool = False) -> Side:
        """The control process."""
        arguments = ("control", "--port", str(place.port), "--admin-port", str(place.side_port))
        process = self.process(place, *arguments, everywhere=everywhere)
        return Side(f"{self._name}-control", process, place.side_port, "/readyz")

    def command(self, place: Place, *arguments: str) -> str:
        """Run a `podium` command against the control process; what it printed."""
        command = [podium_command(), *arguments, "--data-dir", str(self.data(place))]
        done = subprocess.run(
            [*command, "--admin-port", str(place.side_port)],
            env={**os.environ, **self.environment()},
            cwd=place.folder(self._name),
            capture_output=True,
            text=True,
            timeout=_COMMAND_LIMIT_S,
            check=False,
        )
        if done.returncode != 0:
            raise BenchError(f"podium {arguments[0]} failed: {(done.stderr or done.stdout).strip()[-500:]}")
        return done.stdout

    def declare(self, place: Place) -> None:
        """Declare resources and make a key; keep the folder as it is when a gateway has served with it."""
        folder = place.folder(self._name)
        documents = folder / "resources.yaml"
        documents.write_text(self._resources(place))
        with self._start(place, self.control(place)):
            self.command(place, "apply", "--file", str(documents))
            made = json.loads(self.command(place, "keys", "create", "--tenant", "default", "--name", "bench", "--json"))
            self.key, self.key_id = made["api_key"], made["key"]["id"]
            with self._start(place, Side(self._name, self.gateway(place), place.port, "/healthz")) as gateway:
                self._wait_for_key(place, gateway)
        self._keep(place)

    def _keep(self, place: Place) -> None:
        """What is in the data folder now, without journals, is what `renew` brings back."""
        shutil.rmtree(self.data(place) / "journal", ignore_errors=True)
        shutil.rmtree(self._declared(place), ignore_errors=True)
        self.data(place).rename(self._declared(place))

    def renew(self, place: Place) -> None:
        """Bring the data folder back to what was declared."""
        folder = place.folder(self._name)
        shutil.rmtree(self.data(place), ignore_errors=True)
        for output in folder.glob("*.out"):
            output.unlink()
        shutil.copytree(self._declared(place), self.data(place))

    def headers(self) -> Mapping[str, str]:
        """What a caller sends."""
        return {"Authorization": f"Bearer {self.key}"}

    def _declared(self, place: Place) -> Path:
        return place.folder(self._name) / "declared"

    def _start(self, place: Place, side: Side) -> Child:
        process = side.process
        log = place.folder(self._name) / f"{side.name}.log"
        child = Child(
            side.name,
            process.command,
            cores={place.load_core},
            log=log,
            environment=process.environment,
            folder=process.folder,
        )
        try:
            assert side.ready_path is not None
            wait_for_http(child, side.port, side.ready_path, limit_s=SIDE_READY_WITHIN_S)
        except BaseException:
            child.stop()
            raise
        return child

    def _wait_for_key(self, place: Place, gateway: Child) -> None:
        """Wait until the snapshot on disk knows model and key."""
        deadline = time.monotonic() + _PUBLISHED_WITHIN_S
        while http_status(place.port, f"/v1/models/{MODEL}", self.headers()) != 200:
            gateway.require_alive()
            if time.monotonic() > deadline:
                raise BenchError("the gateway does not learn of key and model")
            time.sleep(0.1)


class Podium:
    name = "podium"
    title = "Podium"
    about = (
        "everything on: key, scopes, three limits, price, journal, metrics, a log line per exchange into a file;"
        " `podium control` loads the ledger on the load core"
    )
    checks_keys = True
    runs_model = False
    beside: str | None = None
    metrics: frozenset[str] | None = None
    rounds: int = ALL_ROUNDS
    ready_path = "/readyz"

    def __init__(self) -> None:
        self._installation = PodiumInstallation(self.name, self.resources)

    def resources(self, place: Place) -> str:
        """What is declared, as YAML; `MODEL` is among it."""
        return one_backend(place)

    def version(self) -> str:
        return f"Podium {version('podium')}"

    def prepare(self, place: Place) -> None:
        self._installation.declare(place)

    def renew(self, place: Place) -> None:
        self._installation.renew(place)

    def sides(self, place: Place) -> Sequence[Side]:
        return (self._installation.control(place),)

    def gateway(self, place: Place) -> Process:
        return self._installation.gateway(place)

    def headers(self) -> Mapping[str, str]:
        return self._installation.headers()

    def accounted(self, place: Place, limit_s: float, expect: int) -> int:
        """How many exchanges of the benchmark's key its ledger has (harness.contestants.base.Accounting)."""
        deadline = time.monotonic() + limit_s
        while True:
            report = json.loads(
                self._installation.command(place, "usage", "--by", "key", "--key", self._installation.key_id, "--json")
            )
            found = sum(int(row["exchanges"]) for row in report["rows"])
            if found >= expect or time.monotonic() > deadline:
                return found
            time.sleep(0.5)


def podium_command() -> str:
    """The `podium` beside this Python."""
    command = Path(sys.executable).with_name("podium")
    if not command.exists():
        raise BenchError("podium is not installed beside this Python: run `make setup`")
    return str(command)
