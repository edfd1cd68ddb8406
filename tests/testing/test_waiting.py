import pytest

from podium.testing.waiting import eventually


async def test_it_returns_as_soon_as_it_is_true():
    answers = iter([None, 0, "yes"])
    assert await eventually(lambda: next(answers), interval_s=0) < 1


async def test_it_says_what_it_saw_when_time_is_over():
    with pytest.raises(TimeoutError, match="last value was \\[\\]"):
        await eventually(list, timeout_s=0.01)
