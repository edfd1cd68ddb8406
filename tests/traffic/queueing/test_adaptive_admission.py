"""Callers before a limit that finds itself: open loop, with little patience. Simulated time; nothing sleeps."""

import heapq
import random
from collections import deque

import pytest

from podium.traffic.queueing.adaptive_concurrency import CallOutcome, ConcurrencyPolicy, GradientLimit

S = 1_000_000_000
KNEE, SERVICE_S = 20, 0.1
CAPACITY = KNEE / SERVICE_S  # calls a second
PATIENCE_S = 0.04


def constant(_rng):
    return SERVICE_S


def lognormal(rng):
    return SERVICE_S * rng.lognormvariate(-0.125, 0.5)


class World:
    """Calls come at random, as often as `per_s(now_s)` says, and go when they have waited for `PATIENCE_S`."""

    def __init__(self, per_s, *, draw=constant, seed=1, knee=lambda _now_s: KNEE):
        self.limiter = GradientLimit(ConcurrencyPolicy(), 0)
        self.per_s, self.draw, self.knee = per_s, draw, knee
        self.rng = random.Random(seed)
        self.arrived, self.refused, self.served = [], [], []  # seconds
        self.waiting, self.at_backend, self.working = deque(), deque(), 0
        self.events, self.serial = [], 0

    def at(self, when_s, action):
        self.serial += 1
        heapq.heappush(self.events, (when_s, self.serial, action))

    def run(self, until_s):
        self.now_s = 0.0
        self.at(0.0, self.arrive)
        while self.events[0][0] < until_s:
            self.now_s, _, action = heapq.heappop(self.events)
            action()
            self.go_on()
        return self

    def arrive(self):
        self.arrived.append(self.now_s)
        self.waiting.append(self.now_s)
        self.at(self.now_s + PATIENCE_S + 1e-6, lambda: None)
        self.at(self.now_s + self.rng.expovariate(self.per_s(self.now_s)), self.arrive)

    def end(self, began_s):
        self.working -= 1
        self.served.append(self.now_s)
        self.limiter.ended(int(self.now_s * S), (self.now_s - began_s) * 1e3, CallOutcome.OK)

    def go_on(self):
        while self.waiting and self.waiting[0] < self.now_s - PATIENCE_S:
            self.refused.append(self.waiting.popleft())
        while self.waiting and self.limiter.in_flight < self.limiter.limit:
            self.waiting.popleft()
            self.limiter.started(int(self.now_s * S))
            self.at_backend.append(self.now_s)
        while self.at_backend and self.working < self.knee(self.now_s):
            self.working += 1
            began_s = self.at_backend.popleft()
            self.at(self.now_s + self.draw(self.rng), lambda began_s=began_s: self.end(began_s))

    def share_refused(self, from_s, to_s):
        """Of those that came in this time."""
        return sum(from_s <= at < to_s for at in self.refused) / sum(from_s <= at < to_s for at in self.arrived)

    def per_second(self, from_s, to_s):
        """Served."""
        return sum(from_s <= at < to_s for at in self.served) / (to_s - from_s)


@pytest.mark.parametrize("draw", [constant, lognormal])
@pytest.mark.parametrize("seed", range(1, 7))
def test_at_half_of_the_capacity_hardly_anybody_is_refused_once_the_limit_has_been_found(draw, seed):
    world = World(lambda _now_s: CAPACITY / 2, draw=draw, seed=seed).run(25)
    assert world.share_refused(2, 6) == 0.0
    assert world.share_refused(6, 25) == 0.0


@pytest.mark.parametrize("draw", [constant, lognormal])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_near_the_capacity_few_are_refused(draw, seed):
    world = World(lambda _now_s: 0.9 * CAPACITY, draw=draw, seed=seed).run(25)
    assert world.share_refused(6, 25) < 0.03  # a fixed limit of the knee refuses about two in a hundred


@pytest.mark.parametrize("draw", [constant, lognormal])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_flood_after_a_calm_time_finds_the_backend_at_work(draw, seed):
    world = World(lambda now_s: CAPACITY / 2 if now_s < 6 else 10 * CAPACITY, draw=draw, seed=seed).run(14)
    assert world.per_second(8, 14) > 0.9 * CAPACITY


def test_a_backend_that_has_lost_most_of_its_places_in_a_quiet_time_is_found_out_under_load():
    world = World(
        lambda now_s: 2 * CAPACITY if now_s < 20 or now_s > 60 else 15,
        draw=lognormal,
        knee=lambda now_s: KNEE if now_s < 40 else 4,
    )
    world.run(180)
    assert 4 <= world.limiter.limit <= 6
