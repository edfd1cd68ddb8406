from podium.testing.behaviour import BAD, Behaviour
from podium.testing.load import Load
from podium.testing.upstream import ScriptedUpstream
from podium.testing.waiting import eventually


async def test_a_load_sees_what_it_was_answered():
    async with ScriptedUpstream() as upstream, Load(upstream.port, "key", model="m", workers=3) as load:
        await eventually(lambda: len(load.served) >= 30)
    assert len(load.seen) == len(load.served) == len(upstream.requests)
    assert len({one.request_id for one in load.seen}) == len(load.seen)
    assert {one.output_tokens for one in load.seen} == {1, 2, 3, 4, 5}
    assert load.refused == 0
    asked = {request.header("x-request-id"): request for request in upstream.requests}
    for one in load.seen:
        assert asked[one.request_id].json()["max_tokens"] == one.output_tokens
        assert asked[one.request_id].header("authorization") == "Bearer key"


async def test_what_it_expects_of_an_answer_that_is_cut_off_is_what_the_upstream_counts():
    async with ScriptedUpstream() as upstream:
        async with Load(upstream.port, "key", model="m", workers=1) as whole:
            await eventually(lambda: len(whole.seen) >= 10)
        upstream.behaviour = BAD["resets-before-end"]
        async with Load(upstream.port, "key", model="m", workers=1) as cut:
            await eventually(lambda: len(cut.seen) >= 10)
    assert not cut.served
    for one, other in zip(whole.seen[:10], cut.seen[:10], strict=True):
        assert (one.input_tokens, one.output_tokens) == (other.input_tokens, other.output_tokens)


async def test_errors_and_broken_streams_are_not_served():
    async with ScriptedUpstream(Behaviour(status=429)) as upstream, Load(upstream.port, "key", model="m") as load:
        await eventually(lambda: len(load.seen) >= 5)
    assert {(one.status, one.whole, one.served) for one in load.seen} == {(429, True, False)}
    async with ScriptedUpstream(BAD["resets-midway"]) as upstream, Load(upstream.port, "key", model="m") as load:
        await eventually(lambda: len(load.seen) >= 5)
    assert not load.served


async def test_refused_connections_are_counted_and_tried_again():
    async with ScriptedUpstream() as upstream:
        port = upstream.port
    async with Load(port, "key", model="m", workers=1) as load:
        await eventually(lambda: load.refused >= 2)
        async with ScriptedUpstream(port=port):
            await eventually(lambda: load.served)
