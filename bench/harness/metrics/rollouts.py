"""What rollouts, experiments and flags cost an exchange, and what a look at a large rollout costs. There is no load."""

import shutil

from harness.contestants.base import Contestant
from harness.lab import Lab, Loads
from harness.load.rollouts import RolloutsJob, RolloutsResult
from harness.metrics.base import Outcome

__all__ = ["Rollouts"]

_ROLLOUTS = 1000  # and as many flags
_EXCHANGES = 10_000_000
_OF_CHOICES = 4  # a part of them is enough
_DATABASES_S = 7.0  # until both have the sums, were looked at and are gone


class Rollouts:
    name = "rollouts"
    rounds = 2

    def lasts_s(self, loads: Loads) -> float:
        return loads.choices // _OF_CHOICES * 3 * 2 * 6 * 12e-6 + _DATABASES_S

    def takes(self, contestant: Contestant) -> bool:
        return contestant.name == "podium"

    def measure(self, lab: Lab, contestant: Contestant, number: int) -> Outcome:  # noqa: ARG002 - there is nothing to start
        folder = lab.place.folder("rollouts")
        shutil.rmtree(folder)
        folder.mkdir()
        job = RolloutsJob(
            rollouts=_ROLLOUTS,
            choices=lab.loads.choices // _OF_CHOICES,
            exchanges=_EXCHANGES,
            seed=number,
            core=lab.place.gateway_core,
            folder=str(folder),
        )
        result = lab.generate("rollouts", job, RolloutsResult, limit_s=180)
        values = {f"{kind}_alone_us": one for kind, one in result.alone_us.items()}
        values |= {f"{kind}_beside_us": one for kind, one in result.beside_us.items()}
        values |= {f"{kind}_among_us": one for kind, one in result.among_us.items()}
        values |= {f"{name}_look_s": one for name, one in result.looks_s.items()}
        return Outcome(values, result.missing)
