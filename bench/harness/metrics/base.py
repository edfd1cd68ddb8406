"""What a metric is, and what all of them check before they load a contestant."""

import http.client
import re
from dataclasses import dataclass
from typing import Protocol

from harness.contestants.base import Contestant, Running
from harness.lab import Lab, Loads
from harness.machine import WatchReading
from harness.mocks.sse import expected_stream
from harness.processes import BenchError
from harness.request import COMPLETION, MODEL, Request, chat_request, post

__all__ = [
    "START_S",
    "Metric",
    "Outcome",
    "check_answer",
    "check_stream",
    "failures",
    "made_for",
    "served_by_mock",
    "takes_part",
]

START_S = 4.0  # until a contestant is started, checked and stopped, and the machine is idle


@dataclass(frozen=True, slots=True)
class Outcome:
    """Figures by name, what went wrong, and what the machine did meanwhile."""

    values: dict[str, float]
    problems: tuple[str, ...] = ()
    reading: WatchReading | None = None


class Metric(Protocol):
    """One load and its figures."""

    name: str
    rounds: int  # it is measured in so many at most

    def lasts_s(self, loads: Loads) -> float:
        """About how long one measurement takes."""

    def takes(self, contestant: Contestant) -> bool:
        """Whether the contestant is measured by it."""

    def measure(self, lab: Lab, contestant: Contestant, number: int) -> Outcome:
        """Start the contestant, load it, stop it; `number` is the round. BenchError: it cannot be measured."""


def takes_part(contestant: Contestant, metric: str) -> bool:
    """Whether it is a gateway that is measured by what all gateways are."""
    return not contestant.runs_model and (contestant.metrics is None or metric in contestant.metrics)


def made_for(contestant: Contestant, metric: str) -> bool:
    """Whether it is there for this metric."""
    return contestant.metrics is not None and metric in contestant.metrics


def check_answer(running: Running, model: str = MODEL) -> None:
    """The contestant relays the provider's answer byte by byte and refuses a caller without a key, if it has any."""
    contestant = running.contestant
    status, body = _post(chat_request(running.place.port, contestant.headers(), model=model))
    if status != 200 or body != COMPLETION.encode():
        raise BenchError(f"{contestant.name}: not the provider's answer: {status} {body[:300]!r}")
    _check_refusal(running)


def check_stream(running: Running, *, events: int, usage: bool) -> None:
    """The same for a stream."""
    contestant = running.contestant
    status, body = _post(chat_request(running.place.port, contestant.headers(), stream=True, usage=usage))
    expected = expected_stream(events, usage=usage)
    if status != 200 or body != expected:
        raise BenchError(
            f"{contestant.name}: not the provider's stream: {status},"
            f" {len(body)} bytes for {len(expected)}, ends with {body[-200:]!r}"
        )
    _check_refusal(running)


def _check_refusal(running: Running) -> None:
    if running.contestant.checks_keys:
        status, _ = _post(chat_request(running.place.port, {}))
        if status != 401:
            raise BenchError(f"{running.contestant.name}: a call without a key got {status}, not 401")


def _post(request: Request) -> tuple[int, bytes]:
    try:
        return post(request)
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"a single call failed: {error!r}") from error


def failures(count: int, of: int, what: str) -> tuple[str, ...]:
    """A problem when anything failed."""
    return (f"{count:,} of {of:,} {what}",) if count else ()


def served_by_mock(lab: Lab) -> int:
    """How many requests the JSON mock has had: an answer that never went there is not a relayed one."""
    connection = http.client.HTTPConnection("127.0.0.1", lab.place.upstream_port, timeout=5)
    try:
        connection.request("GET", "/bench/served")
        page = connection.getresponse().read().decode()
    finally:
        connection.close()
    found = re.search(r"requests\s+\d+ \d+ (\d+)", page)
    if found is None:
        raise BenchError("the mock does not tell how many requests it had")
    return int(found[1])
