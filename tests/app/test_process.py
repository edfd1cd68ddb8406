import asyncio

import pytest

from podium.app import process
from podium.app.process import steadily


async def test_a_duty_that_breaks_starts_anew(monkeypatch):
    monkeypatch.setattr(process, "_RESTART_S", 0.0)
    begun = []

    async def duty():
        begun.append(len(begun))
        if len(begun) < 3:
            raise ZeroDivisionError("a bug")

    await steadily(duty)
    assert begun == [0, 1, 2]


async def test_a_duty_that_is_cancelled_ends():
    task = asyncio.create_task(steadily(asyncio.Event().wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
