"""Memory after many exchanges, and whether each of them is in the ledger."""

import time

from harness.contestants.base import Accounting, Contestant, running
from harness.lab import Lab
from harness.load.closed import ClosedJob, ClosedResult
from harness.machine import Watch, WatchReading, memory_mb
from harness.metrics.base import Outcome, failures
from harness.request import COMPLETION, chat_request

__all__ = ["Soak"]

_LEDGER_LIMIT_S = 180.0  # the loader may be behind the journals by so much


class Soak:
    name = "soak"

    def takes(self, contestant: Contestant) -> bool:
        return isinstance(contestant, Accounting) and not contestant.runs_model

    def measure(self, lab: Lab, contestant: Contestant, number: int) -> Outcome:  # noqa: ARG002 - rounds are alike
        assert isinstance(contestant, Accounting)
        early, late = lab.loads.soak_stops
        memory: list[float] = []
        watch: list[Watch] = []
        reading: list[WatchReading] = []
        with lab.json_mock(), running(contestant, lab.place) as gateway:
            before = contestant.accounted(lab.place, limit_s=0, expect=0)

            def marked(_word: str) -> None:
                if watch:
                    reading.append(watch[0].read())
                time.sleep(lab.loads.rest_s)
                memory.append(memory_mb(gateway.gateway.pid))
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
        return Outcome(
            {"early_mb": memory[0], "late_mb": memory[1], "growth": memory[1] / memory[0]}, problems, reading[0]
        )
