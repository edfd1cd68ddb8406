"""Streams between callers and providers that speak different APIs, beside the same streams untranslated."""

from dataclasses import dataclass

from harness.contestants.base import ALL_ROUNDS, Contestant, Running, running
from harness.lab import Lab, Loads
from harness.load.streams import StreamsJob, StreamsResult
from harness.machine import Watch, WatchReading
from harness.metrics.base import START_S, Outcome, failures, made_for
from harness.mocks.sse import MESSAGE_AROUND, WORD, expected_events
from harness.processes import BenchError
from harness.request import ANTHROPIC_MODEL, Request, chat_request, messages_request, post

__all__ = ["Translation"]

_EVENTS = 100  # of content in each stream
_STREAMS = 32
_DONE, _MESSAGE_STOP = "[DONE]", "message_stop"


@dataclass(frozen=True, slots=True)
class _Way:
    """From a provider's API to a caller's."""

    name: str
    request: Request
    end: str
    delta: str  # what each event of content has at the caller

    @property
    def content(self) -> bytes:
        return self.delta.encode()


def _ways(running: Running) -> list[_Way]:
    port, headers = running.place.port, running.contestant.headers()
    delta = f'"content":"{WORD}"'
    return [
        _Way("plain", chat_request(port, headers, stream=True, usage=True), _DONE, delta),
        _Way(
            "from_anthropic", chat_request(port, headers, stream=True, usage=True, model=ANTHROPIC_MODEL), _DONE, delta
        ),
        _Way("to_messages", messages_request(port, headers), _MESSAGE_STOP, f'"text":"{WORD}"'),
    ]


class Translation:
    """32 at a time, 100 events of content each; the three ways one after the other through one gateway."""

    name = "translation"
    rounds = ALL_ROUNDS

    def lasts_s(self, loads: Loads) -> float:
        return 3 * (loads.translation_s + loads.warm_s / 2 + 1) + START_S

    def takes(self, contestant: Contestant) -> bool:
        return made_for(contestant, self.name)

    def measure(self, lab: Lab, contestant: Contestant, number: int) -> Outcome:
        values: dict[str, float] = {}
        problems: tuple[str, ...] = ()
        readings: dict[str, WatchReading] = {}
        with lab.stream_mock(events=_EVENTS), running(contestant, lab.place) as gateway:
            ways = _ways(gateway)
            for way in ways if number % 2 else reversed(ways):
                result, reading = self._load(lab, gateway, way, _check(way))
                readings[way.name] = reading
                values[f"{way.name}_events_per_s"] = result.events / result.seconds
                values[f"{way.name}_cpu_us"] = reading.gateway_cpu_s / max(result.events, 1) * 1e6
                values[f"{way.name}_load_core"] = 100 * reading.load_core_busy
                problems += failures(result.failed, result.whole + result.failed, f"streams failed ({way.name})")
                problems += failures(
                    result.lost_events, result.lost_events + result.events, f"events lost ({way.name})"
                )
        for name in ("from_anthropic", "to_messages"):
            values[f"{name}_rate"] = values[f"{name}_events_per_s"] / values["plain_events_per_s"]
            values[f"{name}_of_cpu"] = values["plain_cpu_us"] / max(values[f"{name}_cpu_us"], 1e-9)
        return Outcome(values, problems, readings["plain"])

    @staticmethod
    def _load(lab: Lab, gateway: Running, way: _Way, expect: int) -> tuple[StreamsResult, WatchReading]:
        watch: list[Watch] = []
        reading: list[WatchReading] = []

        def marked(word: str) -> None:
            if word == "begin":
                watch.append(lab.watch(gateway))
            else:
                reading.append(watch[0].read())

        job = StreamsJob(
            request=way.request,
            streams=_STREAMS,
            expect=expect,
            ramp_s=0.2,
            warm_s=lab.loads.warm_s / 2,
            seconds=lab.loads.translation_s,
            once=False,
            finish_s=10,
            end=way.end,
        )
        limit_s = lab.loads.warm_s + lab.loads.translation_s + 60
        return lab.generate("streams", job, StreamsResult, on_mark=marked, limit_s=limit_s), reading[0]


def _check(way: _Way) -> int:
    """One stream, whole and with each delta in an event of its own; how many events it has."""
    status, body = post(way.request)
    found, events = body.count(way.content), body.count(b"data: ")
    around = expected_events(0, usage=True) if way.end == _DONE else MESSAGE_AROUND
    if status != 200 or found != _EVENTS or way.end.encode() not in body[-200:] or events > _EVENTS + around:
        raise BenchError(
            f"{way.name}: not the provider's stream: {status}, {found} of {_EVENTS} deltas in {events} events,"
            f" ends with {body[-300:]!r}"
        )
    return events
