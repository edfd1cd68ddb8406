"""Memory after many exchanges, and whether each of them is in the ledger."""

import time

from harness.contestants.base import Accounting, Contestant, running
from harness.lab import Lab, Loads
from harness.load.closed import ClosedJob, ClosedResult
from harness.machine import Watch, WatchReading, memory_mb, resident_mb
from harness.metrics.base import START_S, Outcome, failures, made_for, takes_part
from harness.request import COMPLETION, chat_request

__all__ = ["Soak"]

_ABOUT_PER_S = 7_000
_LEDGER_LIMIT_S = 180.0  # the loader may be behind the journals by so much


class Soak:
    """Long, and the same each time: few rounds are enough. `name` tells the contestants' `metrics` apart."""

    rounds = 3

    def __init__(self, name: str) -> None:
        self.name = name

    def lasts_s(self, loads: Loads) -> float:
        return loads.soak_stops[1] / _ABOUT_PER_S + 2 * START_S

    def takes(self, contestant: Contestant) -> bool:
        if not isinstance(contestant, Accounting):
            return False
        return made_for(contestant, self.name) if self.name != "soak" else takes_part(contestant, self.name)

    def measure(self, lab: Lab, contestant: Contestant, number: int) -> Outcome:  # noqa: ARG002 - rounds are alike
        assert isinstance(contestant, Accounting)
        early, late = lab.loads.soak_stops
        memory: list[float] = []
        resident: list[float] = []
        watch: list[Watch] = []
        reading: list[WatchReading] = []
        with lab.json_mock(), running(contestant, lab.place) as gateway:
            before = contestant.accounted(lab.place, limit_s=0, expect=0)

            def marked(_word: str) -> None:
                if watch:
                    reading.append(watch[0].read())
                time.sleep(lab.loads.rest_s)
                memory.append(memory_mb(gateway.gateway.pid))
                resident.append(resident_mb(gateway.gateway.pid))
                watch.append(lab.watch(gateway))

            job = ClosedJob(
                request=chat_request(lab.place.port, contestant.headers()), expect=COMPLETION, stops=(early, late)
            )
            result = lab.generate("closed", job, ClosedResult, on_mark=marked, limit_s=job.limit_s + 60)
            expect = before + result.answered
            accounted = contestant.accounted(lab.place, limit_s=_LEDGER_LIMIT_S, expect=expect) - before
        problems = failures(result.failed, late, "exchanges failed")
        if accounted != result.answered:
            problems += (f"the ledger has {accounted:,} exchanges, {result.answered:,} were answered",)
        values = {
            "early_mb": memory[0],
            "late_mb": memory[1],
            "growth": memory[1] / memory[0],
            "early_resident_mb": resident[0],
            "late_resident_mb": resident[1],
        }
        return Outcome(values, problems, reading[0])
