import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from podium.economics.budgets.values import Cost, Reservation
from podium.store.redis.client import RedisClient
from podium.store.redis.exchanges import Exchanges, admit_step, end_step, finish_step, reserve_step, take_step
from podium.store.redis.scripts import STEPS_AT_ONCE, Scripts
from podium.store.redis.settings import RedisSettings
from podium.testing.budget_conformance import make_charge
from podium.testing.waiting import eventually
from podium.traffic.limiting.buckets import NOTHING, Bucket, charge_of

NOW_NS = 1_760_000_000_000_000_000
HOUR = 3600 * 10**9
LEASE_US = 600_000_000
ONE = charge_of(0, 0)
REQUESTS = Bucket(key="requests", what="requests", amount=3, window_ns=HOUR)
WINDOW = Bucket(key="window", what="requests", amount=3, window_ns=HOUR, algorithm="sliding_window")
PLACES = Bucket(key="places", what="concurrency", amount=2)
ALL = (REQUESTS, WINDOW, PLACES)
CHARGE = make_charge(amount=100)
LATE = 1  # a deadline in 1970, microseconds


@pytest.fixture
def exchanges(scripts):
    return Exchanges(scripts, "{podium}")


@pytest.fixture
def ask(exchanges):
    async def ask(*steps):
        return await exchanges.run_all(steps, 0, LEASE_US)

    return ask


def take(grant, buckets=ALL, deadline_us=0):
    return take_step(grant, deadline_us, buckets, ONE)


def reserve(number, usd=10, charge=CHARGE, deadline_us=0):
    return reserve_step(bytes([number]) * 16, deadline_us, (charge,), Cost(usd, 0), NOW_NS)


def admit(grant, number, usd=10, deadline_us=0):
    reservation = Reservation(bytes([number]) * 16, (CHARGE,), Cost(usd, 0), NOW_NS)
    return admit_step(grant, deadline_us, ALL, ONE, reservation)


def finish(number, usd=None):
    return finish_step(bytes([number]) * 16, None if usd is None else Cost(usd, 0))


def codes(answers):
    return [answer if isinstance(answer, int) else answer[0] for answer in answers]


async def test_steps_are_done_in_order_and_see_what_those_before_did(ask):
    answers = await ask(
        take("a"), take("b"), take("c"), end_step("a", ALL, ONE, NOTHING), take("d"), take("e"), reserve(1, 60), reserve(2, 60),
        finish(1, 20), reserve(2, 60)
    )  # fmt: skip

    assert codes(answers) == [1, 1, 0, 1, 1, 0, 1, 0, "counted", 1]
    assert answers[4][2::3] == [1, 1, 0]  # left
    assert answers[9] == [1, 20]


async def test_what_one_call_did_the_next_one_finds(ask):
    steps = [
        take("a"),
        take("b"),
        end_step("a", ALL, ONE, NOTHING),
        take("c"),
        reserve(1, 60),
        finish(1, 20),
        reserve(2),
    ]
    together = codes(await ask(*steps)) + codes(await ask(take("d"), finish(2, 10), reserve(3, 71), reserve(3, 70)))

    assert together == [1, 1, 1, 1, 1, "counted", 1, 0, "counted", 0, 1]


async def test_limits_and_budgets_admit_together_or_not_at_all(ask):
    answers = await ask(admit("a", 1, 60), admit("b", 2, 60), admit("c", 3, 40), admit("d", 4, 0), admit("e", 5, 0))

    assert [codes(answer) for answer in answers] == [[1, 1], [1, 0], [1, 1], [0], [0]]
    assert [answer[0][2::3] for answer in answers] == [[2, 2, 1], [2, 2, 1], [1, 1, 0], [1, 1, 0], [1, 1, 0]]
    assert (answers[0][1], answers[2][1]) == ([1, 40], [1, 0])
    assert codes(await ask(take("f"), end_step("a", ALL, ONE, NOTHING), take("f"), reserve(6, 1))) == [0, 1, 1, 0]


async def test_who_is_admitted_again_has_nothing_more(ask):
    twice = [admit("a", 1, 60), admit("b", 2, 40)]
    first, again = await ask(*twice), await ask(*twice)

    assert [codes(answer) for answer in first + again] == [[1, 1]] * 4
    assert again[1][0][2::3] == [1, 1, 0]
    await ask(end_step("a", ALL, ONE, NOTHING), finish(1, 20))
    assert codes((await ask(admit("a", 1, 60)))[0]) == [1, 2]
    assert codes(await ask(take("c"), reserve(3, 40))) == [1, 1]


async def test_who_ended_before_it_was_admitted_has_nothing(ask):
    await ask(end_step("a", ALL, ONE, NOTHING), finish(1), admit("a", 1, 100))

    assert (await ask(take("b"), reserve(2, 100)))[0][2::3] == [2, 2, 1]
    assert codes((await ask(admit("c", 2, 100)))[0]) == [1, 1]


async def test_a_step_that_is_asked_again_does_nothing_more(ask):
    twice = [take("a"), reserve(1, 60), take("b"), end_step("b", ALL, ONE, NOTHING), finish(1, 20)]
    await ask(*twice, *twice)
    answers = await ask(take("c"), reserve(2, 80), take("a"), reserve(2, 80), reserve(1, 60))

    assert codes(answers) == [1, 1, 1, 1, 2]
    assert answers[0][2::3] == [1, 1, 0]
    assert (answers[1], answers[3]) == ([1, 0], [1])


async def test_what_was_ended_before_it_came_takes_nothing(ask):
    await ask(end_step("a", ALL, ONE, NOTHING), take("a"))

    assert (await ask(take("b")))[0][2::3] == [2, 2, 1]


async def test_of_steps_that_come_too_late_the_others_are_done(ask):
    late, early, late_too, both = await ask(
        take("a", deadline_us=LATE), take("b"), reserve(1, deadline_us=LATE), admit("c", 2, deadline_us=LATE)
    )

    assert (late[0], early[0], late_too[0], both[0][0], len(both)) == (-1, 1, -1, -1, 1)
    assert early[2::3] == [2, 2, 1]


async def test_a_limit_that_was_changed_counts_for_those_who_know_of_it(ask):
    more = Bucket(key="requests", what="requests", amount=5, window_ns=HOUR)
    steps = [take(str(number), (REQUESTS,)) for number in range(4)] + [take("x", (more,)), take("y", (REQUESTS,))]

    assert codes(await ask(*steps)) == [1, 1, 1, 0, 1, 0]


async def test_a_step_with_a_foreign_key_fails_alone(exchanges, server):
    server.command("SET", "{podium}:limit2:bucket:places", "not ours")

    wrong, right = await asyncio.gather(
        exchanges.run(take("a"), 0, LEASE_US), exchanges.run(reserve(1), 0, LEASE_US), return_exceptions=True
    )

    assert isinstance(wrong, ResponseError) and right == [1, 90]
    assert (await exchanges.run(take("b", (REQUESTS,)), 0, LEASE_US))[0] == 1


async def test_what_is_asked_for_in_one_turn_is_one_script(exchanges, server):
    await exchanges.run(take("first"), 0, LEASE_US)
    server.command("CONFIG", "RESETSTAT")

    asked = [exchanges.run(reserve(number, 1), 0, LEASE_US) for number in range(2 * STEPS_AT_ONCE)]
    assert codes(await asyncio.gather(*asked)) == [1] * 100 + [0] * (2 * STEPS_AT_ONCE - 100)

    assert "cmdstat_evalsha:calls=2," in server.command("INFO", "commandstats")


async def test_who_waits_with_others_and_goes_away_is_left_out(exchanges, client):
    await exchanges.run(reserve(0, 1), 0, LEASE_US)
    gone = asyncio.create_task(exchanges.run(reserve(1), 0, LEASE_US))
    stays = asyncio.create_task(exchanges.run(reserve(2), 0, LEASE_US))
    await asyncio.sleep(0)
    gone.cancel()

    assert await stays == [1, 89]
    assert client.waiting == 0


async def test_ends_go_out_with_what_is_asked_for_next(open_gateway, server):
    gateway = await open_gateway(server, member_ttl_s=60)
    for _ in range(3):  # until the script is known to each connection
        grant = await gateway.acquire(ALL, ONE)
        server.command("CONFIG", "RESETSTAT")
        gateway.release(grant)
        gateway.release(await gateway.acquire(ALL, ONE))
        stats = server.command("INFO", "commandstats")
        await eventually(lambda: gateway.untold == 0)

    assert "cmdstat_evalsha:calls=1," in stats


async def test_an_end_that_nothing_follows_goes_out_all_the_same(open_gateway, server):
    gateway = await open_gateway(server)
    await gateway.reserve(1, (CHARGE,))
    gateway.spend(1, 7)

    await eventually(lambda: gateway.untold == 0)
    assert (await gateway.shared.store.standing((CHARGE,), NOW_NS))[0].settled == 7


STEPS = st.tuples(
    st.sampled_from(("admit", "admit", "again", "end", "give back")), st.integers(0, 9), st.integers(0, 60)
)


class House:
    """What the store should say: three requests an hour, two places, a budget of 100."""

    def __init__(self):
        self.requests = self.places = self.spent = 0
        self.held = {}  # estimates by number
        self.ended = set()

    def has_room(self, cost):
        limits = self.requests < 3 and self.places < 2
        return limits, limits and self.spent + sum(self.held.values()) + cost <= 100

    def step(self, number, what, pick, cost):
        """The steps to ask for, and the codes of their answers."""
        running = sorted(self.held)
        if what == "admit" or not running:
            limits, both = self.has_room(cost)
            if both:
                self.held[number] = cost
                self.requests, self.places = self.requests + 1, self.places + 1
            return [admit(f"g{number}", number, cost)], [[1, int(both)] if limits else [0]]
        number = running[pick % len(running)]
        if what == "again":
            return [admit(f"g{number}", number, self.held[number])], [[1, 1]]
        self.held.pop(number)
        self.places -= 1
        if what == "end":
            self.spent += cost
            return [end_step(f"g{number}", ALL, ONE, ONE), finish(number, cost)], [1, "counted"]
        self.requests -= 1
        return [end_step(f"g{number}", ALL, ONE, NOTHING), finish(number)], [1, "released"]


async def walk(url, script):
    house = House()
    async with RedisClient(RedisSettings(url=url, timeout_ms=5000)) as client:
        await client.send("FLUSHALL")
        exchanges = Exchanges(Scripts(client), "{podium}")
        for first in range(0, len(script), 4):  # four at once
            asked, expected = [], []
            for number, step in enumerate(script[first : first + 4], first + 1):
                steps, wanted = house.step(number, *step)
                asked += steps
                expected += wanted
            answers = await exchanges.run_all(asked, 0, LEASE_US)
            found = [
                codes(answer) if isinstance(answer, list) and isinstance(answer[0], list) else answer
                for answer in answers
            ]
            assert [one[0] if isinstance(one, list) and isinstance(one[0], str) else one for one in found] == expected
        assert await client.send("ZCARD", "{podium}:budget2:leases") == len(house.held)
        assert await client.send("ZCARD", "{podium}:limit2:bucket:places") == house.places


@given(script=st.lists(STEPS, max_size=40))
@settings(max_examples=40, deadline=None, database=None)
def test_whatever_comes_at_once_is_admitted_only_where_both_have_room(shared_server, script):
    asyncio.run(walk(shared_server.url, script))
