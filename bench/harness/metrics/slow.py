"""One slow backend of four: what balancing and hedging make of it for callers."""

import http.client
import json

from harness.contestants.base import Contestant, running
from harness.contestants.podium_variants import SLOW_MODELS
from harness.lab import Lab, Loads
from harness.load.rate import RateJob, RateResult
from harness.metrics.base import START_S, Outcome, failures, made_for
from harness.processes import BenchError
from harness.request import chat_request

__all__ = ["SlowBackend"]

_PER_S = 50.0
_USUAL = "latency=200ms/500ms"  # time to first content, log-normal: its median and 99th percentile
_SLOW = f"{_USUAL},slow=2s"
_FIRST_CONTENT = r'"content":"[^"]'


class SlowBackend:
    """Streamed chats, 50 a second; each setting is a model of its own, so none knows what another has learnt."""

    name = "slow"
    rounds = 3

    def lasts_s(self, loads: Loads) -> float:
        return len(SLOW_MODELS) * (loads.slow_warm_s + loads.slow_s + 1.5) + 2 * START_S

    def takes(self, contestant: Contestant) -> bool:
        return made_for(contestant, self.name)

    def measure(self, lab: Lab, contestant: Contestant, number: int) -> Outcome:  # noqa: ARG002 - rounds are alike
        values: dict[str, float] = {}
        problems: tuple[str, ...] = ()
        slow_port = lab.place.upstream_ports[-1]
        with lab.simulators(_USUAL), running(contestant, lab.place) as gateway:
            watch = lab.watch(gateway)
            for name in SLOW_MODELS:
                _order(slow_port, _USUAL if name == "healthy" else _SLOW)
                before = [_requests(port) for port in lab.place.upstream_ports]
                result = self._ask(lab, contestant, name)
                calls = [_requests(port) - old for port, old in zip(lab.place.upstream_ports, before, strict=True)]
                problems += failures(result.failed, result.sent, f"requests failed ({name})")
                if result.p50_ms is None or result.p99_ms is None:
                    raise BenchError(f"{name}: no request was answered")
                values |= {
                    f"{name}_p50_ms": result.p50_ms,
                    f"{name}_p99_ms": result.p99_ms,
                    f"{name}_slow_percent": 100 * calls[-1] / max(sum(calls), 1),
                }
            reading = watch.read()
        values["p99_ratio"] = values["hedged_p99_ms"] / values["healthy_p99_ms"]
        return Outcome(values, problems, reading)

    @staticmethod
    def _ask(lab: Lab, contestant: Contestant, model: str) -> RateResult:
        loads = lab.loads
        job = RateJob(
            request=chat_request(lab.place.port, contestant.headers(), stream=True, model=model),
            expect="[DONE]",
            per_s=_PER_S,
            warm_s=loads.slow_warm_s,
            seconds=loads.slow_s,
            until=_FIRST_CONTENT,
        )
        return lab.generate("rate", job, RateResult, limit_s=loads.slow_warm_s + loads.slow_s + 60)


def _order(port: int, behaviour: str) -> None:
    """Tell a simulated provider how to answer from now on."""
    _simulate(port, "DELETE")
    _simulate(port, "POST", json.dumps({"behaviour": behaviour}))


def _requests(port: int) -> int:
    """How many requests a simulated provider has had."""
    return int(json.loads(_simulate(port, "GET"))["requests"])


def _simulate(port: int, method: str, body: str | None = None) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, "/simulate", body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        answer = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"the simulated provider does not answer: {error!r}") from error
    finally:
        connection.close()
    if response.status >= 400:
        raise BenchError(f"the simulated provider: {response.status} {answer[:200]!r}")
    return answer
