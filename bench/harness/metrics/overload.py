"""Ten times as much as a pool can do: what it still does, for how long the served wait, how soon the others know."""

from harness.contestants.base import Contestant, running
from harness.contestants.podium_scale import OVERLOAD_MODELS, POOL_PLACES, SERVICE_MS
from harness.lab import Lab, Loads
from harness.load.flood import FloodJob, FloodResult
from harness.metrics.base import START_S, Outcome, check_answer, failures, made_for
from harness.processes import BenchError
from harness.request import COMPLETION, chat_request

__all__ = ["Overload"]

_CAPACITY_PER_S = POOL_PLACES / SERVICE_MS * 1e3
_CALM, _FLOOD = 0.5, 10.0  # of the capacity


class Overload:
    """Open loop towards one narrow provider, first at half of its capacity, then at ten times; for each setting."""

    name = "overload"
    rounds = 3

    def lasts_s(self, loads: Loads) -> float:
        each = 2 * loads.overload_warm_s + loads.overload_calm_s + loads.overload_s + 1.5
        return len(OVERLOAD_MODELS) * each + START_S

    def takes(self, contestant: Contestant) -> bool:
        return made_for(contestant, self.name)

    def measure(self, lab: Lab, contestant: Contestant, number: int) -> Outcome:  # noqa: ARG002 - rounds are alike
        loads = lab.loads
        values: dict[str, float] = {}
        problems: tuple[str, ...] = ()
        with (
            lab.narrow_mock(places=POOL_PLACES, service_ms=SERVICE_MS),
            running(contestant, lab.place) as gateway,
        ):
            for name in OVERLOAD_MODELS:
                check_answer(gateway, name)
            watch = lab.watch(gateway)
            for name in OVERLOAD_MODELS:
                calm = _load(lab, contestant, name, _CALM, loads.overload_calm_s)
                flood = _load(lab, contestant, name, _FLOOD, loads.overload_s)
                for what, result in (("calm", calm), ("flooded", flood)):
                    problems += failures(result.failed, result.sent, f"requests failed ({name}, {what})")
                    problems += failures(result.untimed, result.told, f"refusals without Retry-After ({name}, {what})")
                values |= _values(name, calm, flood)
            reading = watch.read()
        return Outcome(values, problems, reading)


def _load(lab: Lab, contestant: Contestant, model: str, share: float, seconds: float) -> FloodResult:
    job = FloodJob(
        request=chat_request(lab.place.port, contestant.headers(), model=model),
        expect=COMPLETION,
        per_s=share * _CAPACITY_PER_S,
        warm_s=lab.loads.overload_warm_s,
        seconds=seconds,
    )
    return lab.generate("flood", job, FloodResult, limit_s=lab.loads.overload_warm_s + seconds + 60)


def _values(name: str, calm: FloodResult, flood: FloodResult) -> dict[str, float]:
    if calm.served_p99_ms is None:
        raise BenchError(f"{name}: nobody was served: {calm.statuses}")
    values = {
        f"{name}_goodput": flood.served_per_s / _CAPACITY_PER_S,
        f"{name}_calm_told_percent": 100 * calm.told / max(calm.sent, 1),
        f"{name}_calm_p99_ms": calm.served_p99_ms,
        f"{name}_late_ms": flood.late_ms,
    }
    if flood.served_p99_ms is not None:
        values[f"{name}_p99_ms"] = flood.served_p99_ms
        values[f"{name}_p99_ratio"] = flood.served_p99_ms / calm.served_p99_ms
    if flood.told_p50_ms is not None and flood.told_p99_ms is not None and flood.told_worst_ms is not None:
        values |= {
            f"{name}_told_p50_ms": flood.told_p50_ms,
            f"{name}_told_p99_ms": flood.told_p99_ms,
            f"{name}_told_worst_ms": flood.told_worst_ms,
        }
    return values
