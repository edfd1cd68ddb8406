import asyncio

import pytest

from podium.control import turn as turns
from podium.control.turn import Tries, Turn


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr(turns, "_FIRST_WAIT_S", 0.0)


async def test_turns_come_in_the_order_of_asking():
    turn, seen = Turn(), []

    async def one(number):
        async with turn.taken():
            seen.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*map(one, range(5)))
    assert seen == [0, 1, 2, 3, 4]


async def test_who_waits_too_long_goes_on_without_it(monkeypatch):
    monkeypatch.setattr(turns, "_PATIENCE_S", 0.01)
    turn = Turn()
    async with turn.taken(), turn.taken():
        pass
    async with asyncio.timeout(1), turn.taken():  # neither of them has kept it
        pass


async def test_the_first_try_does_not_wait_and_the_second_has_the_turn():
    turn, seen = Turn(), []

    async def other():
        async with turn.taken():
            seen.append("other")

    async with turn.taken(), Tries(turn) as tries:
        assert await tries.another()
    async with Tries(turn) as tries:
        assert await tries.another()
        assert await tries.another()
        waiting = asyncio.create_task(other())
        await asyncio.sleep(0)
        assert await tries.another()
        assert seen == []
    await waiting
    assert seen == ["other"]


async def test_an_error_gives_the_turn_back():
    turn = Turn()

    async def fail():
        async with Tries(turn) as tries:
            assert await tries.another()
            assert await tries.another()
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    async with asyncio.timeout(1), turn.taken():
        pass


async def test_tries_end():
    async with Tries(Turn()) as tries:
        made = 0
        while await tries.another():
            made += 1
    assert made == 10
