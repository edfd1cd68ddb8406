"""Podium without limits, with budgets, and with both shared in a Redis."""

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.contestants.base import Process, Side
from harness.contestants.podium import BUDGETS, Podium
from harness.place import Place
from harness.processes import NotThere
from podium.config import options

__all__ = ["PodiumBudgets", "PodiumRedis", "PodiumRedisLeases", "PodiumUnlimited"]

_REQUESTS = frozenset(("requests",))


class PodiumUnlimited(Podium):
    name = "podium-unlimited"
    title = "Podium, no limits"
    about = "as Podium, without limits: what they cost"
    metrics = _REQUESTS

    def resources(self, place: Place) -> str:
        documents = re.split(r"^---\n", super().resources(place), flags=re.MULTILINE)
        return "---\n".join(one for one in documents if not one.startswith(("kind: LimitPolicy\n", "kind: Budget\n")))


class PodiumBudgets(Podium):
    name = "podium-budgets"
    title = "Podium, budgets"
    about = "as Podium, with two budgets, of dollars and of tokens"
    beside = PodiumUnlimited.name
    metrics = _REQUESTS

    def resources(self, place: Place) -> str:
        return super().resources(place) + BUDGETS


class PodiumRedis(PodiumBudgets):
    name = "podium-redis"
    title = "Podium, Redis"
    about = "as podium-budgets, limits and budgets in a Redis on the load core: each decision waits for it"
    least_calls = 0.04  # many exchanges are one script, of at most 64 steps: to take and reserve, and to end each
    settings: Mapping[tuple[str, str], str] = {}

    def __init__(self) -> None:
        super().__init__()
        self._program = ""

    def prepare(self, place: Place) -> None:
        for section, name in (("redis", "url"), *self.settings):
            if (section, name) not in options():
                raise NotThere(f"this Podium has no setting `{section}.{name}`")
        self._program = _redis_program()
        super().prepare(place)

    def _with_store(self, process: Process, place: Place) -> Process:
        values = {("redis", "url"): f"redis://127.0.0.1:{place.store_port}/0", **self.settings}
        return replace(
            process,
            environment={**process.environment, **{options()[path].variable: value for path, value in values.items()}},
        )

    def sides(self, place: Place) -> Sequence[Side]:
        command = [self._program, "--port", str(place.store_port), "--bind", "127.0.0.1"]
        store = Process([*command, "--save", "", "--appendonly", "no", "--dir", str(place.folder(self.name))])
        control, *further = super().sides(place)
        return (
            Side(f"{self.name}-store", store, place.store_port, None),
            replace(control, process=self._with_store(control.process, place)),
            *further,
        )

    def gateway(self, place: Place) -> Process:
        return self._with_store(super().gateway(place), place)

    def shared(self, place: Place) -> tuple[int, float]:
        """How many scripts Redis has executed, and in which time (harness.contestants.base.Sharing)."""
        told = _ask_redis(place.store_port, "INFO commandstats")
        found = re.findall(r"cmdstat_(?:eval|evalsha|fcall):calls=(\d+),usec=(\d+)", told)
        return sum(int(calls) for calls, _ in found), sum(int(micros) for _, micros in found) / 1e6


class PodiumRedisLeases(PodiumRedis):
    name = "podium-redis-leases"
    title = "Podium, Redis, leases"
    about = "as podium-redis, with local leases of quota: most decisions need no round trip"
    least_calls = 0.0
    settings: Mapping[tuple[str, str], str] = {("redis", "quota_leases"): "true"}


def _redis_program() -> str:
    from podium.testing.redis_server import redis_program

    try:
        return redis_program()
    except (FileNotFoundError, ImportError) as error:
        raise NotThere(f"there is no redis-server or valkey-server here ({error})") from error


def _ask_redis(port: int, command: str) -> str:
    """A bulk answer of Redis, as text."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection, connection.makefile("rb") as answer:
        connection.sendall(f"{command}\r\n".encode())
        return answer.read(int(answer.readline()[1:])).decode()
