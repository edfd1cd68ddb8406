"""A discrete-event simulator: no time passes but in its own clock."""

import heapq
import random
from dataclasses import dataclass, field

import pytest

from podium.traffic.queueing.admission import Admission, AdmissionPolicy, Shed, Verdict
from podium.traffic.queueing.fair_queue import Entry, Priority

S = 1_000_000_000


@dataclass(eq=False)
class Call:
    """One exchange of the simulation, and what became of it."""

    tenant: str
    arrived_ns: int
    service_ns: int
    priority: Priority
    started_ns: int | None = None
    ended_ns: int | None = None
    shed: Shed | None = None
    shed_ns: int | None = None

    @property
    def wait_s(self):
        return (self.started_ns - self.arrived_ns) / S

    @property
    def took_s(self):
        return (self.ended_ns - self.arrived_ns) / S


class Ticket(Entry):
    __slots__ = ("call",)


@dataclass
class Simulation:
    """Calls arrive at an `Admission` with `servers` places; service times are drawn by `draw_s`."""

    servers: int
    policy: AdmissionPolicy
    draw_s: object
    seed: int = 1
    calls: list[Call] = field(default_factory=list)
    now_ns: int = 0

    def __post_init__(self):
        self.random = random.Random(self.seed)
        self.admission = Admission(self.policy, self.servers, 0)
        self._events = []
        self._count = 0

    def at(self, when_ns, action):
        self._count += 1
        heapq.heappush(self._events, (when_ns, self._count, action))

    def flood(self, tenant, per_s, until_s, *, from_s=0.0, weight=1, priority=Priority.STANDARD, patience_s=3600.0):
        """Poisson arrivals; each wants to start within `patience_s`."""

        def come():
            self.arrive(tenant, weight=weight, priority=priority, patience_s=patience_s)
            again = self.now_ns + int(self.random.expovariate(per_s) * S)
            if again < until_s * S:
                self.at(again, come)

        self.at(int(from_s * S), come)

    def arrive(self, tenant, *, weight=1, priority=Priority.STANDARD, patience_s=3600.0):
        call = Call(tenant, self.now_ns, int(self.draw_s(self.random) * S), priority)
        self.calls.append(call)
        entry = Ticket(tenant, self.now_ns + int(patience_s * S), priority, weight)
        entry.call = call
        decision = self.admission.arrive(entry, self.now_ns)
        if decision.verdict is Verdict.START:
            self._start(call)
        elif decision.verdict is Verdict.SHED:
            self._tell(decision.shed)
        elif decision.displaced is not None:
            self._tell(decision.displaced)
        return call

    def run(self, until_s=float("inf")):
        while self._events and self._events[0][0] <= until_s * S:
            self._next_event()

    def _next_event(self):
        due = self.admission.queue.due_at_ns
        if due is not None and due < self._events[0][0]:
            self.now_ns = max(self.now_ns, due + 1)
            for shed in self.admission.expire(self.now_ns):
                self._tell(shed)
            return
        self.now_ns, _, action = heapq.heappop(self._events)
        action()

    def _start(self, call):
        assert call.started_ns is None and call.shed is None
        call.started_ns = self.now_ns
        self.at(self.now_ns + call.service_ns, lambda: self._end(call))

    def _end(self, call):
        call.ended_ns = self.now_ns
        self.admission.leave(self.now_ns)
        while (entry := self.admission.next(self.now_ns)) is not None:
            assert self.now_ns <= entry.start_by_ns, "never started after its time"
            self._start(entry.call)

    def _tell(self, shed):
        call = shed.entry.call
        assert call.started_ns is None and call.shed is None
        call.shed, call.shed_ns = shed, self.now_ns


@pytest.fixture
def simulate():
    return Simulation
