"""A million keys and ten thousand models against ten: what a request costs, and what a gateway needs to know them."""

import http.client

from harness.contestants.base import Contestant, Running, running
from harness.contestants.podium_scale import PodiumFewKeys
from harness.lab import Lab, Loads
from harness.load.scripts import SUBJECT_MODEL, Subjects, subject_key
from harness.machine import WatchReading, memory_mb, peak_mb
from harness.metrics.base import START_S, Outcome, check_answer, failures, made_for, served_by_mock
from harness.processes import BenchError
from harness.request import COMPLETION, chat_request, post

__all__ = ["ManyKeys"]

_SETTLED_WITHIN_S = 120.0
_TEN = 10


class ManyKeys:
    """wrk, each request with another key and model: drawn from all that there are, and from ten of them."""

    name = "keys"
    rounds = 3

    def lasts_s(self, loads: Loads) -> float:
        return 2 * loads.keys_s + loads.warm_s + 8 * START_S  # of two contestants one is ready at once

    def takes(self, contestant: Contestant) -> bool:
        return made_for(contestant, self.name)

    def measure(self, lab: Lab, contestant: Contestant, number: int) -> Outcome:
        assert isinstance(contestant, PodiumFewKeys)
        values: dict[str, float] = {}
        problems: tuple[str, ...] = ()
        readings: dict[str, WatchReading] = {}
        ways = {"all": (contestant.keys, contestant.models), "ten": (_TEN, _TEN)}
        with lab.json_mock(), running(contestant, lab.place) as gateway:
            contestant.wait_until_settled(lab.place, _SETTLED_WITHIN_S)
            check_answer(gateway)
            _check_last(gateway, contestant)
            request = chat_request(lab.place.port, contestant.headers())
            warm = Subjects(*ways["all"], seed=0)
            lab.wrk(request, seconds=max(1, round(lab.loads.warm_s)), subjects=warm)
            for name in ways if number % 2 else reversed(ways):
                served, watch = served_by_mock(lab), lab.watch(gateway)
                result = lab.wrk(request, seconds=lab.loads.keys_s, subjects=Subjects(*ways[name], seed=number))
                readings[name] = watch.read()
                relayed = served_by_mock(lab) - served
                problems += failures(result.failed, result.answered + result.failed, f"requests failed ({name})")
                problems += failures(
                    max(result.answered - relayed, 0), result.answered, f"answers not from the provider ({name})"
                )
                values[f"{name}_per_s"] = result.answered / result.seconds
                values[f"{name}_cpu_us"] = readings[name].gateway_cpu_s / max(result.answered, 1) * 1e6
                values[f"{name}_p99_ms"] = result.p99_ms
            values["memory_mb"] = memory_mb(gateway.gateway.pid)
            values["peak_mb"] = peak_mb(gateway.gateway.pid)
            values["control_mb"] = sum(map(memory_mb, gateway.side_pids))
            values["ready_s"] = gateway.ready_s
        return Outcome(values, problems, readings["all"])


def _check_last(running: Running, contestant: PodiumFewKeys) -> None:
    """The last key can use the last model; a key after the last is refused."""
    number, model = contestant.keys - 1, SUBJECT_MODEL % (contestant.models - 1)
    status, body = _post(running, number, model)
    if status != 200 or body != COMPLETION.encode():
        raise BenchError(f"{contestant.name}: the last key and model get {status} {body[:300]!r}")
    status, _ = _post(running, contestant.keys, model)
    if status != 401:
        raise BenchError(f"{contestant.name}: a key that does not exist got {status}, not 401")


def _post(running: Running, number: int, model: str) -> tuple[int, bytes]:
    request = chat_request(running.place.port, {"Authorization": f"Bearer {subject_key(number)}"}, model=model)
    try:
        return post(request)
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"a single call failed: {error!r}") from error
