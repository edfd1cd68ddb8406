"""Control and gateways as processes apart, with the stores that they share: a real Podium in its large form.

`Site.control` is an `Installation` as any other: `site.control.start("up")` runs everything of it together, too.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from podium.testing.ports import free_port
from podium.testing.processes import Installation, PodiumProcess

__all__ = ["INPUT_NANOUSD", "OUTPUT_NANOUSD", "Site", "stores_environment"]

# What a token of a declared model costs; a thousandth of it in dollars is what a million of them do.
INPUT_NANOUSD, OUTPUT_NANOUSD = 150, 600

_PATIENCE_S = 40.0
_POLL_S = 0.02


def stores_environment(*, database_url: str = "", redis_url: str = "") -> dict[str, str]:
    """What tells Podium where its stores are; those that are empty are left out."""
    named = {"PODIUM_DATABASE_URL": database_url, "PODIUM_REDIS_URL": redis_url}
    return {name: url for name, url in named.items() if url}


class Site:
    """One data folder, one admin port, and a port for each gateway; nothing runs until it is started."""

    def __init__(
        self,
        folder: Path,
        *,
        gateways: int = 1,
        database_url: str = "",
        redis_url: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        shared = stores_environment(database_url=database_url, redis_url=redis_url) | dict(environment or {})
        self.control = Installation(folder, extra_environment=shared)
        self.gateways = tuple(
            replace(self.control, port=free_port(), extra_environment=shared | {"PODIUM_GATEWAY_NAME": f"gateway-{n}"})
            for n in range(1, gateways + 1)
        )

    @property
    def admin_url(self) -> str:
        """The admin API's base URL."""
        return f"http://127.0.0.1:{self.control.admin_port}"

    @contextmanager
    def running_control(self, *, until_published: bool = True) -> Iterator[PodiumProcess]:
        """A control process until the block ends; entered when a snapshot is there, or when it answers at all."""
        data = self.control.data
        with self.start_control() as process:
            if until_published:
                self.control.wait_for((data / "snapshot.bin").exists, process, timeout_s=_PATIENCE_S)
            self.control.wait_for(
                lambda: self.admin_status("/healthz") == httpx.codes.OK, process, timeout_s=_PATIENCE_S
            )
            yield process

    def start_control(self) -> PodiumProcess:
        """A control process that need not have come anywhere yet."""
        return self._start(self.control, "control")

    @contextmanager
    def running_gateway(self, number: int = 0) -> Iterator[PodiumProcess]:
        """One of the gateways until the block ends; entered when its readiness is green."""
        with self.start_gateway(number) as process:
            self.gateways[number].wait_ready(process, timeout_s=_PATIENCE_S)
            yield process

    def start_gateway(self, number: int = 0) -> PodiumProcess:
        """One of the gateways, which need not serve yet."""
        return self._start(self.gateways[number], "gateway", f"-{number + 1}")

    def admin_status(self, path: str) -> int:
        """The status of a GET at the admin API, with the admin key once there is one; 0 when nobody answers."""
        return self.admin("GET", path)[0]

    def admin(self, method: str, path: str, body: object = None, *, timeout_s: float = 30.0) -> tuple[int, str]:
        """Status and text of an answer of the admin API; 0 when there is none."""
        key_file = self.control.data / "admin.key"
        headers = {"authorization": f"Bearer {key_file.read_text().strip()}"} if key_file.exists() else {}
        try:
            answer = httpx.request(
                method, f"{self.admin_url}{path}", json=body, headers=headers, timeout=timeout_s, trust_env=False
            )
        except httpx.TransportError:
            return 0, ""
        return answer.status_code, answer.text

    def declare(self, *documents: dict[str, Any]) -> None:
        """Apply resources, `{"kind": ..., "name": ..., "spec": ...}` each; AssertionError when they are refused."""
        status, text = self.admin("POST", "/admin/v1/apply", list(documents))
        if status != httpx.codes.OK:
            raise AssertionError(f"apply: {status} {text}")

    def declare_model(self, upstream_url: str, *documents: dict[str, Any], model: str = "m") -> None:
        """Apply a model with one provider and a price, and what else there is; it is served within two seconds."""
        price = {
            "input_usd_per_million": str(INPUT_NANOUSD / 1000),
            "output_usd_per_million": str(OUTPUT_NANOUSD / 1000),
        }
        backend = {"provider": model, "model": "scripted"}
        self.declare(
            {"kind": "Provider", "name": model, "spec": {"protocol": "openai", "base_url": upstream_url}},
            {"kind": "Version", "name": f"{model}-1", "spec": {"backends": [backend]}},
            {"kind": "Model", "name": model, "spec": {"version": f"{model}-1", "endpoints": ["chat.completions"]}},
            {"kind": "Price", "name": model, "spec": {"provider": model, "model": "*", **price}},
            *documents,
        )

    def new_key(self, name: str, **fields: object) -> tuple[str, str]:
        """The id and the text of a key of the default tenant, once every running gateway knows it."""
        status, text = self.admin("POST", "/admin/v1/keys", {"tenant": "default", "name": name, **fields})
        if status != httpx.codes.CREATED:
            raise AssertionError(f"keys: {status} {text}")
        made = json.loads(text)
        deadline = time.monotonic() + _PATIENCE_S
        while not {self.status_of("", made["api_key"], n) for n in range(len(self.gateways))} <= {0, httpx.codes.OK}:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no gateway knows the key after {_PATIENCE_S} s")
            time.sleep(_POLL_S)
        return made["key"]["id"], made["api_key"]

    def status_of(self, model: str, key: str, number: int = 0) -> int:
        """What a gateway answers to a look-up of a model, or without one of all models; 0 when nobody does."""
        headers = {"authorization": f"Bearer {key}"}
        try:
            url = f"{self.gateways[number].url}/models{model and f'/{model}'}"
            return httpx.get(url, headers=headers, timeout=5, trust_env=False).status_code
        except httpx.TransportError:
            return 0

    def metric(self, name: str, number: int = 0) -> float:
        """A gateway's metric that has no labels; -1.0 while it does not tell."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self.gateways[number].port}/metrics", timeout=5, trust_env=False).text
        except httpx.TransportError:
            return -1.0
        lines = (line.split() for line in text.splitlines())
        return next((float(words[1]) for words in lines if words[:1] == [name]), -1.0)

    def _start(self, installation: Installation, command: str, suffix: str = "") -> PodiumProcess:
        folder = installation.folder
        folder.mkdir(parents=True, exist_ok=True)
        return PodiumProcess((command,), installation.environment(), folder / f"{command}{suffix}.log", folder)
