from podium.testing.waiting import eventually

BRISK = {"timeout_ms": 100, "connect_timeout_ms": 200}


def counts(gateways):
    return [gateway.members.count for gateway in gateways]


async def test_gateways_count_each_other_whatever_they_are_called(open_gateway, server):
    gateways = [await open_gateway(server, "gateway") for _ in range(3)]

    await eventually(lambda: counts(gateways) == [3, 3, 3])
    assert len(await gateways[0].members.names()) == 3


async def test_who_ends_or_falls_silent_counts_no_more(open_gateway, server):
    gateways = [await open_gateway(server, name) for name in ("one", "two", "three")]
    await eventually(lambda: counts(gateways) == [3, 3, 3])

    gateways[2].members._task.cancel()  # silent, as if it had died
    await eventually(lambda: counts(gateways[:2]) == [2, 2])

    await gateways[1].members.__aexit__(None, None, None)
    await eventually(lambda: counts(gateways[:1]) == [1])


async def test_the_last_known_number_stays_while_the_store_is_away(own_server, open_gateway):
    gateways = [await open_gateway(own_server, name, **BRISK) for name in ("one", "two")]
    await eventually(lambda: counts(gateways) == [2, 2])
    own_server.kill()
    await eventually(
        lambda: all(gateway.client.figures.connects and gateway.client.state != "up" for gateway in gateways)
    )

    assert counts(gateways) == [2, 2]


async def test_a_store_that_lost_its_data_does_not_make_anybody_believe_to_be_alone(own_server, open_gateway):
    gateways = [await open_gateway(own_server, name, **BRISK) for name in ("one", "two")]
    await eventually(lambda: counts(gateways) == [2, 2])
    before = gateways[0].client.figures.calls
    lowest = []

    def has_beaten(times):
        lowest.append(min(counts(gateways)))
        return gateways[0].client.figures.calls > before + times

    own_server.command("FLUSHALL")
    await eventually(lambda: has_beaten(3), interval_s=0.001)
    for _ in range(2):  # again and again, before the other one has said that it lives
        own_server.command("FLUSHALL")
        await gateways[0].members.beat()
        lowest.append(gateways[0].members.count)
    assert min(lowest) == 2


async def test_before_the_store_ever_said_it_the_expected_number_counts(own_server, open_gateway):
    own_server.kill()
    gateway = await open_gateway(own_server, expected_gateways=4, **BRISK)

    assert gateway.members.count == 4
