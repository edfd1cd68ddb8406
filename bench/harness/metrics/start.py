"""From exec to ready, and memory at rest."""

import time

from harness.contestants.base import Contestant, running
from harness.lab import Lab
from harness.machine import memory_mb, resident_mb
from harness.metrics.base import Outcome, check_answer

__all__ = ["Start"]


class Start:
    name = "start"

    def takes(self, contestant: Contestant) -> bool:
        return not contestant.runs_model and contestant.beside is None

    def measure(self, lab: Lab, contestant: Contestant, number: int) -> Outcome:  # noqa: ARG002 - rounds are alike
        with lab.json_mock(), running(contestant, lab.place) as gateway:
            watch = lab.watch(gateway)
            time.sleep(lab.loads.rest_s)
            pid = gateway.gateway.pid
            values = {"ready_s": gateway.ready_s, "idle_mb": memory_mb(pid), "idle_resident_mb": resident_mb(pid)}
            reading = watch.read()
            check_answer(gateway)
        return Outcome(values, (), reading)
