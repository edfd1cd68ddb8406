"""Tokens a second of the embedded engine, through the gateway and asked directly."""

from harness.contestants.base import ALL_ROUNDS, Contestant, running
from harness.contestants.engine import ENGINE_MODEL
from harness.lab import Lab, Loads
from harness.load.chats import ChatsJob, ChatsResult
from harness.metrics.base import Outcome, failures

__all__ = ["Engine"]


class Engine:
    name = "engine"
    rounds = ALL_ROUNDS

    def lasts_s(self, loads: Loads) -> float:
        return 33 if loads.chat_tokens > 12 else 15

    def takes(self, contestant: Contestant) -> bool:
        return contestant.runs_model

    def measure(self, lab: Lab, contestant: Contestant, number: int) -> Outcome:
        values: dict[str, float] = {}
        problems: tuple[str, ...] = ()
        with running(contestant, lab.place) as gateway:
            self._chat(lab, contestant, series=0, chats=1, concurrency=1)  # warms the worker
            watch = lab.watch(gateway)
            for concurrency, chats in lab.loads.chats:
                result = self._chat(
                    lab, contestant, series=100 * number + concurrency, chats=chats, concurrency=concurrency
                )
                values[f"tokens_per_s_{concurrency}"] = result.output_tokens / result.seconds
                problems += failures(result.failed, chats, f"chats failed at {concurrency} at a time")
            reading = watch.read()
        return Outcome(values, problems, reading)

    @staticmethod
    def _chat(lab: Lab, contestant: Contestant, *, series: int, chats: int, concurrency: int) -> ChatsResult:
        job = ChatsJob(
            port=lab.place.port,
            headers=dict(contestant.headers()),
            model=ENGINE_MODEL,
            series=series,
            chats=chats,
            concurrency=concurrency,
            max_tokens=lab.loads.chat_tokens,
        )
        return lab.generate("chats", job, ChatsResult, limit_s=600)
