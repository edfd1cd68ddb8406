"""From exec to ready, and memory at rest."""

import time

from harness.contestants.base import ALL_ROUNDS, Contestant, running
from harness.lab import Lab, Loads
from harness.machine import memory_mb, resident_mb
from harness.metrics.base import START_S, Outcome, check_answer, takes_part

__all__ = ["Start"]


class Start:
    name = "start"
    rounds = ALL_ROUNDS

    def lasts_s(self, loads: Loads) -> float:
        return loads.rest_s + START_S

    def takes(self, contestant: Contestant) -> bool:
        return takes_part(contestant, self.name)

    def measure(self, lab: Lab, contestant: Contestant, number: int) -> Outcome:  # noqa: ARG002 - rounds are alike
        with lab.json_mock(), running(contestant, lab.place) as gateway:
            watch = lab.watch(gateway)
            time.sleep(lab.loads.rest_s)
            pid = gateway.gateway.pid
            values = {"ready_s": gateway.ready_s, "idle_mb": memory_mb(pid), "idle_resident_mb": resident_mb(pid)}
            reading = watch.read()
            check_answer(gateway)
        return Outcome(values, (), reading)
