"""Non-streamed chats as fast as they are answered, over 64 kept connections."""

from harness.contestants.base import ALL_ROUNDS, Contestant, Sharing, running
from harness.lab import Lab, Loads
from harness.metrics.base import START_S, Outcome, check_answer, failures, served_by_mock, takes_part
from harness.request import chat_request

__all__ = ["Requests"]


class Requests:
    name = "requests"
    rounds = ALL_ROUNDS

    def lasts_s(self, loads: Loads) -> float:
        return loads.warm_s + loads.requests_s + START_S

    def takes(self, contestant: Contestant) -> bool:
        return takes_part(contestant, self.name)

    def measure(self, lab: Lab, contestant: Contestant, number: int) -> Outcome:  # noqa: ARG002 - rounds are alike
        with lab.json_mock(), running(contestant, lab.place) as gateway:
            check_answer(gateway)
            request = chat_request(lab.place.port, contestant.headers())
            lab.wrk(request, seconds=max(1, round(lab.loads.warm_s)))
            served = served_by_mock(lab)
            shared = contestant.shared(lab.place) if isinstance(contestant, Sharing) else None
            watch = lab.watch(gateway)
            result = lab.wrk(request, seconds=lab.loads.requests_s)
            reading = watch.read()
            relayed = served_by_mock(lab) - served
            shared_after = contestant.shared(lab.place) if isinstance(contestant, Sharing) else None
        problems = failures(result.failed, result.answered + result.failed, "requests failed")
        problems += failures(
            max(result.answered - relayed, 0), result.answered, "answers did not come from the provider"
        )
        answered = max(result.answered, 1)
        values = {
            "requests_per_s": result.answered / result.seconds,
            "p50_ms": result.p50_ms,
            "p99_ms": result.p99_ms,
            "cpu_us": reading.gateway_cpu_s / answered * 1e6,
            "side_cpu_us": reading.side_cpu_s / answered * 1e6,
        }
        if isinstance(contestant, Sharing) and shared is not None and shared_after is not None:
            calls, seconds = shared_after[0] - shared[0], shared_after[1] - shared[1]
            values |= {"store_calls": calls / answered, "store_us": seconds / answered * 1e6}
            if calls <= contestant.least_calls * answered:
                problems += (f"the store had {calls:,} calls only for {answered:,} requests",)
        return Outcome(values, problems, reading)
