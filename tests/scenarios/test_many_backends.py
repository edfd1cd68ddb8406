"""Backends die, come, go and come back, and no caller notices who need not."""

import asyncio
from collections import Counter

import pytest

from podium.testing.waiting import eventually

pytestmark = pytest.mark.scenario

PER_SECOND = 50
PIECES = 12
ANSWER = f"chunks={PIECES},between=20ms,before-content=60ms"
QUICKLY_BACK = {"breaker": {"open_s": 0.3, "max_open_s": 0.6}}


def now():
    return asyncio.get_running_loop().time()


def backend(provider):
    return f"{provider}/scripted"


def by_backend(streams):
    return Counter(one.backend.partition("/")[0] for one in streams)


async def more(load, count=25):
    """Wait until so many chats that begin from now on have ended; those."""
    started_s = now()
    await eventually(lambda: len(load.since(started_s)) >= count, timeout_s=10)
    return load.since(started_s)


async def test_one_of_three_backends_killed_under_load_fails_only_streams_that_had_begun(providers):
    names = ("kill-a", "kill-b", "kill-c")
    _, killed, _ = await providers.start(*names, behaviour=ANSWER)
    documents = [providers.provider(name) for name in names]
    await providers.apply(
        *documents, *providers.model("killed", dict.fromkeys(names, 1), failure={"breaker": {"open_s": 0.3}})
    )
    async with providers.load("killed", PER_SECOND) as load:
        healthy = await more(load, 60)
        assert set(by_backend(healthy)) == set(names)
        killed.kill()
        killed_s = now()
        without = await more(load, 60)
        killed.start()
        await asyncio.to_thread(killed.wait_up)
        back_s = now()
        # Nobody tells Podium: it finds out by itself.
        await eventually(lambda: by_backend(load.since(back_s))["kill-b"] >= 5, timeout_s=10)
        again = await more(load, 60)

    broken = [one for one in load.failed if one.broken]
    assert [one for one in load.failed if not one.broken] == []
    assert {one.error for one in broken} == {"upstream_broken"}  # the kill was felt
    assert {one.backend for one in broken} == {backend("kill-b")}
    assert all(one.head_s <= killed_s + 0.1 for one in broken)  # their content had begun to come
    assert all(one.pieces == PIECES for one in broken if one.stops)  # the model's own word, none that we made up
    assert any("upstream_" in one.trail for one in load.served)  # others were mended
    assert by_backend(without)["kill-b"] == 0
    assert by_backend(again)["kill-b"] > 60 / 3 / 2

    ledger = await providers.ledger("killed", load.seen)
    assert len(ledger) == len(load.seen)
    assert {one for one, row in ledger.items() if row["reason"] != "ok"} == {one.request_id for one in broken}


async def test_backends_come_change_their_weight_drain_and_go_while_podium_serves(providers):
    names = ("live-a", "live-b", "live-c")
    first, second, third = await providers.start(*names, behaviour=ANSWER)

    async def serve(**weights):
        backends = {f"live-{letter}": weight for letter, weight in weights.items()}
        strategy = {"strategy": "weighted_round_robin"}
        await providers.apply(
            *map(providers.provider, backends), *providers.model("live", backends, balancing=strategy)
        )

    async def takes(expected, *, within_s=8):
        """Wait until the chats of the last while went there."""
        started_s = now()
        while set(by_backend(await more(load))) != set(expected):
            assert now() < started_s + within_s

    await serve(a=1)
    async with providers.load("live", PER_SECOND) as load:
        await takes({"live-a"})
        await serve(a=1, b=1, c=2)
        await takes(names)
        shares = by_backend(await more(load, 60))
        assert shares["live-c"] == pytest.approx(30, abs=6)
        assert shares["live-a"] == pytest.approx(15, abs=6)

        await serve(a=0, b=1, c=3)  # drained: running streams end, nothing new comes
        await takes({"live-b", "live-c"})
        drained = first.requests
        assert by_backend(await more(load, 60))["live-c"] == pytest.approx(45, abs=6)
        assert first.requests == drained

        await serve(b=1, c=3)  # removed: its connections are closed
        await eventually(lambda: first.open_connections == 0, timeout_s=5, interval_s=0.05)
        await more(load)
        assert first.requests == drained
    assert load.failed == []
    assert first.requests + second.requests + third.requests == len(load.seen)


async def test_a_request_never_leaves_its_region_whatever_is_down(providers):
    names = {"eu-near": "eu-west", "eu-far": "eu-central", "us": "us-east"}
    near, far, abroad = await providers.start(*names, behaviour="chunks=3")
    balancing = {"regions": ["eu-west", "eu-central"], "residency": ["eu-west", "eu-central"]}
    await providers.apply(
        *(providers.provider(name, region=region) for name, region in names.items()),
        *providers.model("resident", dict.fromkeys(names, 1), balancing=balancing, failure=QUICKLY_BACK),
    )
    async with providers.load("resident", PER_SECOND) as load:
        assert set(by_backend(await more(load))) == {"eu-near"}  # the nearest that is allowed
        near.kill()
        await more(load, 5)
        assert set(by_backend(await more(load))) == {"eu-far"}  # the next one that is
        assert load.failed == []
        far.kill()
        down_s = now()
        await eventually(lambda: any(one.status == 503 for one in load.since(down_s)), timeout_s=5)
        down = await more(load)
        near.start()
        await asyncio.to_thread(near.wait_up)
        await eventually(lambda: load.served and load.served[-1].started_s > down_s, timeout_s=10)
    refused = {(one.status, one.error) for one in down}
    assert (503, "no_backend") in refused
    assert refused <= {(503, "no_backend"), (502, "upstream_unreachable"), (502, "upstream_broken")}
    assert abroad.requests == 0


async def test_a_gateway_that_starts_anew_knows_nothing_and_loses_no_exchange(stage, providers_of):
    """Of three backends one is dead, and the new gateway has yet to find out."""
    names = ("cold-a", "cold-b", "cold-c")
    async with stage.control():
        providers = providers_of(stage.installation)
        _, dead, _ = await providers.start(*names, behaviour=ANSWER)
        documents = [*map(providers.provider, names), *providers.model("cold", dict.fromkeys(names, 1))]
        async with stage.gateway(until=lambda: stage.installation.status("/readyz") == 200) as gateway:
            await providers.apply(*documents)
            dead.kill()
            async with providers.load("cold", PER_SECOND, name="before") as before:
                await more(before, 40)
                gateway.kill()
        async with stage.gateway("cold"), providers.load("cold", PER_SECOND, name="after") as after:
            await more(after, 80)
        assert after.failed == []
        assert set(by_backend(after.seen)) == {"cold-a", "cold-c"}
        assert any("upstream_unreachable" in one.trail for one in after.seen)
        # The kill broke off what was under way, and what came before a new gateway listened; nothing else failed.
        assert {(one.status, one.cut_off) for one in before.failed} <= {(0, True), (200, True)}
        assert await providers.ledger("cold", before.served + after.served)
