"""How long choosing among 1,000 backends takes, for each strategy. No load, no network: the gateway's own code."""

from harness.contestants.base import Contestant
from harness.lab import Lab, Loads
from harness.load.choices import ChoicesJob, ChoicesResult
from harness.metrics.base import START_S, Outcome

__all__ = ["Choice"]

_BACKENDS = 1000


class Choice:
    name = "choice"
    rounds = 3

    def lasts_s(self, loads: Loads) -> float:
        return loads.choices * 7 * 6 * 10e-6 + START_S

    def takes(self, contestant: Contestant) -> bool:
        return contestant.name == "podium"

    def measure(self, lab: Lab, contestant: Contestant, number: int) -> Outcome:  # noqa: ARG002 - there is nothing to start
        job = ChoicesJob(backends=_BACKENDS, choices=lab.loads.choices, seed=number, core=lab.place.gateway_core)
        result = lab.generate("choices", job, ChoicesResult, limit_s=120)
        return Outcome({f"{name}_us": one for name, one in result.microseconds.items()})
