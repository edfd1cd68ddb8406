"""Non-streamed chats at 200 a second, open loop: what a caller waits when the gateway has time."""

from harness.contestants.base import ALL_ROUNDS, Contestant, running
from harness.lab import Lab, Loads
from harness.load.rate import RateJob, RateResult
from harness.machine import Watch, WatchReading
from harness.metrics.base import START_S, Outcome, check_answer, failures, takes_part
from harness.request import COMPLETION, chat_request

__all__ = ["Latency"]

_PER_S = 200.0


class Latency:
    name = "latency"
    rounds = ALL_ROUNDS

    def lasts_s(self, loads: Loads) -> float:
        return loads.warm_s + loads.rate_s + START_S

    def takes(self, contestant: Contestant) -> bool:
        return takes_part(contestant, self.name)

    def measure(self, lab: Lab, contestant: Contestant, number: int) -> Outcome:  # noqa: ARG002 - rounds are alike
        watch: list[Watch] = []
        reading: list[WatchReading] = []
        with lab.json_mock(), running(contestant, lab.place) as gateway:
            check_answer(gateway)

            def marked(word: str) -> None:
                if word == "begin":
                    watch.append(lab.watch(gateway))
                else:
                    reading.append(watch[0].read())

            job = RateJob(
                request=chat_request(lab.place.port, contestant.headers()),
                expect=COMPLETION,
                per_s=_PER_S,
                warm_s=lab.loads.warm_s,
                seconds=lab.loads.rate_s,
            )
            limit_s = lab.loads.warm_s + lab.loads.rate_s + 60
            result = lab.generate("rate", job, RateResult, on_mark=marked, limit_s=limit_s)
        values = {"generator_late_ms": result.latest_ms, "cpu_us": reading[0].gateway_cpu_s / max(result.sent, 1) * 1e6}
        if result.p50_ms is not None and result.p99_ms is not None:
            values |= {"p50_ms": result.p50_ms, "p99_ms": result.p99_ms}
        return Outcome(values, failures(result.failed, result.sent, "requests failed"), reading[0])
