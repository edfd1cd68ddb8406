"""Streams as fast as they are taken, and streams as a model paces them."""

import time

from harness.contestants.base import ALL_ROUNDS, Contestant, running
from harness.lab import Lab, Loads
from harness.load.streams import StreamsJob, StreamsResult
from harness.machine import Watch, WatchReading, connections_to, memory_mb, resident_mb
from harness.metrics.base import START_S, Outcome, check_stream, failures, takes_part
from harness.mocks.sse import expected_events
from harness.request import chat_request, post

__all__ = ["FastStreams", "PacedStreams"]

_EVENTS = 100
_FAST_STREAMS = 32
_INTERVAL_MS = 200
_SLACK_S = 3.0  # paced streams are so much longer than what is counted of them


class FastStreams:
    """32 at a time, 100 events each, relayed untouched: the caller asks for the usage event itself."""

    name = "streams"
    rounds = ALL_ROUNDS

    def lasts_s(self, loads: Loads) -> float:
        return loads.warm_s + loads.streams_s + START_S

    def takes(self, contestant: Contestant) -> bool:
        return takes_part(contestant, self.name)

    def measure(self, lab: Lab, contestant: Contestant, number: int) -> Outcome:  # noqa: ARG002 - rounds are alike
        loads = lab.loads
        watch: list[Watch] = []
        reading: list[WatchReading] = []
        with lab.stream_mock(events=_EVENTS), running(contestant, lab.place) as gateway:
            check_stream(gateway, events=_EVENTS, usage=True)
            check_stream(gateway, events=_EVENTS, usage=False)

            def marked(word: str) -> None:
                if word == "begin":
                    watch.append(lab.watch(gateway))
                else:
                    reading.append(watch[0].read())

            job = StreamsJob(
                request=chat_request(lab.place.port, contestant.headers(), stream=True, usage=True),
                streams=_FAST_STREAMS,
                expect=expected_events(_EVENTS, usage=True),
                ramp_s=0.2,
                warm_s=loads.warm_s,
                seconds=loads.streams_s,
                once=False,
                finish_s=10,
            )
            limit_s = loads.warm_s + loads.streams_s + 60
            result = lab.generate("streams", job, StreamsResult, on_mark=marked, limit_s=limit_s)
        return Outcome(
            {
                "events_per_s": result.events / result.seconds,
                "cpu_us": reading[0].gateway_cpu_s / max(result.events, 1) * 1e6,
                "lost_events": float(result.lost_events),
            },
            _problems(result),
            reading[0],
        )


class PacedStreams:
    """5,000 at a time, an event in 200 ms each; as most callers do, they do not ask for usage."""

    name = "paced"
    rounds = ALL_ROUNDS

    def lasts_s(self, loads: Loads) -> float:
        return loads.paced_ramp_s + loads.warm_s + loads.paced_s + _SLACK_S + START_S + 2

    def takes(self, contestant: Contestant) -> bool:
        return takes_part(contestant, self.name)

    def measure(self, lab: Lab, contestant: Contestant, number: int) -> Outcome:  # noqa: ARG002 - rounds are alike
        loads = lab.loads
        life_s = loads.paced_ramp_s + loads.warm_s + loads.paced_s + _SLACK_S
        events = round(life_s * 1000 / _INTERVAL_MS)
        watch: list[Watch] = []
        reading: list[WatchReading] = []
        memory: list[float] = []
        resident: list[float] = []
        with lab.stream_mock(events=events, interval_ms=_INTERVAL_MS, stamp=True), running(contestant, lab.place) as gw:
            post(
                chat_request(lab.place.port, contestant.headers())
            )  # what is loaded at the first call is not of a stream
            resident.append(resident_mb(gw.gateway.pid))

            def marked(word: str) -> None:
                if word == "begin":
                    watch.append(lab.watch(gw))
                else:
                    reading.append(watch[0].read())
                    memory.append(memory_mb(gw.gateway.pid))
                    resident.append(resident_mb(gw.gateway.pid))

            job = StreamsJob(
                request=chat_request(lab.place.port, contestant.headers(), stream=True),
                streams=loads.paced_streams,
                expect=expected_events(events, usage=False),
                ramp_s=loads.paced_ramp_s,
                warm_s=loads.warm_s,
                seconds=loads.paced_s,
                once=True,
                finish_s=life_s + 10,
            )
            result = lab.generate("streams", job, StreamsResult, on_mark=marked, limit_s=3 * life_s + 60)
            time.sleep(loads.rest_s)
            resident.append(resident_mb(gw.gateway.pid))
            idle = connections_to(lab.place.upstream_port)
        due = loads.paced_streams * result.seconds * 1000 / _INTERVAL_MS
        values = {
            "held_percent": 100 * result.events / due,
            "lost_events": float(result.lost_events),
            "memory_mb": memory[0],
            "before_mb": resident[0],
            "open_mb": resident[1],
            "after_mb": resident[2],
            "stream_kb": (resident[1] - resident[0]) * 1e3 / loads.paced_streams,
            "idle_connections": float(idle),
            "cpu_us": reading[0].gateway_cpu_s / max(result.events, 1) * 1e6,
        }
        if idle >= loads.paced_streams // 2:  # with few, the rest of the memory would be counted as theirs
            values["idle_connection_kb"] = (resident[2] - resident[0]) * 1e3 / idle
        if result.lag_p50_ms is not None and result.lag_p99_ms is not None:
            values |= {"lag_p50_ms": result.lag_p50_ms, "lag_p99_ms": result.lag_p99_ms}
        return Outcome(values, _problems(result), reading[0])


def _problems(result: StreamsResult) -> tuple[str, ...]:
    streams = result.whole + result.failed
    return (
        *failures(result.failed, streams, "streams failed"),
        *(failures(result.lost_events, result.lost_events + result.events, "events lost")),
        *(failures(result.spare_events, result.spare_events + result.events, "events more than the provider sent")),
    )
