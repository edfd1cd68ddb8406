from podium.testing.stream_load import StreamLoad
from podium.testing.upstream import Mode, Simulator
from podium.testing.waiting import eventually


async def seen(behaviour, count=3):
    """What a load sees of a provider."""
    async with (
        Simulator(behaviour=behaviour) as simulator,
        StreamLoad(simulator.port, "key", model="m", per_second=100) as load,
    ):
        await eventually(lambda: len(load.seen) >= count)
    assert len(load.served) + len(load.failed) == len(load.seen)
    return load.seen


async def test_what_is_answered_to_its_end_is_served():
    for one in await seen("chunks=5,before-content=20ms"):
        assert one.served
        assert not one.broken
        assert (one.status, one.pieces, one.stops, one.output_tokens) == (200, 5, ("stop",), 5)
        assert one.started_s < one.head_s <= one.ended_s


async def test_an_error_after_content_is_a_broken_stream():
    assert {(one.served, one.broken, one.status) for one in await seen(Mode.ERROR_MIDWAY)} == {(False, True, 200)}


async def test_a_connection_that_ends_within_a_stream_is_neither():
    streams = await seen(Mode.RESETS_MIDWAY)
    assert {(one.served, one.broken, one.cut_off, one.status) for one in streams} == {(False, False, True, 200)}


async def test_an_error_in_place_of_a_stream_is_told_by_its_code():
    streams = await seen(Mode.RATE_LIMITED)
    assert {(one.served, one.broken, one.status, bool(one.error)) for one in streams} == {(False, False, 429, True)}


async def test_where_nobody_listens_there_is_no_status():
    async with Simulator() as simulator:
        port = simulator.port
    async with StreamLoad(port, "key", model="m", per_second=100) as load:
        await eventually(lambda: len(load.seen) >= 3)
    assert {(one.status, one.cut_off, one.served) for one in load.seen} == {(0, True, False)}


async def test_it_begins_as_many_as_it_is_told_however_long_they_take():
    async with (
        Simulator(behaviour="before-head=300ms") as simulator,
        StreamLoad(simulator.port, "key", model="m", per_second=100) as load,
    ):
        await eventually(lambda: simulator.requests_seen >= 20)
        assert not load.seen
    # It ends although it is told to begin more than it can.
    async with (
        Simulator() as simulator,
        StreamLoad(simulator.port, "key", model="m", per_second=1_000_000) as hurried,
    ):
        await eventually(lambda: len(hurried.seen) >= 20)
    starts = sorted(one.started_s for one in load.seen)
    assert starts[-1] - starts[0] >= (len(starts) - 2) / 100
